from __future__ import annotations

import numpy as np
from graph_strategies import FLOAT_KINDS, FLOAT_NEW_KINDS, float_graphs
from hypothesis import given, settings

from mpi_vta.graph.reference import execute
from mpi_vta.quantize.rewriting import without_scale_shifts


@settings(deadline=None, max_examples=60)
@given(float_graphs(kinds=(*FLOAT_KINDS, *FLOAT_NEW_KINDS, "scale_shift", "scale_shift", "transposed")))
def test_a_net_without_scale_shifts_computes_the_same(graph):
    rewritten = without_scale_shifts(graph)
    assert not any(node.op == "scale_shift" for node in rewritten.nodes)
    images = np.random.default_rng(0).normal(size=(2, *graph.values["input0"].shape[1:])).astype(np.float32)
    before, after = (execute(g, {"input0": images}) for g in (graph, rewritten))
    assert rewritten.outputs == graph.outputs
    for name in graph.outputs:
        largest = float(np.abs(before[name]).max()) + 1
        np.testing.assert_allclose(before[name], after[name], atol=2e-5 * largest)
