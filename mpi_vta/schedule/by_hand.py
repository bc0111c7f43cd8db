"""Stage borders and numbers of boards that the user fixed, checked against the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import PlanError
from mpi_vta.plans.figures import LATENCY, THROUGHPUT
from mpi_vta.plans.notes import Note
from mpi_vta.schedule.cut_points import CutPoints
from mpi_vta.schedule.division.fluid_model import Wish
from mpi_vta.text_table import counted

if TYPE_CHECKING:
    from mpi_vta.plans.plan import Plan


@dataclass(frozen=True)
class ByHand:
    """What ``--cut`` and ``--allocate`` say.

    Attributes
    ----------
    cut : tuple of str
        Layers with which the second and later stages begin.
    allocate : tuple of (str, int)
        Layer names or globs, and how many boards the stage of these layers gets.
    """

    cut: tuple[str, ...] = ()
    allocate: tuple[tuple[str, int], ...] = ()

    def __bool__(self) -> bool:
        """Return whether anything is fixed."""
        return bool(self.cut or self.allocate)

    @classmethod
    def parse(cls, cut: str | None, allocate: Sequence[str] | None) -> ByHand:
        """Read the two options as given.

        Raises
        ------
        PlanError
            If they are not of the form ``layer,layer`` and ``pattern=boards``.
        """
        borders = tuple(name.strip() for name in cut.split(",")) if cut is not None else ()
        if "" in borders:
            raise PlanError("a layer name is empty", where=f"--cut {cut}", allowed="layer,layer")
        shares = []
        for entry in allocate or ():
            pattern, _, count = entry.rpartition("=")
            if not pattern or not count.strip().isdecimal() or int(count) < 1:
                raise PlanError(
                    "not understood", where=f"--allocate {entry}", allowed="pattern=boards, 1 or more boards"
                )
            shares.append((pattern.strip(), int(count)))
        return cls(borders, tuple(shares))


def wish_of(by_hand: ByHand, cuts: CutPoints, boards: int, stages: int | None, *, replicas: bool) -> Wish:
    """Return the restrictions that a hand-made choice puts on the search for a division.

    Parameters
    ----------
    by_hand : ByHand
        The choice.
    cuts : CutPoints
        Of the model.
    boards : int
        Boards that there are.
    stages : int or None
        Number of stages that the user asked for.
    replicas : bool
        Whether a stage may have several boards.

    Raises
    ------
    PlanError
        If a layer is unknown, a pattern matches nothing or layers of another one, borders are not in order,
        or there are not enough boards.
    """
    if not by_hand:
        return Wish(stages, replicas)
    allowed = cuts.nested.copy()
    if by_hand.cut:
        borders = _borders(by_hand.cut, cuts)
        if stages not in (None, len(borders) - 1):
            raise PlanError(f"--cut makes {counted(len(borders) - 1, 'stage')}", where=f"--stages {stages}")
        if len(borders) - 1 > boards:
            raise PlanError(
                f"{counted(len(borders) - 1, 'stage')} on {counted(boards, 'board')}",
                where="--cut",
                allowed=f"at most {boards - 1} borders",
            )
        allowed[:] = False
        allowed[borders[:-1], borders[1:]] = True
        stages = len(borders) - 1
    counts = _allocate(by_hand.allocate, cuts, allowed, boards, replicas=replicas)
    return Wish(stages, replicas, allowed, counts)


def _borders(names: Sequence[str], cuts: CutPoints) -> list[int]:
    positions = [0]
    for name in names:
        where = f"--cut {name}"
        if name not in cuts.unit_of:
            close = get_close_matches(name, cuts.unit_of, n=3) or [unit[0] for unit in cuts.units[1:4]]
            raise PlanError("no such layer", where=where, allowed=f"a layer of the model, such as {', '.join(close)}")
        unit = cuts.unit_of[name]
        if name != cuts.units[unit][0]:
            raise PlanError(f"it is merged into {cuts.units[unit][0]}", where=where, remedy="cut at another layer")
        if unit == 0:
            raise PlanError("the first stage begins there anyway", where=where, remedy="name a later layer")
        if unit <= positions[-1]:
            raise PlanError("the borders are not in order", where=where, allowed="layers in order of execution")
        positions.append(unit)
    return [cuts.prefix(position) for position in (*positions, len(cuts.units))]


def _allocate(
    shares: Sequence[tuple[str, int]], cuts: CutPoints, allowed: NDArray[np.bool_], boards: int, *, replicas: bool
) -> Mapping[tuple[int, int], int]:
    """Return the number of boards of the stages fixed, and narrow `allowed` down to what goes with them."""
    owner: dict[int, str] = {}
    counts: dict[tuple[int, int], int] = {}
    for pattern, count in shares:
        where = f"--allocate {pattern}={count}"
        found = [u for u, unit in enumerate(cuts.units) if any(fnmatchcase(name, pattern) for name in unit)]
        if not found:
            raise PlanError("no layer matches", where=where, allowed="a layer name or a glob, such as layer3.*")
        for unit in found:
            if unit in owner:
                raise PlanError(f"{cuts.units[unit][0]} is also in {owner[unit]}", where=where)
            owner[unit] = pattern
        if count > 1 and not replicas:
            raise PlanError(f"{counted(count, 'board')} for a stage", where=where, remedy="take --strategy fused")
        counts |= dict.fromkeys(_as_stage(found, cuts, allowed, where), count)
    total = sum(count for _, count in shares) + (len(owner) < len(cuts.units))
    if total > boards:
        raise PlanError(f"{total} boards are needed, there are {boards}", where="--allocate")
    return counts


def _as_stage(units: Sequence[int], cuts: CutPoints, allowed: NDArray[np.bool_], where: str) -> list[tuple[int, int]]:
    """Return the pairs of cut points between which these units lie, and forbid every other stage with one of them."""
    mask = sum(1 << unit for unit in units)
    stages = []
    for i, j in np.argwhere(allowed & cuts.nested):
        inside = cuts.done[j] & ~cuts.done[i]
        if inside == mask:
            stages.append((int(i), int(j)))
        elif inside & mask:
            allowed[i, j] = False
    if not stages:
        raise PlanError(
            "these layers cannot be a stage of their own", where=where, allowed="consecutive layers, as --cut has them"
        )
    return stages


def comparison(chosen: Plan, planner: Plan) -> Note:
    """Return what was chosen by hand beside what the planner would have got."""
    own, other = (
        Note("figures", images_per_s=plan.predicted[THROUGHPUT], latency_ms=plan.predicted[LATENCY])
        for plan in (chosen, planner)
    )
    return Note("by hand", chosen=own, planner=other, strategy=planner.strategy)
