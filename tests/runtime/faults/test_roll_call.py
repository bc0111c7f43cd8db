"""Who is missed, and when: two or three ranks step by step, by a clock that the test sets."""

from dataclasses import dataclass, field

import pytest

from mpi_vta.runtime.faults import roll_call as roll_call_module
from mpi_vta.runtime.faults.attended_clock import LONGEST_STEP_S
from mpi_vta.runtime.faults.handler import FaultHandler
from mpi_vta.runtime.faults.process import GONE, HANGS, STOPPED, Neighbour, ProcessId, Status
from mpi_vta.runtime.faults.roll_call import RollCall
from mpi_vta.runtime.faults.watchdog import Watchdog
from mpi_vta.runtime.transport.local import LocalTransport, LocalWorld

LIMIT_S, STEP_S = 10, 0.25
HOSTS = {0: "head", 1: "node1", 2: "node2"}


class Ended(Exception):
    """The job was ended by a rank."""


class Transport(LocalTransport):
    def abort(self, status):
        raise Ended(status)


@dataclass
class Clock:
    """Both the wall's clock and what a rank attends of it."""

    wall_s: float = 0.0

    def now_s(self):
        return self.wall_s


@dataclass
class Process:
    """A process of this host, as /proc shows it."""

    state: str = "S"
    used_ticks: int = 0
    start_ticks: int = 7
    busy: bool = False
    neighbour: Neighbour = field(init=False)

    def __post_init__(self):
        self.neighbour = Neighbour(ProcessId("here", "space", 12, 7), self.look)

    def look(self, pid):
        self.used_ticks += self.busy
        return Status(self.state, 1, self.used_ticks, self.start_ticks)


class NoTimer:
    def __init__(self, after_s, what, args):
        pass

    def start(self):
        pass


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(roll_call_module, "AttendedClock", lambda: clock)
    # it would end the process for good
    monkeypatch.setattr(roll_call_module.threading, "Timer", NoTimer)
    monkeypatch.setattr(roll_call_module.time, "sleep", lambda _: None)
    return clock


@pytest.fixture
def ranks(clock):
    """Return a function that makes some ranks' roll calls over one network."""

    def made(size, neighbours=None):
        world = LocalWorld(size)
        transports = [Transport(world, rank) for rank in range(size)]
        return [
            RollCall(
                FaultHandler(each),
                Watchdog(each.rank, HOSTS[each.rank]),
                LIMIT_S,
                HOSTS,
                (neighbours or {}).get(each.rank),
            )
            for each in transports
        ]

    return made


def lines_after(clock, calls, seconds, capsys):
    """Let ranks take part for some seconds; return what was printed, and how many seconds it took."""
    began_s = clock.wall_s
    with pytest.raises(Ended, match="17"):  # noqa: PT012
        while clock.wall_s - began_s < seconds:
            clock.wall_s += STEP_S
            for call in calls:
                call.step()
        raise AssertionError("nobody was missed")
    return capsys.readouterr().err, clock.wall_s - began_s


def in_peace(clock, calls, seconds):
    for _ in range(int(seconds / STEP_S)):
        clock.wall_s += STEP_S
        for call in calls:
            assert not call.step()


def test_ranks_that_beat_are_not_missed(ranks, clock, capsys):
    in_peace(clock, ranks(3), 100)
    assert capsys.readouterr().err == ""


def test_rank_that_falls_silent_before_there_is_a_job_is_named_with_its_host(ranks, clock, capsys):
    calls = ranks(3)
    in_peace(clock, calls, 2)
    text, after_s = lines_after(clock, [calls[0], calls[2]], 20, capsys)
    assert text == "mpi_vta: error: rank 1 on node1: nothing heard for 6.2 s: process, host or link is gone\n"
    assert after_s <= LIMIT_S


def test_rank_0_is_named_by_rank_1(ranks, clock, capsys):
    calls = ranks(3)
    in_peace(clock, calls, 2)
    text, after_s = lines_after(clock, calls[1:], 20, capsys)
    assert text.startswith("mpi_vta: error: rank 0 on head: nothing heard for 6.2 s by rank 1: process, host or link")
    assert after_s <= LIMIT_S


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("process", "what"),
    [
        ({"state": "T", "busy": True}, STOPPED),
        ({"state": "Z"}, GONE),
        ({"start_ticks": 8}, GONE),
        ({"state": "S"}, HANGS),
        ({"state": "D"}, HANGS),
    ],
    ids=["stopped", "ended", "another of its number", "sleeping", "waiting for a disk"],
)
def test_neighbour_that_does_not_get_on_is_named_with_the_reason(ranks, clock, capsys, rank, process, what):
    calls = ranks(2, {1 - rank: {rank: Process(**process).neighbour}})
    text, after_s = lines_after(clock, [calls[1 - rank]], 20, capsys)
    assert f"rank {rank} on {HOSTS[rank]}: nothing heard for 6.2 s" in text
    assert what in text
    assert after_s <= LIMIT_S


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("process", [{"state": "S", "busy": True}, {"state": "R"}], ids=["works", "waits for a core"])
def test_neighbour_that_gets_on_is_slow_and_not_gone(ranks, clock, capsys, rank, process):
    calls = ranks(2, {1 - rank: {rank: Process(**process).neighbour}})
    in_peace(clock, [calls[1 - rank]], 55)
    text, _ = lines_after(clock, [calls[1 - rank]], 20, capsys)
    assert "nothing heard for 60" in text


def test_time_in_which_nobody_could_look_is_no_silence(monkeypatch):
    wall_s = [0.0]
    monkeypatch.setattr(roll_call_module.time, "monotonic", lambda: wall_s[0])
    attended = roll_call_module.AttendedClock()
    for wall_s[0] in (0.2, 0.4, 60.4, 60.6):
        attended_s = attended.now_s()
    assert attended_s == pytest.approx(0.6 + LONGEST_STEP_S)
