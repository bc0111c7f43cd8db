"""A wait beyond the limit ends the job and says what was waited for."""

import threading

from mpi_vta.runtime import watchdog
from mpi_vta.runtime.watchdog import EXIT_STATUS, Watchdog


def test_wait_beyond_the_limit_names_rank_host_and_edge(monkeypatch, capsys):
    monkeypatch.setattr(watchdog, "_GRACE_S", 3600.0)
    aborted = threading.Event()
    statuses = []

    def abort(status):
        statuses.append(status)
        aborted.set()

    with Watchdog(0.05, 3, "node7", abort).running() as dog, dog.waiting("conv5 from rank 2, group 4"):
        assert aborted.wait(10)
    assert statuses == [EXIT_STATUS]
    assert capsys.readouterr().err == (
        "mpi_vta: error: rank 3 on node7: waited more than 0.05 s for conv5 from rank 2, group 4\n"
    )
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()


def test_short_waits_and_no_wait_do_not_abort():
    aborted = threading.Event()
    with Watchdog(0.4, 0, "here", lambda status: aborted.set()).running() as dog:
        for _ in range(8):
            with dog.waiting("a message"):
                assert not aborted.wait(0.1)


def test_limit_of_zero_watches_nothing():
    aborted = threading.Event()
    with Watchdog(0, 0, "here", lambda status: aborted.set()).running() as dog, dog.waiting("for ever"):
        assert not aborted.wait(0.2)
