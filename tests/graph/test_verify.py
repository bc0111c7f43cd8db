"""Each rule of the verifier: a legal graph, then the same graph with one thing wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from graph_strategies import GraphBuilder, int8_graphs
from hypothesis import given, settings

from mpi_vta.errors import GraphError
from mpi_vta.graph.ir import Graph
from mpi_vta.graph.verify import verify

CONV = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "groups": 1, "residual_shift": 0, "leaky": (3, 5)}
REQUANTIZE = {"shift": 7, "lo": -128, "hi": 127}


def legal_graph() -> Graph:
    """conv (with residual), pools, concat, sum, piecewise, slice, spread, pad, conv with channel shifts."""
    builder = GraphBuilder("int8", np.random.default_rng(0))
    source = builder.input((1, 4, 6, 6), -5)
    params = {"weight": builder.int8_weights((4, 4, 3, 3)), "bias": np.zeros(4, np.int32)}
    conv = builder.add("conv2d", (source, source), CONV | REQUANTIZE, params, -5)
    pool = {"kernel": (2, 2), "strides": (2, 2), "pads": (0, 0, 0, 0)}
    largest = builder.add("max_pool2d", (conv,), pool, scale_log2=-5)
    mean = builder.add("avg_pool2d", (conv,), pool | {"multiplier": 64} | REQUANTIZE, scale_log2=-5)
    builder.add("concat", (largest, mean), scale_log2=-5)
    builder.add("sum", (largest, mean), {"input_shifts": (2, 2), "leaky": None} | REQUANTIZE, scale_log2=0)
    pieces = {"multipliers": (3, -9), "sides": (0, 1), "thresholds": (0, 40), "offset": 5}
    builder.add("piecewise", (mean,), pieces | REQUANTIZE, scale_log2=-3)
    box = {"channels": (1, 3), "rows": (0, 2), "cols": (1, 3)}
    builder.add("slice2d", (mean,), box, scale_log2=-5)
    builder.add("spread2d", (mean,), {"scales": (2, 3)}, scale_log2=-5)
    builder.add("pad2d", (mean,), {"pads": (1, 0, 2, 3)}, scale_log2=-5)
    params["channel_shift"] = np.arange(4, dtype=np.int8)
    builder.add("conv2d", (source,), CONV | REQUANTIZE, params, scale_log2=-5)
    return builder.build()


def with_node(graph: Graph, kind: str, **changes) -> Graph:
    """Return the graph with the fields of its first `kind` node changed; attrs are merged."""
    index = next(i for i, node in enumerate(graph.nodes) if node.op == kind)
    node = graph.nodes[index]
    if "attrs" in changes:
        changes["attrs"] = {**node.attrs, **changes["attrs"]}
    nodes = [*graph.nodes]
    nodes[index] = replace(node, **changes)
    return replace(graph, nodes=tuple(nodes))


def with_value(graph: Graph, key: str, **changes) -> Graph:
    return replace(graph, values={**graph.values, key: replace(graph.values[key], **changes)})


def with_constant(graph: Graph, role: str, array, node: str = "conv2d_0") -> Graph:
    return replace(graph, constants={**graph.constants, f"{node}.{role}": array})


def with_channel_shift(graph: Graph) -> Graph:
    params = {**graph.nodes[0].params, "channel_shift": "conv2d_9.channel_shift"}
    return with_node(graph, "conv2d", params=params)


CONV_OUT, MAX_OUT, SUM_OUT = "conv2d_0:0", "max_pool2d_1:0", "sum_4:0"
BROKEN = {
    "dialect": (lambda g: replace(g, dialect="int4"), "unknown dialect 'int4'; allowed: float32, int8"),
    "empty": (lambda g: replace(g, nodes=()), "at least one node"),
    "unknown operator": (
        lambda g: with_node(g, "sum", op="softmax"),
        "no operator 'softmax' in dialect int8; allowed: conv2d",
    ),
    "arity": (lambda g: with_node(g, "max_pool2d", inputs=(CONV_OUT, CONV_OUT)), "2 inputs; allowed: 1..1"),
    "node name twice": (lambda g: with_node(g, "sum", name="conv2d_0"), "two nodes are named conv2d_0"),
    "output twice": (lambda g: replace(g, outputs=(SUM_OUT, SUM_OUT)), "two outputs are named"),
    "two producers": (lambda g: with_node(g, "avg_pool2d", output=MAX_OUT), "value max_pool2d_1:0 has two producers"),
    "missing value": (
        lambda g: replace(g, values={k: v for k, v in g.values.items() if k != SUM_OUT}),
        "do not agree on sum_4:0",
    ),
    "value under another name": (lambda g: with_value(g, SUM_OUT, name="other"), "do not agree on sum_4:0"),
    "unknown input": (lambda g: with_node(g, "sum", inputs=(MAX_OUT, "ghost")), "no value is named ghost"),
    "dead value": (lambda g: replace(g, outputs=(SUM_OUT,)), "is never read and is no output"),
    "missing constant": (lambda g: replace(g, constants={}), "constants missing or unused: conv2d_0.bias"),
    "unused constant": (lambda g: with_constant(g, "extra", np.zeros(1)), "constants missing or unused"),
    "order": (lambda g: replace(g, nodes=g.nodes[::-1]), "before it is made; allowed: topological order"),
    "shape rank": (lambda g: with_value(g, "input0", shape=(1, 4)), r"shape \(1, 4\); allowed: \(1, C, H, W\)"),
    "batch": (lambda g: with_value(g, "input0", shape=(2, 4, 6, 6)), r"shape \(2, 4, 6, 6\)"),
    "dtype": (lambda g: with_value(g, "input0", dtype="float32"), "dtype float32; allowed: int8"),
    "scale missing": (lambda g: with_value(g, "input0", scale_log2=None), "scale_log2 is None; allowed: an int"),
    "stored shape": (
        lambda g: with_value(g, MAX_OUT, shape=(1, 4, 3, 2)),
        r"result is stored as \(1, 4, 3, 2\); allowed: \(1, 4, 3, 3\)",
    ),
    "param role": (lambda g: with_node(g, "conv2d", params={"weight": "conv2d_0.weight"}), "unused: conv2d_0.bias"),
    "param for none": (
        lambda g: with_node(g, "sum", params={"weight": "conv2d_0.weight"}),
        "parameters weight; allowed: none",
    ),
    "param dtype": (lambda g: with_constant(g, "bias", np.zeros(4)), "bias is float64; allowed: int32"),
    "bias shape": (lambda g: with_constant(g, "bias", np.zeros(5, np.int32)), r"bias has shape \(5,\), not \(4,\)"),
    "weight shape": (
        lambda g: with_constant(g, "weight", np.zeros((4, 3, 3, 3), np.int8)),
        r"weight \(4, 3, 3, 3\) with groups 1 does not fit input",
    ),
    "attribute missing": (
        lambda g: replace(g, nodes=(replace(g.nodes[0], attrs=CONV), *g.nodes[1:])),
        "attributes missing or unknown: hi, lo, shift",
    ),
    "attribute unknown": (lambda g: with_node(g, "sum", attrs={"colour": 1}), "missing or unknown: colour"),
    "attribute type": (lambda g: with_node(g, "sum", attrs={"shift": 1.5}), "shift is 1.5; allowed: int"),
    "pair length": (lambda g: with_node(g, "max_pool2d", attrs={"kernel": (2,)}), r"kernel is \(2,\); allowed: pair"),
    "shift": (lambda g: with_node(g, "conv2d", attrs={"shift": 31}), r"shift is 31; allowed: 0\.\.30"),
    "residual_shift": (
        lambda g: with_node(g, "conv2d", attrs={"residual_shift": 16}),
        r"residual_shift is 16; allowed: 0\.\.15",
    ),
    "input_shifts": (lambda g: with_node(g, "sum", attrs={"input_shifts": (-1, 2)}), r"allowed: 0\.\.15 each"),
    "input_shifts count": (lambda g: with_node(g, "sum", attrs={"input_shifts": (2,)}), "one shift per input"),
    "bounds crossed": (lambda g: with_node(g, "conv2d", attrs={"lo": 3, "hi": 2}), "lo 3 exceeds hi 2"),
    "bounds wide": (lambda g: with_node(g, "conv2d", attrs={"hi": 128}), "allowed: -128 <= lo <= hi <= 127"),
    "leaky ratio": (lambda g: with_node(g, "conv2d", attrs={"leaky": (32, 5)}), r"leaky is \(32, 5\)"),
    "leaky exponent": (lambda g: with_node(g, "conv2d", attrs={"leaky": (3, 10)}), r"leaky is \(3, 10\)"),
    "leaky negative": (lambda g: with_node(g, "conv2d", attrs={"leaky": (1, -1)}), r"leaky is \(1, -1\)"),
    "multiplier": (lambda g: with_node(g, "avg_pool2d", attrs={"multiplier": 128}), r"allowed: 1\.\.127"),
    "kernel zero": (lambda g: with_node(g, "max_pool2d", attrs={"kernel": (0, 2)}), "allowed: at least 1"),
    "pads negative": (lambda g: with_node(g, "conv2d", attrs={"pads": (-1, 0, 0, 0)}), "allowed: at least 0"),
    "window of padding": (
        lambda g: with_node(g, "max_pool2d", attrs={"pads": (2, 0, 0, 0)}),
        "reach a window of padding alone",
    ),
    "window too large": (
        lambda g: with_node(g, "conv2d", attrs={"dilations": (9, 9)}),
        r"window \(3, 3\) is larger than the padded input",
    ),
    "residual shape": (
        lambda g: with_node(g, "conv2d", attrs={"strides": (2, 2)}),
        r"residual has shape \(1, 4, 6, 6\), the convolution \(1, 4, 3, 3\)",
    ),
    "groups zero": (lambda g: with_node(g, "conv2d", attrs={"groups": 0}), "groups is 0; allowed: at least 1"),
    "groups too many": (lambda g: with_node(g, "conv2d", attrs={"groups": 2}), "with groups 2 does not fit input"),
    "channel shift range": (
        lambda g: with_constant(g, "channel_shift", np.array([0, 16, 1, 1], np.int8), "conv2d_9"),
        r"channel_shift holds 0\.\.16; allowed: 0\.\.15",
    ),
    "channel shift shape": (
        lambda g: with_constant(g, "channel_shift", np.zeros(3, np.int8), "conv2d_9"),
        r"channel_shift has shape \(3,\), not \(4,\)",
    ),
    "residual behind a channel shift": (
        lambda g: with_channel_shift(with_node(g, "conv2d", attrs={"residual_shift": 7})),
        r"residual_shift is 7 behind a channel_shift; allowed: 0\.\.6",
    ),
    "pieces of unlike count": (
        lambda g: with_node(g, "piecewise", attrs={"sides": (1,)}),
        r"multipliers, sides and thresholds hold \[2, 1, 2\]; allowed: one count",
    ),
    "no pieces": (
        lambda g: with_node(g, "piecewise", attrs=dict.fromkeys(("multipliers", "sides", "thresholds"), ())),
        "allowed: one count, at least 1",
    ),
    "side": (lambda g: with_node(g, "piecewise", attrs={"sides": (0, 2)}), r"sides is \(0, 2\); allowed: -1, 0 or 1"),
    "multiplier of a piece": (
        lambda g: with_node(g, "piecewise", attrs={"multipliers": (128, 0)}),
        r"multipliers is \(128, 0\); allowed: -128\.\.127 each",
    ),
    "threshold": (
        lambda g: with_node(g, "piecewise", attrs={"thresholds": (0, 1 << 15)}),
        r"allowed: -32768\.\.32767 each",
    ),
    "offset": (lambda g: with_node(g, "piecewise", attrs={"offset": 1 << 29}), "offset is 536870912; allowed: -2684"),
    "slice beyond": (
        lambda g: with_node(g, "slice2d", attrs={"cols": (1, 4)}),
        r"channels, rows, columns 1\.\.3, 0\.\.2, 1\.\.4 leave input \(1, 4, 3, 3\)",
    ),
    "spread": (lambda g: with_node(g, "spread2d", attrs={"scales": (0, 1)}), "scales is .* allowed: at least 1"),
    "sum shapes": (lambda g: with_node(g, "sum", inputs=(MAX_OUT, CONV_OUT)), "inputs differ in shape"),
    "concat shapes": (
        lambda g: with_node(g, "concat", inputs=(MAX_OUT, CONV_OUT)),
        "inputs differ beyond the channel axis",
    ),
    "same scale": (lambda g: with_value(g, MAX_OUT, scale_log2=-4), r"input scales \[-5\], output scale -4"),
    "sum scale": (lambda g: with_value(g, SUM_OUT, scale_log2=1), "do not fit the shifts"),
}


def test_the_legal_graph_is_accepted():
    verify(legal_graph())


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_is_named(rule):
    breach, message = BROKEN[rule]
    with pytest.raises(GraphError, match=message):
        verify(breach(legal_graph()))


def test_a_float_graph_has_no_scales_and_checks_its_dense_layers():
    builder = GraphBuilder("float32", np.random.default_rng(0))
    flat = builder.add("flatten", (builder.input((1, 2, 3, 3)),))
    builder.add("dense", (flat,), params={"weight": np.zeros((5, 18), np.float32)})
    graph = builder.build()
    with pytest.raises(GraphError, match="allowed: None in a float graph"):
        verify(with_value(graph, "input0", scale_log2=0))
    with pytest.raises(GraphError, match="does not fit input"):
        verify(replace(graph, constants={"dense_1.weight": np.zeros((5, 17), np.float32)}))
    values = {name: graph.values[name] for name in ("input0", "dense_1:0")}
    unflattened = with_node(replace(graph, nodes=graph.nodes[1:], values=values), "dense", inputs=("input0",))
    with pytest.raises(GraphError, match="dense needs 2-D inputs"):
        verify(unflattened)


def test_float_constants_and_kinds_are_checked():
    builder = GraphBuilder("float32", np.random.default_rng(0))
    image = builder.input((1, 4, 3, 3))
    with pytest.raises(GraphError, match=r"scale has shape \(3,\), not \(4,\)"):
        builder.add("scale_shift", (image,), params={"scale": np.ones(3, np.float32)})
    weight = {"weight": np.zeros((4, 2, 3, 3), np.float32)}
    window = {"strides": (2, 2), "pads": (0,) * 4, "output_pads": (1, 1), "dilations": (1, 1), "groups": 1}
    with pytest.raises(GraphError, match=r"output_pads \(2, 1\) too large"):
        builder.add("conv_transpose2d", (image,), {**window, "output_pads": (2, 1)}, weight)
    with pytest.raises(GraphError, match=r"weight \(4, 2, 3, 3\) with groups 3 does not fit input"):
        builder.add("conv_transpose2d", (image,), {**window, "groups": 3}, weight)
    with pytest.raises(GraphError, match="leave nothing of the result"):
        builder.add("conv_transpose2d", (image,), {**window, "pads": (9, 0, 0, 0)}, weight)
    builder.add("activation", (image,), {"kind": "step"})
    with pytest.raises(GraphError, match="kind is 'step'; allowed: hard_sigmoid, hard_swish"):
        builder.build()


def test_alpha_lies_between_zero_and_one():
    builder = GraphBuilder("float32", np.random.default_rng(0))
    builder.add("leaky_relu", (builder.input((1, 2)),), {"alpha": 1.5})
    with pytest.raises(GraphError, match="allowed: 0 < alpha < 1"):
        builder.build()


@settings(deadline=None, max_examples=40)
@given(int8_graphs())
def test_a_drawn_graph_survives_its_bytes(graph):
    again = Graph.from_bytes(graph.to_bytes())
    verify(again)
    assert again.sha256 == graph.sha256


@pytest.mark.parametrize(
    ("op", "attrs", "message"),
    [
        ("arithmetic", {"rule": "exp", "constant_first": 0}, "rule is 'exp'; allowed: add, subtract"),
        ("function", {"rule": "add"}, "rule is 'add'; allowed: exp, log, sqrt"),
        ("reduce", {"rule": "sqrt", "axis": 1}, "rule is 'sqrt'; allowed: sum, mean, max, min"),
    ],
)
def test_rule_of_another_operator_is_refused(op, attrs, message):
    builder = GraphBuilder("float32", np.random.default_rng(0))
    source = builder.input((1, 2, 3, 3))
    builder.add(op, (source,) * (2 if op == "arithmetic" else 1), attrs)
    with pytest.raises(GraphError, match=message):
        builder.build()
