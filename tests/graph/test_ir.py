"""Graphs as files."""

import numpy as np
from graph_strategies import GraphBuilder

from mpi_vta.graph.ir import Graph


def test_float_graphs_with_names_from_before_are_read():
    builder = GraphBuilder("float32", np.random.default_rng(0))
    picture, rows = builder.input((1, 4, 3, 3)), builder.input((1, 5, 2))
    builder.add("concat", (picture, picture), {"axis": 1})
    builder.add("slice", (picture,), {"low": (0, 1, 0, 2), "high": (1, 3, 2, 3)})
    builder.add("concat", (rows, rows), {"axis": 2})
    builder.add("slice", (rows,), {"low": (0, 1, 0), "high": (1, 3, 2)})
    graph = builder.build()
    header, arrays = graph.to_parts()
    before = [
        ("concat", {}),
        ("slice2d", {"channels": [1, 3], "rows": [0, 2], "cols": [2, 3]}),
        ("join", {"axis": 2}),
        ("cut", {"low": [0, 1, 0], "high": [1, 3, 2]}),
    ]
    for node, (op, attrs) in zip(header["nodes"], before, strict=True):
        node[1], node[4] = op, attrs
    assert Graph.from_parts(header, arrays).nodes == graph.nodes
