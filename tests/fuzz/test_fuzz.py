"""Damaged files of every kind: each is read, or refused in one line; never a traceback, a hang or too much memory.

Every input follows from its kind and number, so ``python tests/fuzz/worker.py KIND NUMBER 1`` shows a failure again.
"""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.targets import SLOW_TARGETS, TARGETS

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("worker.py")
# inputs for each of a target's shares, which add up to about 100
DEFAULT_SHARE, SLOW_SHARE, LONG_SHARE = 3, 10, 105
PROCESS_S = 1500


def fuzz(kind, first, count):
    """Return how many inputs were read and refused; a failure, crash or hang fails the test and names its number."""
    command = [sys.executable, str(WORKER), kind, str(first), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PROCESS_S, cwd=ROOT)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    failures = [line for line in lines if isinstance(line.get("failed"), str)]
    assert not failures, "\n".join(f"{kind} {line['seed']}: {line['failed']}" for line in failures[:5])
    assert done.returncode == 0, f"{kind} {lines[-1].get('seed') if lines else '?'}: {done.stderr[-2000:]}"
    counts = lines[-1]
    assert counts["ok"] + counts["refused"] == count
    return counts


@pytest.mark.parametrize("kind", TARGETS)
def test_damaged_files_are_read_or_refused(kind):
    fuzz(kind, 0, DEFAULT_SHARE * TARGETS[kind].share)


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize(
    "share", [pytest.param(SLOW_SHARE, marks=pytest.mark.slow), pytest.param(LONG_SHARE, marks=pytest.mark.long)]
)
def test_many_damaged_files_are_read_or_refused(kind, share):
    assert fuzz(kind, 1000, share * TARGETS[kind].share)["refused"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", SLOW_TARGETS)
def test_damage_that_the_hdf5_library_sees_is_read_or_refused(kind):
    fuzz(kind, 0, 30)


def test_the_long_inputs_are_ten_thousand():
    assert LONG_SHARE * sum(target.share for target in TARGETS.values()) >= 10_000


def nodes_of_the_code():
    for folder in ("mpi_vta", "benchmarks"):
        for source in sorted((ROOT / folder).rglob("*.py")):
            yield from ast.walk(ast.parse(source.read_text()))


def test_no_pickle_is_loaded():
    for node in nodes_of_the_code():
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            assert not {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal"} & {n.split(".")[0] for n in names}
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "numpy.load"):
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert given.get("allow_pickle") == "False"
