from __future__ import annotations

import numpy as np
from graph_strategies import FLOAT_KINDS, FLOAT_NEW_KINDS, GraphBuilder, float_graphs
from hypothesis import given, settings

from mpi_vta.graph.reference import execute
from mpi_vta.quantize.calibration import collect_ranges
from mpi_vta.quantize.equalization import equalized, pairs_of
from mpi_vta.quantize.options import QuantizeOptions
from mpi_vta.quantize.quantizer import quantize_with_decisions
from mpi_vta.quantize.rewriting import without_scale_shifts

PLAIN = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "groups": 1}


def images_for(graph, count=4):
    shape = graph.values[graph.inputs[0]].shape[1:]
    return np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32)


def two_convolutions(between, attrs, unevenness=64.0, groups=1):
    """Two convolutions; every other channel of the first has weights that are larger by `unevenness`."""
    builder = GraphBuilder("float32", np.random.default_rng(0))
    source = builder.input((1, 3, 8, 8))
    first = builder.rng.normal(0, 0.1, (8, 3, 3, 3)).astype(np.float32)
    first[::2] *= unevenness
    second = builder.rng.normal(0, 0.1, (8, 8 // groups, 3, 3)).astype(np.float32)
    x = builder.add("conv2d", (source,), PLAIN, {"weight": first, "bias": np.full(8, 0.1, np.float32)})
    x = builder.add(between, (x,), attrs)
    builder.add("conv2d", (x,), {**PLAIN, "groups": groups}, {"weight": second})
    return builder.build()


@settings(deadline=None, max_examples=40)
@given(float_graphs(kinds=FLOAT_KINDS + FLOAT_NEW_KINDS))
def test_random_nets_stay_the_same_bit_for_bit_on_their_calibration_images(graph):
    graph = without_scale_shifts(graph)
    images = images_for(graph)
    moved = equalized(graph, collect_ranges(graph, images, [node.output for node in graph.nodes]))
    before, after = (execute(g, {"input0": images}) for g in (graph, moved))
    for name in graph.outputs:
        np.testing.assert_array_equal(before[name], after[name])


def test_uneven_channels_become_even_and_the_result_stays():
    for between, attrs in (("relu", {}), ("leaky_relu", {"alpha": 0.1}), ("upsample2d", {"scales": (2, 2)})):
        for groups in (1, 2, 8):
            graph = two_convolutions(between, attrs, groups=groups)
            assert len(pairs_of(graph)) == 1
            moved = equalized(graph, {})
            peaks = np.abs(moved.constants["conv2d_0.weight"]).max(axis=(1, 2, 3))
            assert peaks.max() / peaks.min() < 64 / 4
            images = {"input0": images_for(graph)}
            (name,) = graph.outputs
            np.testing.assert_array_equal(execute(graph, images)[name], execute(moved, images)[name])


def test_even_channels_stay():
    graph = two_convolutions("relu", {}, unevenness=1.0)
    assert equalized(graph, {}) is graph


def test_channels_that_reach_the_bound_of_a_clip_stay():
    graph = two_convolutions("clip", {"lo": 0.0, "hi": 6.0}, unevenness=512.0)
    images = images_for(graph)
    ranges = collect_ranges(graph, images, ["clip_1:0"])
    assert (ranges["clip_1:0"].peaks[::2] == 6).all()
    moved = equalized(graph, ranges)
    np.testing.assert_array_equal(moved.constants["conv2d_0.weight"][::2], graph.constants["conv2d_0.weight"][::2])
    (name,) = graph.outputs
    np.testing.assert_array_equal(*(execute(g, {"input0": images})[name] for g in (graph, moved)))


def test_a_clip_below_zero_ends_a_pair():
    assert pairs_of(two_convolutions("clip", {"lo": -1.0, "hi": 6.0})) == ()


def test_equalisation_is_used_where_it_gains():
    graph = two_convolutions("relu", {})
    images = images_for(graph)
    options = {choice: QuantizeOptions(per_channel="never", equalize=choice) for choice in ("auto", "never")}
    made = {choice: quantize_with_decisions(graph, images, chosen) for choice, chosen in options.items()}
    assert made["auto"].is_equalized
    assert made["auto"].equalized_gain_db > 1
    assert not made["never"].is_equalized
