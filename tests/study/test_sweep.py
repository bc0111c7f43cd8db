"""A sweep over ranks: the same rows on any number of them, and faults that end every rank."""

import pytest
from schedule_cases import FakeCosts, chain

from mpi_vta.errors import InputError
from mpi_vta.hw.cluster import Cluster
from mpi_vta.runtime.transport.local import run_ranks
from mpi_vta.study.experiment import Experiment
from mpi_vta.study.points import points_of
from mpi_vta.study.sweep import follow, lead

GRAPHS = {"a": chain(4, name="a"), "b": chain(3, name="b")}
EXPERIMENT = Experiment(
    "e", (("a",), ("b", "a")), (Cluster.load("pynq4"),), (1, 2, 4), ("auto", "pipeline"), ("throughput",), 12
)
POINTS = points_of(EXPERIMENT, (None,))


@pytest.fixture(autouse=True)
def _fake_costs(monkeypatch):
    def open_costs(graph, progress, workers, model):
        return FakeCosts(graph, {node.name: 500_000 for node in graph.nodes})

    monkeypatch.setattr("mpi_vta.study.sweep.open_costs", open_costs)


def sweep(ranks, command):
    return run_ranks(ranks, lambda transport: follow(transport) if transport.rank else lead(transport, command))


def rows_on(ranks, missing):
    kept = {}

    def command(sweep):
        assert sweep.ranks == ranks
        sweep.run(POINTS, missing, GRAPHS, kept.__setitem__)
        return 0

    assert sweep(ranks, command) == [0] * ranks
    return kept


def test_rows_do_not_depend_on_the_number_of_ranks():
    everything = range(len(POINTS))
    alone = rows_on(1, everything)
    assert sorted(alone) == list(everything)
    assert repr([rows_on(3, everything)[index] for index in everything]) == repr([alone[index] for index in everything])


def test_only_what_is_missing_is_evaluated():
    assert sorted(rows_on(2, [5, 1])) == [1, 5]


def test_slow_points_are_begun_first():
    order = list(rows_on(1, range(len(POINTS))))
    slow = [POINTS[index].strategy == "auto" for index in order]
    assert slow == sorted(slow, reverse=True)
    assert POINTS[order[0]].boards == 4


def test_fault_before_the_sweep_is_the_status_of_every_rank(capsys):
    def command(sweep):
        raise InputError("wrong", where="here")

    assert sweep(3, command) == [2, 2, 2]
    assert capsys.readouterr().err == "mpi_vta: error: here: wrong\n"


def test_command_that_sweeps_nothing_ends_all_ranks():
    assert sweep(3, lambda sweep: 0) == [0, 0, 0]


def test_fault_during_the_sweep_ends_all():
    def command(sweep):
        sweep.run(POINTS, range(len(POINTS)), GRAPHS, lambda index, rows: fail())
        return 0

    def fail():
        raise InputError("disk full")

    with pytest.raises(InputError, match="disk full"):
        sweep(2, command)
