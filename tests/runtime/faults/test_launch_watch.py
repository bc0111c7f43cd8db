"""What a guardian sees of its launch before MPI has begun, in a /proc of the test's own."""

import pytest

from mpi_vta.runtime.faults import launch_watch, process
from mpi_vta.runtime.faults.launch_watch import GUARDIAN, LaunchWatch

LAUNCHER, SIZE, LIMIT_S = 100, 3, 10.0
HYDRA = {"PMI_SIZE": str(SIZE), "MPI_LOCALNRANKS": str(SIZE)}


class Proc:
    """A launcher's processes: 100 + 1 + r is rank r's."""

    def __init__(self, root):
        self._root = root
        self.children = root / str(LAUNCHER) / "task" / str(LAUNCHER) / "children"
        self.children.parent.mkdir(parents=True)
        self.alive = {}

    def put(self, rank, state="S", *, guarded=True, **environ):
        pid = LAUNCHER + 1 + rank
        folder = self._root / str(pid)
        folder.mkdir(exist_ok=True)
        told = {**HYDRA, "PMI_RANK": str(rank), **environ}
        (folder / "environ").write_text("\0".join(f"{name}={value}" for name, value in told.items()))
        (folder / "cmdline").write_text(f"python\0-m\0{GUARDIAN if guarded else 'mpi_vta.pipeline'}\0")
        (folder / "stat").write_text(f"{pid} (a b) {state} {LAUNCHER} " + "0 " * 30)
        self.alive[rank] = pid
        self._write()

    def end(self, rank):
        # as Hydra's proxy does, which takes note of an end at once
        del self.alive[rank]
        self._write()

    def _write(self):
        self.children.write_text(" ".join(map(str, self.alive.values())) + " ")


@pytest.fixture
def proc(tmp_path, monkeypatch):
    monkeypatch.setattr(launch_watch, "PROC", tmp_path)
    monkeypatch.setattr(process, "PROC", tmp_path)
    return Proc(tmp_path)


@pytest.fixture
def now_s(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(launch_watch.AttendedClock, "now_s", lambda _: now[0])
    return now


def of_rank(rank, limit_s=LIMIT_S, **environ):
    return LaunchWatch(LAUNCHER, LAUNCHER + 1 + rank, limit_s, {**HYDRA, "PMI_RANK": str(rank), **environ})


def first_absence(watch, now_s, until_s):
    """Return when the first absence is told, and which."""
    while now_s[0] < until_s:
        if absence := watch.absence():
            return now_s[0], absence
        now_s[0] += 0.5
    return None


def test_launch_in_which_all_come_is_in_order(proc, now_s):
    for rank in range(SIZE):
        proc.put(rank)
    assert first_absence(of_rank(0), now_s, 200) is None


def test_rank_that_is_stopped_before_it_has_a_guardian_is_named_with_its_process(proc, now_s):
    proc.put(0)
    proc.put(1, "T", guarded=False)
    proc.put(2)
    at_s, absence = first_absence(of_rank(0), now_s, 100)
    assert LIMIT_S < at_s < LIMIT_S + 2
    assert (absence.rank, absence.pid) == (1, LAUNCHER + 2)
    assert absence.text.startswith("was stopped (SIGSTOP) for 10.")


def test_rank_that_goes_on_in_time_is_no_fault(proc, now_s):
    for rank in range(SIZE):
        proc.put(rank, "T" if rank == 1 else "S", guarded=rank != 1)
    watch = of_rank(0)
    assert first_absence(watch, now_s, 9) is None
    proc.put(1, "R", guarded=False)
    assert first_absence(watch, now_s, 12) is None
    proc.put(1, "T", guarded=False)
    # counted anew
    assert first_absence(watch, now_s, 21) is None
    assert first_absence(watch, now_s, 30) is not None


def test_stopped_rank_that_has_a_guardian_is_that_ones_affair(proc, now_s):
    for rank in range(SIZE):
        proc.put(rank, "T" if rank == 1 else "S")
    assert first_absence(of_rank(0), now_s, 100) is None


@pytest.mark.parametrize("seen", [True, False])
def test_rank_whose_process_has_ended_is_named(proc, now_s, seen):
    for rank in range(SIZE):
        proc.put(rank, guarded=rank != 1)
    watch = of_rank(0)
    if seen:
        assert watch.absence() is None
    proc.end(1)
    at_s, absence = first_absence(watch, now_s, 100)
    assert LIMIT_S < at_s < LIMIT_S + 2
    assert (absence.rank, absence.pid) == (1, 0)
    assert absence.text == "its process ended before MPI had begun; what it printed says why"


def test_number_of_an_ended_rank_is_not_guessed_where_other_hosts_have_ranks(proc, now_s):
    for rank in (0, 2):
        proc.put(rank, PMI_SIZE="7")
    _, absence = first_absence(of_rank(0, PMI_SIZE="7"), now_s, 100)
    assert absence.rank == -1


def test_launcher_that_does_not_tell_the_ranks_of_a_host_is_believed_to_miss_none(proc, now_s):
    proc.put(0)
    assert first_absence(of_rank(0, MPI_LOCALNRANKS=""), now_s, 100) is None


def test_first_guardian_of_a_host_speaks_and_the_others_later(proc, now_s):
    proc.put(0, "T", guarded=False)
    proc.put(1)
    proc.put(2)
    first_s, _ = first_absence(of_rank(1), now_s, 100)
    now_s[0] = 0.0
    second_s, _ = first_absence(of_rank(2), now_s, 100)
    assert second_s - first_s == 5


def test_other_processes_of_the_launcher_are_no_ranks(proc, now_s):
    for rank in range(SIZE):
        proc.put(rank)
    proc.put(7, "T", guarded=False, PMI_SIZE="")
    assert first_absence(of_rank(0), now_s, 100) is None


@pytest.mark.parametrize("rank", [0, 2, 40])
def test_hosts_that_do_not_come_are_named_in_the_end_by_the_lowest_rank(proc, now_s, rank):
    environ = {"PMI_SIZE": "50", "MPI_LOCALNRANKS": "1"}
    proc.put(rank, **environ)
    at_s, absence = first_absence(of_rank(rank, **environ), now_s, 1000)
    assert at_s == 30 * LIMIT_S + min(rank, 30) + 0.5
    assert absence.text == (
        f"MPI has not begun for {at_s:.0f} s: a rank on another host has ended, is stopped or was never started"
    )


def test_children_that_the_system_does_not_tell_are_not_missed(proc, now_s):
    proc.put(0)
    proc.children.unlink()
    assert first_absence(of_rank(0), now_s, 100) is None


def test_script_between_launcher_and_rank_is_not_taken_for_the_launcher(proc, now_s):
    proc.put(0)
    (proc.children.parents[2] / "environ").write_text("PMI_SIZE=3\0PMI_RANK=0\0MPI_LOCALNRANKS=3")
    assert first_absence(of_rank(0), now_s, 100) is None


def test_no_limit_means_no_look(proc, now_s):
    proc.put(0)
    proc.put(1, "T", guarded=False)
    assert first_absence(of_rank(0, limit_s=0.0), now_s, 10_000) is None
