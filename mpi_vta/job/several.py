"""Several models at the same time: their names, what cannot be said of them, and the boards shared out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mpi_vta.errors import InputError
from mpi_vta.hw.cluster import Cluster
from mpi_vta.job.chosen_weights import is_file
from mpi_vta.job.planning import PlanWishes
from mpi_vta.schedule.assembly import one_board_ns
from mpi_vta.schedule.cost import CompiledCosts
from mpi_vta.schedule.problem import Problem
from mpi_vta.schedule.sharing import Demand, parse_shares, share_boards


def labels_of(models: Sequence[str]) -> tuple[str, ...]:
    """Return a name of its own for each model: file names without suffix, numbered where they are the same."""
    stems = [Path(model).stem for model in models]
    total, seen = Counter(stems), Counter[str]()
    labels = []
    for stem in stems:
        seen[stem] += 1
        labels.append(f"{stem}-{seen[stem]}" if total[stem] > 1 else stem)
    return tuple(labels)


def check_wishes(
    wishes: PlanWishes, models: Sequence[str], *, weights: Path | None, labels: Path | None = None
) -> None:
    """Refuse what can be said of one model only, if there are several.

    Raises
    ------
    InputError
        If an option is for one model only.
    """
    single = {
        "--stages": wishes.stages,
        "--boards": wishes.boards,
        "--cut": wishes.by_hand.cut,
        "--allocate": wishes.by_hand.allocate,
        "--plan": wishes.file,
        "--weights": is_file(weights),
        "--labels": labels,
    }
    given = [name for name, value in single.items() if value]
    if given and len(models) > 1:
        raise InputError("it is for one model", where=given[0], remedy="run one model, or leave it out")


def share_cluster(
    costs: Sequence[CompiledCosts | None], labels: Sequence[str], cluster: Cluster, share: str | None
) -> tuple[tuple[int, ...], ...]:
    """Return each model's ranks: equal throughput as far as boards allow, or the parts that `share` says.

    A model's throughput is taken to be the sum of what each of its boards would do alone with the whole model,
    by the models' `costs`. A model whose costs are None needs no boards, and gets none.

    Raises
    ------
    PlanError
        If there are not enough boards, or `share` is wrong.
    """
    parts = None if share is None else parse_shares(share, labels)
    needy = {label: cost for cost, label in zip(costs, labels, strict=True) if cost is not None}
    if len(needy) > 1:
        demands = [_demand(cost, label, cluster, parts) for label, cost in needy.items()]
        division = dict(zip(needy, share_boards(cluster, demands), strict=True))
    else:
        division = dict.fromkeys(needy, tuple(range(len(cluster.boards))))
    return tuple(division.get(label, ()) for label in labels)


def _demand(cost: CompiledCosts, label: str, cluster: Cluster, parts: Mapping[str, float] | None) -> Demand:
    problem = Problem(cost.graph, cluster, 1, cost)
    rates = {
        board: problem.layout_config.batch * 1e9 / one_board_ns(problem, rank)
        for rank, board in enumerate(cluster.boards)
    }
    # with given parts, what counts is the part of the throughput that all boards would give the model
    everything = sum(rates[board] for board in cluster.boards)
    return Demand(label, rates, 1.0 if parts is None else parts[label] * everything)


def part_of(cluster: Cluster, ranks: Sequence[int]) -> Cluster:
    """Return some boards of a cluster as a cluster of their own."""
    return replace(cluster, boards=tuple(cluster.boards[rank] for rank in ranks))
