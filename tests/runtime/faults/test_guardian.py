"""The process that says how a rank was killed; here around processes that no launcher started."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mpi_vta.runtime.faults import guardian
from mpi_vta.runtime.faults.guardian import StopWatch, silence_s
from mpi_vta.runtime.faults.process import Status
from mpi_vta.runtime.faults.rank_state import RANK_STATE_BYTES, RankState
from mpi_vta.runtime.faults.watchdog import Watchdog

EDGES = ("x (source to stage 0)", "y (stage 0 to sink)")
RANK = """
import os, signal, sys, time
from mpi_vta.runtime.faults.guardian import guard
from mpi_vta.runtime.faults.watchdog import Watchdog

watchdog = Watchdog(3, "node7", guard(3, float(os.environ.get("LIMIT_S", "0"))))
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
    process = started("print(os.getpid(), flush=True); time.sleep(600)")
    rank = int(process.stdout.readline())
    process.kill()
    process.communicate(timeout=60)
    assert is_gone(rank)


def is_gone(pid):
    """Tell whether a process ends, within a time that no machine needs."""
    command_line = Path(f"/proc/{pid}/cmdline")
    for _ in range(3000):
        # no process, or one that nobody has taken note of: it has no command line any more
        try:
            if not command_line.read_bytes():
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("answers", [True, False])
def test_rank_and_what_it_started_end_with_the_launcher(answers, tmp_path):
    """A process between the test and the guardian is killed, as a launcher's part on a host may be."""
    body = f"""
import subprocess
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
def answer(number, frame):
    open({str(tmp_path / "answered")!r}, "w").close()
    if {answers}:
        sys.exit(5)
signal.signal(signal.SIGTERM, answer)
print(os.getpid(), child.pid, os.getppid(), flush=True)
while True:
    time.sleep(600)
"""
    launcher = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {RANK + body!r}])"],
        stdout=subprocess.PIPE,
        text=True,
    )
    pids = [int(word) for word in launcher.stdout.readline().split()]
    launcher.kill()
    launcher.communicate(timeout=60)
    assert all(is_gone(pid) for pid in pids)
    assert (tmp_path / "answered").exists()


def test_rank_that_is_stopped_before_it_has_a_job_is_named_and_ended():
    status, _, stderr = ended(started("os.kill(os.getpid(), signal.SIGSTOP)", env={**os.environ, "LIMIT_S": "0.2"}))
    assert re.fullmatch(r"mpi_vta: error: rank 3 on \S+: was stopped \(SIGSTOP\) for \d+\.\d s\n", stderr)
    assert status == -signal.SIGKILL


@pytest.mark.parametrize("limit_s", [0.0, 10.0])
def test_stop_that_lasts_longer_than_the_limit_is_a_fault(monkeypatch, limit_s):
    now_s, state = [0.0], ["T"]
    monkeypatch.setattr(guardian.AttendedClock, "now_s", lambda _: now_s[0])
    monkeypatch.setattr(guardian, "status_of", lambda pid: Status(state[0], 1, 0, 0))
    watch = StopWatch(7, limit_s)
    for now_s[0], state[0] in ((5, "T"), (15, "T"), (15.5, "S"), (16, "T"), (27, "T")):
        assert watch.overdue_s() == 0
    now_s[0] = 27.5
    assert watch.overdue_s() == (11.5 if limit_s else 0)


@pytest.fixture
def state():
    memory = os.memfd_create("state")
    os.ftruncate(memory, RANK_STATE_BYTES)
    yield RankState(memory)
    os.close(memory)


def test_state_holds_what_the_watchdog_says(state):
    watchdog = Watchdog(3, "node7", state)
    watchdog.join("pynq_z1", simulated=True, edges=EDGES, hint="h")
    assert state.position(3) == watchdog.position
    for edge, image in ((0, 4), (-1, 5), (1, 6)):
        watchdog.note(edge, image)
        assert state.position(3) == watchdog.position


def test_plan_of_too_many_edges_goes_without_their_names(state):
    state.describe("node7", "pynq_z1", ["x" * 100] * 20_000, "h")
    state.note(7, 6)
    who = state.position(3)
    assert (who.board, who.edge, who.image, who.hint) == ("pynq_z1", "", 6, "h")
