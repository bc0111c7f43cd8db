"""The explore command: on any number of ranks, killed and resumed, against real simulated runs, and its faults."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest
from summaries import only_model

from mpi_vta.errors import ArtifactError
from mpi_vta.trace.study_file import read_study

pytestmark = pytest.mark.mpi
EXPERIMENT = """
name = "small"
models = ["digits", ["digits", "digits"]]
clusters = ["mixed4"]
boards = [1, 2, 4, 5]
strategies = ["scatter-gather", "core-assignment", "pipeline", "fused", "auto"]
objectives = ["throughput"]
images = 16
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def explore(start, cache, tmp_path):
    """Run the command on the small experiment; `ranks` 0 is without mpirun."""
    (tmp_path / "small.toml").write_text(EXPERIMENT)

    def run(ranks, *options):
        return start(ranks, "-m", "mpi_vta.explore", "small.toml", *options, MPI_VTA_CACHE=cache)

    return run


@pytest.mark.slow
def test_same_file_on_any_number_of_ranks(explore, tmp_path):
    files = []
    for ranks in (0, 1, 3):
        ended = explore(ranks, "-o", "r.h5", "--fresh")
        assert (ended.status, ended.stderr) == (0, "")
        files.append((tmp_path / "r.h5").read_bytes())
    assert files[0] == files[1] == files[2]
    assert "not valid   10 points: cluster mixed4: 5 boards, it has 4" in ended.stdout
    assert "digits on mixed4, 16 images: images/s, modelled" in ended.stdout
    study = read_study(tmp_path / "r.h5")
    assert (study.complete, len(study.points)) == (True, 40)
    assert study.attributes["argv"] == "python -m mpi_vta.explore small.toml --output r.h5"
    assert study.attributes["experiment"] == EXPERIMENT
    assert study.attributes["seed"] == 0
    assert set(json.loads(study.attributes["graph_sha256"])) == {"digits"}


@pytest.mark.slow
def test_killed_sweep_goes_on_where_it_was(explore, cache, tmp_path):
    assert explore(0, "-o", "r.h5").status == 0
    undisturbed = (tmp_path / "r.h5").read_bytes()
    (tmp_path / "r.h5").unlink()
    # one process, so that nothing of it is left after the signal
    command = [sys.executable, "-m", "mpi_vta.explore", "small.toml", "-o", "r.h5"]
    environ = {**os.environ, "MPI_VTA_CACHE": cache}
    job = subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while job.poll() is None and _rows(tmp_path / "r.h5") == 0:
        time.sleep(0.01)
    job.send_signal(signal.SIGKILL)
    job.wait()
    had = _rows(tmp_path / "r.h5")
    assert 0 < had <= 40
    ended = explore(2, "-o", "r.h5")
    assert (ended.status, ended.stderr) == (0, "")
    assert f"small: 40 points, {had} of them done before, on 2 ranks" in ended.stdout
    assert (tmp_path / "r.h5").read_bytes() == undisturbed


def _rows(path):
    try:
        return len(read_study(path).points)
    except ArtifactError:
        return 0


@pytest.mark.slow
def test_figures_are_those_of_simulated_runs(explore, start, cache, tmp_path):
    assert explore(0, "-o", "r.h5").status == 0
    rows = {
        row.strategy: row for row in read_study(tmp_path / "r.h5").points if (row.models, row.boards) == ("digits", 4)
    }
    for strategy in ("scatter-gather", "core-assignment", "pipeline", "fused"):
        row = rows[strategy]
        options = (
            "--model",
            "digits",
            "--cluster",
            "mixed4",
            "--images",
            16,
            "--strategy",
            strategy,
            "--output",
            "run",
        )
        ended = start(4, "-m", "mpi_vta.pipeline", *options, "--json", MPI_VTA_CACHE=cache)
        assert (ended.status, ended.stderr) == (0, "")
        run = only_model(ended.stdout)
        for name in ("throughput_images_per_s", "speedup", "ideal_fraction"):
            assert getattr(row, name) == run[name]
        steady = math.nan if run["steady_images_per_s"] is None else run["steady_images_per_s"]
        assert row.steady_images_per_s == pytest.approx(steady, rel=0, abs=0, nan_ok=True)
        assert row.latency_alone_ms == run["predicted_latency_alone_ms"]
        for name in ("energy_j_per_image", "network_j_per_image", "average_power_w", "images_per_s_per_w"):
            assert getattr(row, name) == run["energy"][name]
        assert (row.latency_ms, row.latency_p99_ms) == (run["latency_ms"]["p50"], run["latency_ms"]["p99"])


@pytest.mark.parametrize("ranks", [0, 2])
def test_fault_is_one_line(explore, tmp_path, ranks):
    (tmp_path / "small.toml").write_text(EXPERIMENT.replace("images", "image"))
    ended = explore(ranks)
    assert ended.status == 2
    (line,) = ended.error_lines
    assert line.startswith("mpi_vta: error: small.toml: illegal experiment: ")
    assert "image is unknown" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_list_and_print_compute_nothing(explore, tmp_path):
    listed = explore(0, "--list")
    assert listed.status == 0
    assert len(listed.stdout.splitlines()) == 41
    assert listed.stdout.splitlines()[-1] == "40 points, 15 of them known not to be valid before planning"
    printed = explore(2, "--print")
    assert printed.status == 2
    assert "no such study" in printed.stderr
    assert not (tmp_path / "out").exists()
    summary = json.loads(explore(0, "--json").stdout)
    assert summary["points"] == 40
    printed = explore(2, "--print")
    assert (printed.status, printed.stderr) == (0, "")
    assert "digits on mixed4" in printed.stdout
