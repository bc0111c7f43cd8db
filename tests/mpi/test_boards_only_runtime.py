"""Boards have the runtime's few packages alone, and shell scripts without what shellcheck warns of."""

import subprocess
import sys
from pathlib import Path

import pytest
from summaries import only_model

BIN = Path(sys.executable).parent
JOBS = Path(__file__).resolve().parents[2] / "jobs"


@pytest.mark.mpi
def test_ranks_but_0_need_neither_tvm_nor_onnx_nor_pictures(start_program, tmp_path):
    options = ("--model", "digits", "--images", "8", "--json", "--output", tmp_path / "out")
    ended = start_program(3, "boards_only_runtime.py", *options)
    assert (ended.status, ended.stderr) == (0, "")
    assert {stage["rank"] for stage in only_model(ended.stdout)["stages"]} == {0, 1, 2}


@pytest.mark.parametrize(
    "script",
    [*sorted(path for path in JOBS.glob("*.*") if path.suffix != ".toml"), JOBS.parent / ".ci" / "run"],
    ids=lambda path: path.name,
)
def test_script_passes_shellcheck(script):
    checked = subprocess.run([BIN / "shellcheck", script], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout) == (0, "")


@pytest.mark.parametrize(
    ("script", "arguments", "line"),
    [
        ("launch.sh", (), "usage: "),
        ("launch.sh", ("nowhere", "python"), "cannot read the hostfile nowhere"),
        ("provision.sh", (), "usage: "),
        ("provision.sh", ("board", "nowhere.bit"), "cannot read nowhere.bit"),
    ],
)
def test_wrong_call_is_one_line(script, arguments, line):
    ended = subprocess.run([JOBS / script, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert line in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
