"""Faults put into a running job: it ends within the limit, one line says where, and what was done is kept."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mpi.conftest import BIN
from summaries import only_model

from mpi_vta.trace.reader import read
from mpi_vta.trace.repair import repair

pytestmark = pytest.mark.mpi

IMAGES = 360
LIMIT_S = 10
OPTIONS = ("--model", "digits", "--images", IMAGES, "--stages", "3", "--watchdog-s", LIMIT_S)
DONE_DTYPE = np.dtype([("image", "<i4"), ("crc32", "<u4")])
WHERE = r"mpi_vta: error: rank {rank} on \S+, board pynq_z1: {what}; last edge {edge}, last image \d+"
RESUME = r"; go on with --resume \S+out"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def faulty(start_program, cache, tmp_path):
    def run(way, rank, launch, *options, **environ):
        return start_program(
            3,
            "faulty_board.py",
            *OPTIONS,
            *("--output", tmp_path / "out", *options),
            MPI_VTA_CACHE=str(cache),
            WAY=way,
            RANK=str(rank),
            LAUNCH=str(launch),
            **environ,
        )

    return run


@pytest.fixture
def nothing_lost(start, cache, tmp_path):
    """Check what a job that ended early has left, and that the rest of it can be run."""

    def check(at_least, *, every_trace):
        out = tmp_path / "out"
        delivered = len(np.fromfile(out / "outputs/done", DONE_DTYPE))
        assert at_least <= delivered < IMAGES
        path, missing = repair(out)
        assert missing == ()
        trace = read(path)
        finished = trace.models[0].images["image"].tolist()
        # a rank that closed its file has every event in it; one that could not lacks the last second
        assert finished == list(range(len(finished)))
        assert len(finished) in ((delivered, delivered + 1) if every_trace else range(delivered + 1))
        path.unlink()
        ended = start(2, "-m", "mpi_vta.pipeline", *OPTIONS[:4], "--resume", out, "--json", MPI_VTA_CACHE=str(cache))
        assert (ended.status, ended.stderr) == (0, ""), ended.stdout
        summary = only_model(ended.stdout)
        assert summary["resumed"]["images_before"] == delivered
        assert summary["accuracy"]["images"] == IMAGES

    return check


def nobody_is_left(name):
    """Tell whether every process whose command line has `name` is gone, a moment after mpirun is."""
    for _ in range(6000):
        found = subprocess.run(["pgrep", "-f", name], capture_output=True, text=True, check=False).stdout.split()
        if not found:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
@pytest.mark.parametrize(
    ("way", "status", "what"),
    [
        ("raise", 2, "a launch: the board broke"),
        ("SIGTERM", 143, "ended by SIGTERM"),
        ("hang", 17, r"the launch of stage \d for image 199 has hung for \d\.\d s"),
    ],
)
def test_fault_of_one_rank_ends_the_job_with_one_line(faulty, nothing_lost, tmp_path, way, status, what, rank):
    ended = faulty(way, rank, 200)
    (line,) = ended.error_lines
    assert re.fullmatch(WHERE.format(rank=rank, what=what, edge=r"\S+ \(.*\)") + RESUME, line), line
    assert ended.status == status
    assert nobody_is_left(str(tmp_path / "out"))
    assert not (tmp_path / "out/run.h5").exists()
    nothing_lost(150, every_trace=True)


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_disk_that_is_full_is_named_and_nothing_is_lost(faulty, nothing_lost, tmp_path, rank):
    ended = faulty("full", rank, 200)
    (line,) = ended.error_lines
    trace = re.escape(str(tmp_path / f"out/ranks/rank-{rank:03d}.h5"))
    what = rf"{trace}: cannot write the trace \(File too large\); make room on that disk"
    assert re.fullmatch(WHERE.format(rank=rank, what=what, edge=r"\S+ \(.*\)") + RESUME, line), line
    assert ended.status == 2
    assert nobody_is_left(str(tmp_path / "out"))
    nothing_lost(150, every_trace=False)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("signal", ["SIGKILL", pytest.param("SIGSEGV", marks=pytest.mark.slow)])
def test_killed_rank_is_named_and_nothing_is_lost(faulty, nothing_lost, tmp_path, signal, rank):
    ended = faulty(signal, rank, 200)
    (line,) = ended.error_lines
    what = rf"killed by {signal}[^;]*"
    assert re.fullmatch(WHERE.format(rank=rank, what=what, edge=r"\S+ \(.*\)") + RESUME, line), line
    assert ended.status != 0
    assert nobody_is_left(str(tmp_path / "out"))
    nothing_lost(150, every_trace=False)


def ranks_of(name):
    """Return the process of each rank of the job whose command line has `name`, by its guardian."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_text().split("\0")
            if "mpi_vta.runtime.faults.guardian" in words:
                at = words.index("mpi_vta.runtime.faults.guardian")
                rank = Path("/proc", words[at + 2], "cmdline").read_text()
                if name in rank:
                    found[int(words[at + 4])] = int(words[at + 2])
        except (OSError, ValueError):
            continue
    return found


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_rank_that_is_stopped_before_there_is_a_job_is_named(rank, tmp_path):
    """An order of a job that is long imported and compiled, as nothing of it is in the cache."""
    out = str(tmp_path / "out")
    command = [BIN / "mpirun", "-n", "2", sys.executable, "-m", "mpi_vta.pipeline", "--model", "yolo"]
    command += ["--weights", "seeded", "--output", out]
    environ = {**os.environ, "MPI_VTA_CACHE": str(tmp_path / "cache")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ) as job:
        # the first line comes from rank 0 when it begins to import
        assert "importing" in job.stdout.readline()
        os.kill(ranks_of(out)[rank], signal.SIGSTOP)
        _, stderr = job.communicate(timeout=900)
    (line,) = [line for line in stderr.splitlines() if line.startswith("mpi_vta: error: ")]
    assert re.match(rf"mpi_vta: error: rank {rank} on \S+: nothing heard for \d+\.\d s.*the process is stopped", line)
    assert job.returncode == 17
    assert nobody_is_left(out)


