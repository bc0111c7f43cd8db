"""Core assignment: every run of layers split over as many boards, by rows or channels, as shorten one image's way."""

from __future__ import annotations

from collections.abc import Mapping

from mpi_vta.errors import PlanError
from mpi_vta.plans.notes import SPLIT_BOUND, Note
from mpi_vta.schedule.assembly import compose, one_image_ns
from mpi_vta.schedule.predict import predict
from mpi_vta.schedule.problem import Draft, Placement, Problem
from mpi_vta.schedule.split_search import SplitDivision, SplitSearch
from mpi_vta.schedule.strategy import Strategy
from mpi_vta.text_table import counted

NAME = "core-assignment"
# The search is repeated with what compiling the parts has taught, at most so often
ROUNDS = 8


def place(problem: Problem) -> Draft:
    """Divide each run of consecutive layers over boards so that one image is through as early as possible.

    A dynamic program over the cut points takes the least sum of estimated times of runs and of exchanges between
    them; the parts that it chooses are compiled, and the search is repeated with their true times until it chooses
    nothing new. Of all choices met, the one whose predicted run has the least latency is taken.

    Raises
    ------
    PlanError
        If a number of stages is asked for.
    """
    if problem.stages is not None:
        raise PlanError(
            f"{counted(problem.stages, 'stage')} with core-assignment",
            where="--stages",
            allowed="none: every part of every run of layers is a stage",
            remedy="take --strategy pipeline",
        )
    search = SplitSearch(problem)
    found: list[tuple[int, tuple[Placement, ...]]] = []
    met: set[SplitDivision] = set()
    while len(met) < ROUNDS and (division := search.best()) not in met:
        met.add(division)
        placements = search.placements(division)
        search.learn(placements)
        found.append((latency_ns(problem, placements), placements))
    least_ns, placements = min(found, key=lambda entry: entry[0])
    return Draft(placements, _notes(problem, placements, least_ns))


def may_reach(problem: Problem, predicted: Mapping[str, float]) -> bool:
    """Return whether a split could do better than a plan's predicted figures, before anything is compiled.

    For latency always. Otherwise it is taken to do no more than the boards' estimated loads allow: every board
    busy without a gap, nothing lost to messages.
    """
    if problem.objective == "latency":
        return True
    search = SplitSearch(problem)
    busy_ns = search.busy_ns(search.placements(search.best()))
    period_s = max(busy_ns.values()) / 1e9 / problem.layout_config.batch
    if problem.objective == "throughput":
        return 1 / period_s > predicted["throughput_images_per_s"]
    energy_j = 0.0
    for rank, board in enumerate(problem.cluster.boards):
        active_s = busy_ns[rank] / 1e9 / problem.layout_config.batch
        energy_j += period_s * board.power.idle_w + active_s * (board.power.active_w - board.power.idle_w)
    return energy_j < predicted["energy_j_per_image"]


def latency_ns(problem: Problem, placements: tuple[Placement, ...]) -> int:
    """Return the predicted time of one image group alone (modelled)."""
    plan = compose(problem, Draft(placements), NAME)
    return predict(plan, problem.network, plan.group_images).figures.makespan_ns


def _notes(problem: Problem, placements: tuple[Placement, ...], least_ns: int) -> tuple[Note, ...]:
    used = {rank for placement in placements for rank in placement.ranks}
    if all(placement.share is None for placement in placements):
        return (_why_whole(problem),) if problem.ranks > 1 else ()
    alone_ns = min(one_image_ns(problem, rank) for rank in range(problem.ranks))
    slowest: dict[tuple[str, ...], tuple[int, int]] = {}
    for placement in placements:
        board = problem.cluster.boards[placement.ranks[0]]
        cost = problem.costs.stage(placement.nodes, board.config, placement.share)
        entry = (board.compute_ns(cost.cycles), board.launch_overhead_ns)
        slowest[placement.nodes] = max(slowest.get(placement.nodes, entry), entry)
    launches_ns, overhead_ns = (sum(entry[i] for entry in slowest.values()) for i in (0, 1))
    notes = [
        Note("split", group_ms=least_ns / 1e6, alone_ms=alone_ns / 1e6, times=alone_ns / least_ns),
        Note(
            SPLIT_BOUND,
            runs=len(slowest),
            launches_ms=launches_ns / 1e6,
            overhead_ms=overhead_ns / 1e6,
            waiting_ms=(least_ns - launches_ns) / 1e6,
        ),
    ]
    if idle := problem.ranks - len(used):
        notes.append(Note("idle, no smaller share", idle=idle))
    return tuple(notes)


def _why_whole(problem: Problem) -> Note:
    """Return why no layer is split: what the longest one takes, and the least that a part elsewhere costs."""
    board = problem.cluster.boards[0]
    name, cycles = max(problem.costs.node_cycles(board.config).items(), key=lambda entry: entry[1])
    launch_ns = board.launch_overhead_ns
    return Note(
        "not split",
        layer=name,
        layer_us=(board.compute_ns(cycles) - launch_ns) / 1e3,
        message_us=problem.network.message_ns(0) / 1e3,
        launch_us=launch_ns / 1e3,
    )


STRATEGY = Strategy(NAME, place, splits=True, may_win=may_reach)
