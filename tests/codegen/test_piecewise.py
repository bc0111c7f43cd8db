"""Recipes of piecewise functions: exact for every int8, few passes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpi_vta.codegen.piecewise import EVERY, Recipe, curve_of, plan

PIECES = st.tuples(st.integers(-128, 127), st.integers(-1, 1), st.integers(-(1 << 15), (1 << 15) - 1))
NEAR = st.tuples(st.integers(-128, 127), st.integers(-1, 1), st.integers(-4000, 4000))


def played(recipe: Recipe) -> np.ndarray:
    """Run a recipe step by step on every int8."""
    total = np.full(EVERY.size, recipe.offset, dtype=np.int64)
    for chain in recipe.chains:
        value = np.zeros_like(total)
        for multiplier, clamp in chain.steps:
            assert -128 <= multiplier <= 127
            value += multiplier * EVERY
            if clamp is not None:
                side, threshold = clamp
                assert -(1 << 15) <= threshold < 1 << 15
                value = np.maximum(value, threshold) if side > 0 else np.minimum(value, threshold)
        total += value
    return total


@settings(deadline=None, max_examples=150)
@given(st.lists(PIECES | NEAR, min_size=1, max_size=8), st.integers(-(1 << 20), 1 << 20))
def test_a_recipe_is_the_function(pieces: list[tuple[int, int, int]], offset: int) -> None:
    np.testing.assert_array_equal(played(plan(tuple(pieces), offset)), curve_of(pieces, offset))


def bends(knots: list[int], slopes: list[int]) -> tuple[tuple[int, int, int], ...]:
    """Return the pieces of a function with these slopes between these knots."""
    steps = [after - before for before, after in pairwise(slopes)]
    bent = [(step, 1 if step > 0 else -1, step * knot) for step, knot in zip(steps, knots, strict=True)]
    return ((slopes[0], 0, 0), *bent)


@pytest.mark.parametrize(
    ("pieces", "cycles"),
    [
        (((5, 0, 0), (7, 0, 3)), 1),  # straight lines are one
        (((9, 1, -40),), 2),
        (bends([-40, -20, 0, 20], [0, 10, 30, 60, 100]), 8),  # convex: four bends in place
        (bends([-60, -30, 30, 60], [0, 10, 40, 10, 0]), 8),  # an S, two bends turned round
        (bends([-48, -24, 0, 24, 48], [0, -16, 16, 48, 80, 64]), 13),  # a hard swish takes a second chain
    ],
)
def test_bends_follow_in_place_where_they_can(pieces: tuple[tuple[int, int, int], ...], cycles: int) -> None:
    recipe = plan(pieces, 0)
    assert recipe.cycles == cycles
    np.testing.assert_array_equal(played(recipe), curve_of(pieces, 0))


def test_a_function_that_never_bends_needs_no_clamp() -> None:
    assert plan(((3, 1, -30000), (1, -1, 20000)), 0).chains[0].steps == ((4, None),)
    constant = plan(((1, 1, 500),), 7)
    assert (constant.offset, constant.chains[0].steps) == (507, ((0, None),))
