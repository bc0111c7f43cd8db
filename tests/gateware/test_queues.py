"""Queues against what they are: lists and counters."""

from __future__ import annotations

import numpy as np
from gateware.simulation import run_sync

from mpi_vta.gateware.queues import InstructionQueue, TokenQueue

DEPTH = 8


def test_items_come_out_in_order_two_cycles_after_they_went_in_and_never_more_than_the_depth():
    rng = np.random.default_rng(0)
    pushes, pops = rng.random(400) < np.repeat([0.9, 0.3], 200), rng.random(400) < np.repeat([0.3, 0.9], 200)
    queue, held, wanted, rows = InstructionQueue(16, DEPTH), [], [], []
    for cycle, (push, pop) in enumerate(zip(pushes, pops, strict=True)):
        valid = bool(held) and held[0][0] <= cycle - 2
        room = len(held) < DEPTH
        rows.append({"push": int(push and room), "item": cycle, "pop": int(pop and valid)})
        wanted.append((int(room), int(valid), held[0][1] if valid else None))
        if pop and valid:
            held.pop(0)
        if push and room:
            held.append((cycle, cycle))
    found = run_sync(queue, rows, ["room", "valid", "head"])
    assert [(room, valid, head if valid else None) for room, valid, head in found] == wanted
    assert any(not room for room, _, _ in wanted)


def test_a_token_can_be_taken_a_cycle_after_it_was_given_and_one_too_many_is_reported():
    rows = [{"push": 1, "pop": 0}] * 4 + [{"push": 1, "pop": 1}] + [{"push": 0, "pop": 1}] * 3 + [{"push": 0, "pop": 0}]
    found = run_sync(TokenQueue(most=3), rows, ["ready", "overflow"])
    assert found == [(0, 0), (1, 0), (1, 0), (1, 1), (1, 0), (1, 0), (1, 0), (1, 0), (0, 0)]
