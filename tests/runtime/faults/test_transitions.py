"""The tables of faults: whole, without doubt, and done as they say, row by row."""

import os
import signal
import threading
from itertools import product

import pytest

from mpi_vta.runtime.faults import guardian, handler
from mpi_vta.runtime.faults.guardian import Guardian
from mpi_vta.runtime.faults.handler import Ended, FaultHandler, Occurrence
from mpi_vta.runtime.faults.transitions import (
    GUARDIAN_TABLE,
    RANK_ROWS,
    RANK_TABLE,
    Action,
    Deed,
    Event,
    JobState,
    Machine,
    MainThread,
    Row,
    Sight,
    State,
    Watch,
    expanded,
)

STATES = [State(main, job) for main, job in product(MainThread, JobState)]


def test_every_event_is_known_in_every_state_of_a_rank():
    assert set(RANK_TABLE) == set(product(STATES, Event))


def test_every_action_is_of_use():
    assert {action for _, actions in RANK_TABLE.values() for action in actions} == set(Action)
    assert {deed for _, deeds in GUARDIAN_TABLE.values() for deed in deeds} == set(Deed)
    assert {sight for _, sight in GUARDIAN_TABLE} == set(Sight)


def test_two_rows_for_one_state_and_event_are_refused():
    row = Row((MainThread.AT_WORK,), (JobState.RUNNING,), Event.FAULT, None, None, ())
    with pytest.raises(ValueError, match="stand in two rows"):
        expanded((row, row))


@pytest.mark.parametrize(("at", "event"), sorted(RANK_TABLE, key=str), ids=str)
def test_machine_does_every_row_of_a_rank(at, event):
    after, actions = RANK_TABLE[at, event]
    done = []

    def note(action):
        return lambda about: done.append((action, machine.state, about))

    machine = Machine(RANK_TABLE, at, {action: note(action) for action in Action})
    machine.handle(event, "what it is about")
    assert machine.state == after
    # it has moved on before the first action
    assert done == [(action, after, "what it is about") for action in actions]


@pytest.mark.parametrize(("at", "sight"), sorted(GUARDIAN_TABLE, key=str), ids=str)
def test_machine_does_every_row_of_a_guardian(at, sight):
    after, deeds = GUARDIAN_TABLE[at, sight]
    done = []
    machine = Machine(GUARDIAN_TABLE, at, {deed: lambda about, deed=deed: done.append(deed) for deed in Deed})
    machine.handle(sight, None)
    assert (machine.state, done) == (after, list(deeds))


def test_nobody_speaks_twice_and_no_state_is_left_backwards():
    steps = [(at, event, after, actions) for (at, event), (after, actions) in RANK_TABLE.items()]
    order = list(JobState)
    assert all(order.index(after.job) >= order.index(at.job) for at, _, after, _ in steps)
    spoken = [(at, event) for at, event, _, actions in steps if Action.SAY in actions]
    assert spoken
    assert all(at.job is not JobState.SPEAKING and event is Event.MUST_SPEAK for at, event in spoken)
    # only a signal that was lost gives the main thread back to its work
    back = {
        event for at, event, after, _ in steps if after.main is MainThread.AT_WORK and at.main is not MainThread.AT_WORK
    }
    assert back == {Event.SIGNAL_LOST}


class Recorder:
    """A rank's transport that notes what is sent; `Left` stands for the end of the process."""

    def __init__(self, rank):
        self.rank, self.size, self.host, self.did = rank, 3, "node7", []

    def post(self, data, peer):
        self.did.append(f"post {data.decode()} to {peer}")

    def abort(self, status):
        self.did.append(f"abort {status}")


class Left(BaseException):
    """The process would have ended."""