STOPPED = r"was stopped \(SIGSTOP\) for \d+\.\d s"
ENDED = "its process ended before MPI had begun; what it printed says why"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "options", "way", "what"),
    [
        ("pipeline", ("--model", "digits", "--watchdog-s", "3"), "SIGSTOP", STOPPED),
        ("pipeline", ("--model", "digits", "--watchdog-s", "3"), "import", ENDED),
        ("doctor", (), "import", ENDED),
        ("calibrate", ("--cluster", "pynq4", "--output", "x.toml"), "SIGSTOP", STOPPED),
    ],
)
def test_rank_that_does_not_come_to_the_start_is_named(start_program, tmp_path, command, options, way, what):
    """Stopped, or ended by an import that fails, while Python starts; Hydra would wait for ever."""
    ended = start_program(3, "absent.py", command, *options, WAY=way, RANK="1")
    (line,) = [line for line in ended.error_lines if line.startswith("mpi_vta: error: ")]
    assert re.fullmatch(rf"mpi_vta: error: rank 1 on \S+: {what}", line), line
    assert ("ModuleNotFoundError" in ended.stderr) is (way == "import")
    assert ended.status != 0
    assert not ranks_of("absent.py")


@pytest.mark.slow
def test_ranks_end_with_the_launchers_process(tmp_path):
    out = str(tmp_path / "out")
    command = [BIN / "mpirun", "-n", "2", sys.executable, "-m", "mpi_vta.pipeline", "--model", "yolo"]
    command += ["--weights", "seeded", "--output", out]
    environ = {**os.environ, "MPI_VTA_CACHE": str(tmp_path / "cache")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ) as job:
        assert "importing" in job.stdout.readline()
        children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
        for child in map(int, children):
            os.kill(child, signal.SIGKILL)
        job.communicate(timeout=900)
    assert job.returncode != 0
    assert nobody_is_left(out)


@pytest.mark.slow
def test_rank_that_is_stopped_is_named_by_rank_0(faulty, tmp_path):
    ended = faulty("SIGSTOP", 1, 200)
    (line,) = ended.error_lines
    assert re.match(
        r"mpi_vta: error: rank 1 on \S+, board pynq_z1: nothing heard for \d+\.\d s: the process is stopped", line
    )
    assert ended.status == 17
    assert nobody_is_left(str(tmp_path / "out"))


def test_rank_0_that_is_stopped_is_named_by_rank_1(faulty, tmp_path):
    ended = faulty("SIGSTOP", 0, 200)
    (line,) = ended.error_lines
    assert re.match(r"mpi_vta: error: rank 0 on \S+, board pynq_z1: nothing heard for \d+\.\d s by rank 1: ", line)
    assert ended.status == 17
    assert nobody_is_left(str(tmp_path / "out"))
