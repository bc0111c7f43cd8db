"""Parts of runs of layers: put together, they are the whole, bit for bit."""

import numpy as np
import pytest
from codegen.execution import config_named, run_program
from convolutions import conv_attrs
from graph_strategies import GraphBuilder, int8_graphs, random_inputs
from hypothesis import given, settings
from hypothesis import strategies as st

from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.graph.reference import execute, execute_all
from mpi_vta.graph.verify import verify
from mpi_vta.graph.window import Window
from mpi_vta.schedule.split.part_graph import part_graph
from mpi_vta.schedule.split.windows import part_windows

BLOCK = 16


def cuts(extent, parts):
    return [(extent * p // parts, extent * (p + 1) // parts) for p in range(parts)]


def shares(shape, bands, columns, block=BLOCK):
    """Windows of a grid of so many parts over a value, empty ones left out."""
    blocks = -(-shape[1] // block)
    return [
        Window(rows, (first * block, min(end * block, shape[1])))
        for rows in cuts(shape[2], bands)
        for first, end in cuts(blocks, columns)
        if rows[0] < rows[1] and first < end
    ]


@st.composite
def runs(draw):
    graph = draw(int8_graphs(max_nodes=6))
    first = draw(st.integers(0, len(graph.nodes) - 1))
    end = draw(st.integers(first + 1, len(graph.nodes)))
    nodes = tuple(node.name for node in graph.nodes[first:end])
    return graph, nodes, draw(st.integers(1, 5)), draw(st.integers(1, 3))


def cut_images(images, window):
    return np.ascontiguousarray(images[:, slice(*window.channels), slice(*window.rows)])


@given(runs(), st.integers(0, 99))
@settings(max_examples=300, deadline=None)
def test_parts_put_together_are_the_whole(run, seed):
    graph, nodes, bands, columns = run
    known = execute_all(graph, random_inputs(graph, seed))
    segment = graph.subgraph(nodes)
    made = {name: np.full(segment.values[name].shape, 99, np.int16) for name in segment.outputs}
    covered = {name: np.zeros(segment.values[name].shape, int) for name in segment.outputs}
    for share in shares(graph.values[segment.nodes[-1].output].shape, bands, columns):
        part = part_graph(graph, nodes, share, BLOCK)
        windows = part_windows(graph, nodes, share, BLOCK)
        verify(part)
        results = execute(part, {name: cut_images(known[name], window) for name, window in windows.reads.items()})
        assert set(results) == set(windows.owns)
        for name, window in windows.owns.items():
            inner = window.within(windows.makes[name])
            rows, channels = slice(*window.rows), slice(*window.channels)
            made[name][:, channels, rows] = cut_images(results[name], inner)
            covered[name][:, channels, rows] += 1
    for name in segment.outputs:
        assert (covered[name] == 1).all()
        np.testing.assert_array_equal(made[name], known[name])


@pytest.mark.parametrize("name", ["pynq_1x16", "pynq_1x32", "pynq_2x16", "pynq_4x8"])
@given(run=runs(), seed=st.integers(0, 99))
@settings(max_examples=6, deadline=None)
def test_compiled_part_gives_the_bits_of_the_whole(name, run, seed):
    config = config_named(name)
    graph, nodes, bands, columns = run
    known = execute_all(graph, random_inputs(graph, seed, config.batch))
    drawn = shares(graph.values[graph.subgraph(nodes).nodes[-1].output].shape, bands, columns, config.block)
    share = drawn[seed % len(drawn)]
    windows = part_windows(graph, nodes, share, config.block)
    if not windows.owns:
        return
    part = part_graph(graph, nodes, share, config.block)
    program = compile_graph(part, config)
    given_images = {value: cut_images(known[value], window) for value, window in windows.reads.items()}
    results = run_program(program, given_images, config.batch)
    for value in windows.owns:
        np.testing.assert_array_equal(results[value], cut_images(known[value], windows.makes[value]))


def test_alike_parts_are_one_graph():
    graph = conv_chain(40)
    nodes = tuple(node.name for node in graph.nodes)
    middle = [part_graph(graph, nodes, Window(rows, (0, 16)), BLOCK).sha256 for rows in [(10, 14), (14, 18), (20, 24)]]
    assert len(set(middle)) == 1
    assert part_graph(graph, nodes, Window((0, 4), (0, 16)), BLOCK).sha256 != middle[0]


def test_halo_rows_are_read_and_those_inside_computed():
    graph = conv_chain(40)
    nodes = tuple(node.name for node in graph.nodes)
    windows = part_windows(graph, nodes, Window((10, 14), (0, 16)), BLOCK)
    assert windows.reads[graph.inputs[0]].rows == (8, 16)
    assert [window.rows for window in windows.makes.values()] == [(9, 15), (10, 14)]
    assert [window.rows for window in windows.owns.values()] == [(10, 14)]


def conv_chain(size):
    builder = GraphBuilder("int8", np.random.default_rng(0))
    value = builder.input((1, 16, size, size), 0)
    attrs = conv_attrs(1)
    for _ in range(2):
        params = {"weight": builder.int8_weights((16, 16, 3, 3)), "bias": np.zeros(16, np.int32)}
        value = builder.add("conv2d", (value,), attrs, params, 0)
    return builder.build()
