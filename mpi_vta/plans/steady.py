"""The steady rate of a run: one definition for plan, run, study and report."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf, lcm

import numpy as np
from numpy.typing import ArrayLike

# whole rounds that the middle half of a job must hold; fewer say nothing about a longer job
LEAST_ROUNDS = 3


def round_groups(turn_counts: Iterable[int]) -> int:
    """Return the image groups after which every stage's boards have had their turns: one round.

    Parameters
    ----------
    turn_counts : iterable of int
        Per stage, the groups after which its turns repeat.
    """
    return lcm(*turn_counts)


def steady_images_per_s(
    finish_ns: ArrayLike, group_images: int, groups_per_round: int, bound_images_per_s: float = inf
) -> float | None:
    """Return the rate over whole rounds in the middle half of a job.

    There the pipeline neither fills nor drains. Of a round's groups the one counts whose turn comes again the latest,
    as a fast board that runs ahead of a slow one waits for it in the end. Where a queue before the last stage empties
    in that window, groups finish faster than they can be made for long: the bound says how fast that is.

    Parameters
    ----------
    finish_ns : array_like of int
        When each image group finished, in group order.
    group_images : int
        Images per group.
    groups_per_round : int
        See `round_groups`.
    bound_images_per_s : float
        Rate that no long run exceeds.

    Returns
    -------
    float or None
        None where fewer than `LEAST_ROUNDS` whole rounds lie in the middle half.
    """
    finishes = np.asarray(finish_ns, dtype=np.int64)
    first, length = len(finishes) // 4, len(finishes) // 2
    rounds = (length - groups_per_round + 1) // groups_per_round
    if rounds < LEAST_ROUNDS:
        return None
    between = rounds * groups_per_round
    begin = finishes[first : first + groups_per_round]
    later = finishes[first + between : first + between + groups_per_round]
    longest_ns = int((later - begin).max())
    return min(between * group_images * 1e9 / longest_ns, bound_images_per_s) if longest_ns > 0 else None
