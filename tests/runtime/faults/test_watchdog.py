"""What a rank notes of itself."""

import threading
from dataclasses import dataclass

import pytest

from mpi_vta.runtime.faults import watchdog as watchdog_module
from mpi_vta.runtime.faults.watchdog import DONE, LOADING, WAITING, WORKING, Watchdog

EDGES = ("x (source to stage 0)", "y (stage 0 to sink)")


def working(simulated=True):
    watchdog = Watchdog(3, "node7")
    watchdog.join("pynq_z1", simulated=simulated, edges=EDGES, hint="go on with --resume out/x")
    watchdog.phase = WORKING
    return watchdog


def test_position_names_rank_host_board_edge_and_image():
    watchdog = working()
    assert watchdog.position.circumstances == "; no edge yet, no image yet; go on with --resume out/x"
    watchdog.note(1, 12)
    watchdog.note(-1, 14)
    assert watchdog.position.name == "rank 3 on node7, board pynq_z1"
    assert watchdog.position.circumstances == (
        "; last edge y (stage 0 to sink), last image 14; go on with --resume out/x"
    )


def test_before_a_job_there_is_only_rank_and_host():
    who = Watchdog(3, "node7").position
    assert (who.name, who.circumstances) == ("rank 3 on node7", "")


def test_state_says_what_the_rank_waits_for():
    watchdog = working()
    assert watchdog.state()["phase"] == WORKING
    with watchdog.waiting("y from rank 1"):
        state = watchdog.state()
        assert (state["phase"], state["what"]) == (WAITING, "y from rank 1")
        with watchdog.launching("stage 0"):
            assert watchdog.state()["phase"] == WORKING
    watchdog.phase = DONE
    assert watchdog.state()["phase"] == DONE
    assert Watchdog(0, "here").state()["phase"] == LOADING


@dataclass
class Clocks:
    """The wall's and a thread's time, as a test sets them."""

    wall_s: float = 0.0
    processor_ns: int = 5

    def monotonic(self):
        return self.wall_s

    def pthread_getcpuclockid(self, thread):
        return thread

    def clock_gettime_ns(self, clock):
        assert clock == threading.get_ident()
        return self.processor_ns


@pytest.fixture
def clocks(monkeypatch):
    monkeypatch.setattr(watchdog_module, "time", Clocks())
    return watchdog_module.time


@pytest.mark.parametrize("simulated", [True, False])
def test_launch_that_does_nothing_is_stuck(clocks, simulated):
    watchdog = working(simulated=simulated)
    assert watchdog.stuck() == (0.0, "")
    with watchdog.launching("stage 0"):
        assert watchdog.stuck() == (0.0, "stage 0")
        clocks.wall_s = 7.0
        assert watchdog.stuck() == (7.0, "stage 0")
    assert watchdog.stuck() == (0.0, "")


@pytest.mark.parametrize(("simulated", "stuck_s"), [(True, 0.0), (False, 7.0)])
def test_only_a_simulated_launch_may_compute_for_as_long_as_it_takes(clocks, simulated, stuck_s):
    watchdog = working(simulated=simulated)
    with watchdog.launching("stage 0"):
        watchdog.stuck()
        clocks.wall_s, clocks.processor_ns = 7.0, 6
        assert watchdog.stuck()[0] == stuck_s


def test_processor_time_of_the_launching_thread_is_read():
    watchdog = working()
    go, done = threading.Event(), threading.Event()

    def launch():
        with watchdog.launching("stage 0"):
            go.set()
            done.wait(10)

    thread = threading.Thread(target=launch)
    thread.start()
    assert go.wait(10)
    assert watchdog.stuck()[1] == "stage 0"
    done.set()
    thread.join()
    assert watchdog.stuck() == (0.0, "")
