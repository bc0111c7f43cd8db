"""Enumerated builds of every part compile what the shipped ones do, bit for bit."""

from __future__ import annotations

from functools import cache

import pytest
from graph_strategies import int8_graphs
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.execution import assert_equals_reference
from mpi_vta.graph.ir import Graph
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.enumeration import enumerated_builds, largest_builds
from mpi_vta.hw.parts import load_part

PARTS = ("XC7Z020", "ZU3EG", "ZU7EV")
SMALLEST_DEPTH = 512  # below, a wide layer of the drawn graphs may find no room


@cache
def builds() -> tuple[VTAConfig, ...]:
    """Return the largest builds of all parts with some room in every buffer: one per part and GEMM shape."""
    found = {}
    for name in PARTS:
        part = load_part(name)
        for build in largest_builds(tuple(enumerated_builds(part, part.default_clock_mhz))):
            config = build.config
            if min(config.inp_depth, config.wgt_depth, config.acc_depth) >= SMALLEST_DEPTH:
                found[name, build.shape] = config
    return tuple(found.values())


def test_many_shapes_are_tried() -> None:
    shapes = {(config.target, config.batch, config.block) for config in builds()}
    assert {("pynq", 1, 16), ("pynq", 8, 4), ("ultra96", 8, 8), ("zcu104", 2, 32), ("zcu104", 16, 8)} <= shapes


@settings(deadline=None, max_examples=25)
@given(int8_graphs(), st.data(), st.integers(0, 1000))
def test_random_graphs_equal_the_reference(graph: Graph, data: st.DataObject, seed: int) -> None:
    assert_equals_reference(graph, data.draw(st.sampled_from(builds())), seed)


@pytest.mark.slow
@settings(deadline=None, max_examples=250)
@given(int8_graphs(), st.data(), st.integers(0, 1000))
def test_many_random_graphs_equal_the_reference(graph: Graph, data: st.DataObject, seed: int) -> None:
    assert_equals_reference(graph, data.draw(st.sampled_from(builds())), seed)
