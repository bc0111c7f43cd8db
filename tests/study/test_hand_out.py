"""Handing out points: each once, to whoever is free, and a failure ends all."""

import time

import pytest

from mpi_vta.errors import PlanError
from mpi_vta.runtime.transport.local import run_ranks
from mpi_vta.study.hand_out import hand_out, take_points


def sweep(ranks, points, evaluate):
    """Return who evaluated each point and what came back, in the order of arrival."""
    kept = []

    def work(transport):
        def evaluate_here(point):
            return evaluate(transport.rank, point)

        if transport.rank:
            take_points(transport, evaluate_here)
        else:
            hand_out(transport, points, evaluate_here, lambda point, result: kept.append((point, result)))

    run_ranks(ranks, work)
    return kept


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_every_point_once_and_its_own_result(ranks):
    points = list(range(40, 0, -1))
    kept = sweep(ranks, points, lambda rank, point: b"x" * point)
    assert sorted(kept) == [(point, b"x" * point) for point in sorted(points)]


def test_one_rank_keeps_the_order():
    assert [point for point, _ in sweep(1, [3, 1, 2], lambda rank, point: b"r")] == [3, 1, 2]


def test_no_points():
    assert sweep(3, [], lambda rank, point: b"r") == []


def test_every_rank_works_rank_0_too():
    def evaluate(rank, point):
        time.sleep(0.02)
        return bytes([rank])

    assert {result for _, result in sweep(3, range(30), evaluate)} == {b"\0", b"\1", b"\2"}


def test_a_slow_rank_holds_nobody_up():
    def evaluate(rank, point):
        time.sleep(0.2 if rank == 1 else 0.001)
        return bytes([rank])

    by_slow = [point for point, result in sweep(3, range(60), evaluate) if result == b"\1"]
    assert len(by_slow) < 20


@pytest.mark.parametrize("bad_rank", [0, 1])
def test_failure_of_a_rank_ends_all(bad_rank):
    def evaluate(rank, point):
        time.sleep(0.01)
        if rank == bad_rank:
            raise PlanError("broken")
        return b"r"

    with pytest.raises(PlanError, match="broken"):
        sweep(3, range(10_000), evaluate)


def test_failure_to_keep_ends_all():
    def work(transport):
        if transport.rank:
            take_points(transport, lambda point: b"r")
        else:
            hand_out(transport, range(10_000), lambda point: b"r", lambda point, result: 1 // 0)

    with pytest.raises(ZeroDivisionError):
        run_ranks(3, work)