@pytest.fixture
def rank(monkeypatch):
    """Return a function that does one event at a rank; it returns what was done, in order."""

    def done(number, at, event, *, listens):
        transport = Recorder(number)
        faults = FaultHandler(transport)
        faults._machine.state = at
        faults.rank_0_listens = listens
        faults.on_overdue = lambda fault: transport.did.append(f"end {fault}")
        did = transport.did

        def leave(status):
            did.append(f"leave {status}")
            raise Left

        class Timer:
            def __init__(self, after_s, what, args=()):
                self.after_s = after_s

            def start(self):
                did.append(f"later {self.after_s}")

        monkeypatch.setattr(handler.time, "sleep", lambda seconds: did.append(f"sleep {seconds}"))
        monkeypatch.setattr(handler.os, "_exit", leave)
        monkeypatch.setattr(handler.threading, "Timer", Timer)
        monkeypatch.setattr(handler, "say_error", lambda line: did.append(f"say {line}"))
        about = Occurrence("a line", 17, Ended(signal.SIGTERM))
        try:
            faults.handle(event, about)
        except (Left, Ended) as left:
            did.append(type(left).__name__)
        return did, faults.state

    return done


def states_of(row):
    return [State(main, job) for main, job in product(row.main, row.job)]


@pytest.mark.parametrize("row", RANK_ROWS, ids=lambda row: f"{row.event.name}-{len(states_of(row))}")
@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("called", [None, True, False], ids=["alone", "rank 0 listens", "rank 0 is silent"])
def test_handler_does_every_row(rank, row, number, called):
    speaks = ["say a line", *(["later 2.0"] if called is not None else [])]
    if called is not None and number == 0:
        speaks += [f'post {{"kind": "end"}} to {peer}' for peer in (1, 2)]
    speaks += ["abort 17"]
    told = ['post {"kind": "fault", "line": "a line", "status": 17} to 0', "sleep 3.0"]
    for at in states_of(row):
        did, after = rank(number, at, row.event, listens=None if called is None else lambda: called)
        upward = speaks if at.job is not JobState.SPEAKING else ["sleep 4.0"]
        report = [*told, *upward] if called and number else upward
        meant = {
            Action.LIMIT_UNWINDING: ["later 15.0"],
            Action.RAISE: ["Ended"],
            Action.SIGNAL_AGAIN: ["later 0.05"],
            Action.FAIL: ["end ended by SIGTERM"],
            Action.TRACE: [],
            Action.HOLD: ["sleep 3.0"],
            Action.LEAVE: ["leave 17", "Left"],
            Action.REPORT: report,
            Action.TELL_RANK_0: told[:1],
            Action.TAKE_OVER: upward,
            Action.SAY: speaks[:1],
            Action.LIMIT_ABORT: [line for line in speaks if line.startswith("later")],
            Action.ORDER_OTHERS: [line for line in speaks if line.startswith("post")],
            # the main thread needs no signal from itself
            Action.ORDER_MAIN: [],
            Action.ABORT: speaks[-1:],
            Action.WAIT: ["sleep 4.0"],
        }
        assert did == [line for action in row.actions for line in meant[action]]
        assert after.main is (row.next_main or at.main)


def test_of_threads_with_one_fault_each_one_speaks():
    said, waited, together = [], [], threading.Barrier(8)
    did = {action: lambda about: None for action in Action}
    did |= {Action.SAY: said.append, Action.WAIT: waited.append}
    machine = Machine(RANK_TABLE, State(MainThread.AT_WORK, JobState.RUNNING), did)

    def report(number):
        together.wait()
        machine.handle(Event.MUST_SPEAK, number)

    threads = [threading.Thread(target=report, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 1
    assert sorted(said + waited) == list(range(8))


def test_main_thread_is_signalled_by_another_thread_that_speaks(monkeypatch):
    sent = []
    monkeypatch.setattr(handler.signal, "pthread_kill", lambda thread, number: sent.append((thread, number)))
    thread = threading.Thread(target=handler._order_main, args=(Occurrence(),))
    thread.start()
    thread.join()
    assert sent == [(threading.main_thread().ident, signal.SIGTERM)]


def test_handler_of_a_rank_and_guardian_know_every_action():
    faults = FaultHandler(Recorder(1))
    assert set(faults._machine._actions) == set(Action)
    memory = os.memfd_create("state")
    os.ftruncate(memory, guardian.RANK_STATE_BYTES)
    try:
        assert set(Guardian(1, 2, memory, 0, 0.0)._machine._actions) == set(Deed)
    finally:
        os.close(memory)


def test_guardian_starts_by_watching():
    assert {at for at, _ in GUARDIAN_TABLE} == {Watch.WATCHING, Watch.CLEARING}
