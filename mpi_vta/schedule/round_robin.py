"""Turns of replicas of unequal speed, so that together they do the most per unit of time."""

from __future__ import annotations

from collections.abc import Sequence

# Turns after which a sequence repeats, at most; ratios of speeds are met to about one part in that many
MAX_TURNS = 96
# A shorter sequence is taken if it loses no more of the rate than this
TURN_LOSS = 0.005


def deal(period_ns: Sequence[int], count: int) -> tuple[int, ...]:
    """Return who does each of `count` equal tasks so that the last is done as early as possible.

    Each task goes to the replica that would finish it first, which is optimal for equal tasks.

    Parameters
    ----------
    period_ns : sequence of int
        Time of one task on each replica, at least 1.
    count : int
        Number of tasks.
    """
    done = [0] * len(period_ns)
    order = []
    for _ in range(count):
        chosen = min(range(len(done)), key=lambda r: (done[r] + period_ns[r], r))
        done[chosen] += period_ns[chosen]
        order.append(chosen)
    return tuple(order)


def repeating_turns(period_ns: Sequence[int], groups: int) -> tuple[int, ...]:
    """Return the turns of replicas for a job of `groups` image groups.

    A job of up to `MAX_TURNS` groups is dealt out as a whole; for a longer one the sequence with the
    highest rate is repeated. Slow replicas may get no turn.

    Returns
    -------
    tuple of int
        Indices into `period_ns`.
    """
    if groups <= MAX_TURNS:
        return deal(period_ns, groups)
    order = deal(period_ns, MAX_TURNS)
    rates = []
    spent = [0] * len(period_ns)
    for count, replica in enumerate(order, start=1):
        spent[replica] += period_ns[replica]
        rates.append(count / max(spent))
    enough = max(rates) * (1 - TURN_LOSS)
    return order[: next(count for count, rate in enumerate(rates, start=1) if rate >= enough)]
