"""The trace command: every sub-command, and faults as one line."""

import json

import h5py
import pytest
from trace_cases import IMAGES, PLAN, opening, provenance, write_ranks, write_run

from mpi_vta.__main__ import main as all_commands
from mpi_vta.trace.__main__ import main
from mpi_vta.trace.reader import read
from mpi_vta.trace.repair import ModelOpening, Opening
from mpi_vta.trace.seal import seal


@pytest.fixture
def run_file(tmp_path):
    return write_run(tmp_path)


def test_summary(run_file, capsys):
    assert main(["summary", str(run_file)]) == 0
    assert capsys.readouterr().out.startswith("net, pipeline, 2 ranks (modelled)\n")


def test_summary_as_json(run_file, capsys):
    assert main(["summary", str(run_file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["figures"]["images"] == IMAGES


def test_command_is_among_all_commands(run_file, capsys):
    assert all_commands(["trace", "summary", str(run_file)]) == 0
    assert "bottleneck" in capsys.readouterr().out


def test_plot_draws_what_is_asked_for(run_file, tmp_path, capsys):
    assert main(["plot", str(run_file), "--figure", "latency", "--figure", "energy"]) == 0
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["energy.png", "latency.png"]
    assert "written" in capsys.readouterr().out


def test_difference_is_printed_and_drawn(run_file, tmp_path, capsys):
    assert main(["diff", str(run_file), str(run_file), "-o", str(tmp_path / "diff.png")]) == 0
    assert "latency p50, ms" in capsys.readouterr().out
    assert (tmp_path / "diff.png").stat().st_size > 1000


def test_merge_makes_a_trace(tmp_path, capsys):
    write_ranks(tmp_path)
    opening(9).save(tmp_path)
    assert main(["merge", str(tmp_path)]) == 0
    assert f"{IMAGES} finished images" in capsys.readouterr().out
    assert main(["summary", str(tmp_path / "run.h5")]) == 0
    assert f"the run ended early: {IMAGES} of 9 images" in capsys.readouterr().out


def test_repaired_trace_of_others_need_not_say_what_is_missing(run_file, capsys):
    with h5py.File(run_file, "a") as file:
        file.attrs["repaired"] = 1
    seal(run_file)
    assert main(["summary", str(run_file)]) == 0
    assert f"the run ended early: {IMAGES} of unknown many; ranks left out: none" in capsys.readouterr().out


def test_merge_counts_the_images_of_every_model(tmp_path, capsys):
    write_ranks(tmp_path)
    models = tuple(ModelOpening(PLAN.to_json(), 9, {"name": f"net-{rank}", "ranks": [rank]}) for rank in (0, 1))
    Opening(2, provenance(), models).save(tmp_path)
    assert main(["merge", str(tmp_path)]) == 0
    assert f": {IMAGES} finished images of net-0, 0 finished images of net-1\n" in capsys.readouterr().out


def test_merge_says_whom_it_left_out(tmp_path, capsys):
    write_ranks(tmp_path)
    opening(9).save(tmp_path)
    (tmp_path / "ranks" / "rank-001.h5").unlink()
    assert main(["merge", str(tmp_path), "--without-missing"]) == 0
    assert "left out    ranks 1" in capsys.readouterr().out
    assert list(read(tmp_path / "run.h5").ranks) == [0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["summary", "none.h5"], "no such trace"),
        (["plot", "{file}", "--figure", "cake"], "no figure named 'cake'"),
        (["dance"], "invalid choice: 'dance'"),
        (["merge", "nowhere"], "no unmerged run there"),
        (["plot", "{file}", "-o", "{file}"], "File exists"),
    ],
)
def test_fault_is_one_line(run_file, capsys, arguments, message):
    assert main([part.format(file=run_file) for part in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mpi_vta.trace: error: ")
    assert message in line
