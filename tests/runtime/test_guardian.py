"""The process that says how a rank was killed; here around processes that no launcher started."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mpi_vta.runtime.guardian import silence_s
from mpi_vta.runtime.notebook import NOTEBOOK_BYTES, Notebook
from mpi_vta.runtime.watchdog import Watchdog

EDGES = ("x (source to stage 0)", "y (stage 0 to sink)")
RANK = """
import os, signal, sys, time
from mpi_vta.runtime.guardian import guard
from mpi_vta.runtime.watchdog import Watchdog

watchdog = Watchdog(3, "node7", guard(3))
"""
JOIN = f"""
watchdog.join("pynq_z1", simulated=True, edges={EDGES}, hint="go on with --resume out/x")
watchdog.note(1, 12)
"""


def started(body, **options):
    return subprocess.Popen(
        [sys.executable, "-c", RANK + body], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def ended(process):
    stdout, stderr = process.communicate(timeout=60)
    return process.returncode, stdout, stderr


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGKILL, ", by hand or for want of memory"), (signal.SIGSEGV, " at <string>:10")]
)
def test_killed_rank_is_named_with_its_edge_and_image(number, reason):
    status, _, stderr = ended(started(f"{JOIN}os.kill(os.getpid(), {number:d})"))
    assert stderr == (
        f"mpi_vta: error: rank 3 on node7, board pynq_z1: killed by {number.name}{reason}; "
        "last edge y (stage 0 to sink), last image 12; go on with --resume out/x\n"
    )
    # the launcher is told the truth
    assert status == -number


def test_crash_in_mpi_is_laid_to_another_rank(tmp_path):
    module = tmp_path / "transport" / "mpi.py"
    module.parent.mkdir()
    module.write_text("import os, signal\ndef poll(): os.kill(os.getpid(), signal.SIGSEGV)\n")
    _, _, stderr = ended(started(f"{JOIN}sys.path.insert(0, {str(module.parent)!r})\nimport mpi\nmpi.poll()"))
    assert re.fullmatch(
        r"mpi_vta: .*: killed by SIGSEGV in MPI, as when another rank is gone; .* image 12; .*\n", stderr
    )


def test_guardian_of_the_cause_speaks_first_then_that_of_the_lowest_rank():
    in_mpi = "/x/mpi_vta/runtime/transport/mpi.py:33"
    assert silence_s(5, "") == silence_s(0, "/x/mpi_vta/runtime/devices/sim.py:3") == 0.1
    assert [silence_s(rank, in_mpi) for rank in (0, 1, 2, 9, 40)] == [2.0, 3.0, 4.0, 7.0, 7.0]


def test_rank_that_is_killed_before_it_has_a_job_is_named():
    _, _, stderr = ended(started("os.kill(os.getpid(), signal.SIGKILL)"))
    assert re.fullmatch(r"mpi_vta: error: rank 3 on \S+: killed by SIGKILL, by hand or for want of memory\n", stderr)


@pytest.mark.parametrize("status", [0, 2, 17])
def test_rank_that_ends_by_itself_ends_silently_with_its_status(status):
    assert ended(started(f"print('done', flush=True); sys.exit({status})")) == (status, "done\n", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_to_the_guardian_reach_the_rank(number):
    body = f"""
def answer(number, frame):
    print("answered", number, flush=True)
    sys.exit(5)
signal.signal({number:d}, answer)
print("ready", flush=True)
time.sleep(60)
"""
    process = started(body)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert ended(process) == (5, f"answered {number:d}\n", "")


def test_rank_that_is_asked_to_end_and_does_not_answer_ends_silently():
    process = started("print('ready', flush=True); time.sleep(60)")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (-signal.SIGTERM, "", "")


def test_rank_does_not_outlive_its_guardian():
    process = started("print(os.getpid(), flush=True); time.sleep(60)")
    rank = int(process.stdout.readline())
    process.kill()
    process.communicate(timeout=60)
    command_line = Path(f"/proc/{rank}/cmdline")
    for _ in range(200):
        # no process, or one that nobody has taken note of: it has no command line any more
        if not command_line.exists() or not command_line.read_bytes():
            break
        time.sleep(0.02)
    else:
        pytest.fail("the rank runs on")


@pytest.fixture
def notebook():
    memory = os.memfd_create("notebook")
    os.ftruncate(memory, NOTEBOOK_BYTES)
    yield Notebook(memory)
    os.close(memory)


def test_notebook_holds_what_the_watchdog_says(notebook):
    watchdog = Watchdog(3, "node7", notebook)
    watchdog.join("pynq_z1", simulated=True, edges=EDGES, hint="h")
    assert notebook.whereabouts(3) == watchdog.whereabouts
    for edge, image in ((0, 4), (-1, 5), (1, 6)):
        watchdog.note(edge, image)
        assert notebook.whereabouts(3) == watchdog.whereabouts


def test_plan_of_too_many_edges_goes_without_their_names(notebook):
    notebook.describe("node7", "pynq_z1", ["x" * 100] * 20_000, "h")
    notebook.note(7, 6)
    who = notebook.whereabouts(3)
    assert (who.board, who.edge, who.image, who.hint) == ("pynq_z1", "", 6, "h")
