"""The verifier: every rule that a graph of either dialect obeys. Every pass receives and leaves verified graphs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from mpi_vta.errors import GraphError
from mpi_vta.graph.activations import ACTIVATIONS
from mpi_vta.graph.ir import Graph, Node, Value
from mpi_vta.graph.ops import CHANNEL_SHIFT_MAX, DIALECTS, INT8_OPS, SHIFTED_RESIDUAL_SHIFT_MAX, OpSpec, infer_shape
from mpi_vta.graph.tail import RULES

SHIFT_MAX = 30
OPERAND_SHIFT_MAX = 15
LEAKY_EXPONENT_MAX = 9
MULTIPLIER_MAX = 127
INT16_MIN, INT16_MAX = -(1 << 15), (1 << 15) - 1
OFFSET_MAX = 1 << 28
INT8_MIN, INT8_MAX = -128, 127


def verify(graph: Graph) -> None:
    """Check a graph against every rule of its dialect.

    Raises
    ------
    GraphError
        At the first rule that is broken, naming the graph and the node.
    """
    _verify_names(graph)
    ready: set[str] = set()
    for name in graph.inputs:
        _verify_value(graph, graph.values[name])
        ready.add(name)
    for node in graph.nodes:
        where = f"{graph.name}: {node.name}"
        _verify_node(graph, node, where)
        late = [name for name in node.inputs if name not in ready]
        if late:
            raise GraphError(f"reads {', '.join(late)} before it is made", where=where, allowed="topological order")
        _verify_value(graph, graph.values[node.output])
        ready.add(node.output)


def _verify_names(graph: Graph) -> None:
    """Check that every name means one thing and everything named is there and used."""
    if graph.dialect not in DIALECTS:
        raise GraphError(f"unknown dialect {graph.dialect!r}", where=graph.name, allowed=", ".join(DIALECTS))
    if not graph.nodes or not graph.inputs or not graph.outputs:
        raise GraphError("a graph needs at least one node, one input and one output", where=graph.name)
    for kind, names in (("node", [n.name for n in graph.nodes]), ("output", list(graph.outputs))):
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise GraphError(f"two {kind}s are named {twice[0]}", where=graph.name)
    made = [*graph.inputs, *(node.output for node in graph.nodes)]
    twice = [name for name, count in Counter(made).items() if count > 1]
    if twice:
        raise GraphError(f"value {twice[0]} has two producers", where=graph.name, allowed="one")
    if set(made) != set(graph.values) or any(name != value.name for name, value in graph.values.items()):
        odd = sorted(set(made) ^ set(graph.values)) or [n for n, v in graph.values.items() if n != v.name]
        raise GraphError(f"values and producers do not agree on {', '.join(odd)}", where=graph.name)
    read = {name for node in graph.nodes for name in node.inputs}
    unknown = sorted((read | set(graph.outputs)) - set(made))
    if unknown:
        raise GraphError(f"no value is named {', '.join(unknown)}", where=graph.name)
    unread = [name for name in made if name not in read and name not in graph.outputs]
    if unread:
        raise GraphError(f"value {unread[0]} is never read and is no output", where=graph.name)
    used = {name for node in graph.nodes for name in node.params.values()}
    if used != set(graph.constants):
        odd = sorted(used ^ set(graph.constants))
        raise GraphError(f"constants missing or unused: {', '.join(odd)}", where=graph.name)


def _verify_value(graph: Graph, value: Value) -> None:
    where = f"{graph.name}: value {value.name}"
    ranks = (2, 3, 4, 5, 6) if graph.dialect == "float32" else (4,)
    if len(value.shape) not in ranks or value.shape[0] != 1 or any(not _is_int(n) or n < 1 for n in value.shape):
        raise GraphError(f"shape {value.shape}", where=where, allowed=_SHAPES[graph.dialect])
    if value.dtype != graph.dialect:
        raise GraphError(f"dtype {value.dtype}", where=where, allowed=graph.dialect)
    has_scale = _is_int(value.scale_log2)
    if has_scale != (graph.dialect == "int8"):
        raise GraphError(
            f"scale_log2 is {value.scale_log2!r}",
            where=where,
            allowed="an int" if graph.dialect == "int8" else "None in a float graph",
        )


def _verify_node(graph: Graph, node: Node, where: str) -> None:
    table = DIALECTS[graph.dialect]
    if node.op not in table:
        raise GraphError(f"no operator {node.op!r} in dialect {graph.dialect}", where=where, allowed=", ".join(table))
    spec = table[node.op]
    low, high = spec.inputs
    if not low <= len(node.inputs) <= high:
        raise GraphError(f"{len(node.inputs)} inputs", where=where, allowed=f"{low}..{high}")
    _verify_params(graph, node, spec, where)
    _verify_attrs(node, spec, where)
    expected = infer_shape(
        graph.dialect,
        node.op,
        tuple(graph.values[name].shape for name in node.inputs),
        node.attrs,
        {role: graph.constants[name].shape for role, name in node.params.items()},
        where,
    )
    stored = graph.values[node.output].shape
    if stored != expected:
        raise GraphError(f"result is stored as {stored}", where=where, allowed=str(expected))
    if graph.dialect == "int8":
        _verify_scales(graph, node, where)
        _verify_channel_shift(graph, node, where)


def _verify_params(graph: Graph, node: Node, spec: OpSpec, where: str) -> None:
    required = {role for role, dtype in spec.params.items() if not dtype.endswith("?")}
    if not required <= set(node.params) <= set(spec.params):
        raise GraphError(
            f"parameters {', '.join(sorted(node.params)) or 'none'}",
            where=where,
            allowed=", ".join(f"{role}: {dtype}" for role, dtype in spec.params.items()) or "none",
        )
    for role, name in node.params.items():
        dtype = spec.params[role].rstrip("?")
        if str(graph.constants[name].dtype) != dtype:
            raise GraphError(f"{role} is {graph.constants[name].dtype}", where=where, allowed=dtype)


def _verify_attrs(node: Node, spec: OpSpec, where: str) -> None:
    if set(node.attrs) != set(spec.attrs):
        odd = ", ".join(sorted(set(node.attrs) ^ set(spec.attrs)))
        raise GraphError(f"attributes missing or unknown: {odd}", where=where, allowed=", ".join(spec.attrs) or "none")
    for key, kind in spec.attrs.items():
        value = node.attrs[key]
        if not _TYPES[kind](value):
            raise GraphError(f"{key} is {value!r}", where=where, allowed=kind)
        legal, allowed = _RANGES.get(key, (_anything, ""))
        if not legal(value):
            raise GraphError(f"{key} is {value!r}", where=where, allowed=allowed)
    if node.op in RULES and node.attrs["rule"] not in RULES[node.op]:
        raise GraphError(f"rule is {node.attrs['rule']!r}", where=where, allowed=", ".join(RULES[node.op]))
    if "lo" in node.attrs and node.attrs["lo"] > node.attrs["hi"]:
        raise GraphError(f"lo {node.attrs['lo']} exceeds hi {node.attrs['hi']}", where=where)
    if "shift" in node.attrs and not (node.attrs["lo"] >= INT8_MIN and node.attrs["hi"] <= INT8_MAX):
        bounds = f"lo {node.attrs['lo']}, hi {node.attrs['hi']}"
        raise GraphError(bounds, where=where, allowed=f"{INT8_MIN} <= lo <= hi <= {INT8_MAX}")
    if "input_shifts" in node.attrs and len(node.attrs["input_shifts"]) != len(node.inputs):
        raise GraphError("input_shifts does not match the inputs", where=where, allowed="one shift per input")
    if "sides" in node.attrs:
        lengths = [len(node.attrs[key]) for key in ("multipliers", "sides", "thresholds")]
        if len(set(lengths)) != 1 or 0 in lengths:
            raise GraphError(
                f"multipliers, sides and thresholds hold {lengths}", where=where, allowed="one count, at least 1"
            )


def _verify_scales(graph: Graph, node: Node, where: str) -> None:
    scales = [graph.values[name].scale_log2 or 0 for name in node.inputs]
    result = graph.values[node.output].scale_log2 or 0
    if INT8_OPS[node.op].same_scale and any(scale != result for scale in scales):
        raise GraphError(f"input scales {scales}, output scale {result}", where=where, allowed="one scale")
    if node.op == "sum":
        accumulators = {s - shift for s, shift in zip(scales, node.attrs["input_shifts"], strict=True)}
        if accumulators != {result - node.attrs["shift"]}:
            raise GraphError(
                f"input scales {scales} and output scale {result} do not fit the shifts",
                where=where,
                allowed="scale - shift equal for all inputs and the output",
            )


def _verify_channel_shift(graph: Graph, node: Node, where: str) -> None:
    shifts = graph.param(node, "channel_shift")
    if shifts is None:
        return
    if shifts.min() < 0 or shifts.max() > CHANNEL_SHIFT_MAX:
        found = f"channel_shift holds {shifts.min()}..{shifts.max()}"
        raise GraphError(found, where=where, allowed=f"0..{CHANNEL_SHIFT_MAX}")
    if len(node.inputs) == 2 and node.attrs["residual_shift"] > SHIFTED_RESIDUAL_SHIFT_MAX:
        found = f"residual_shift is {node.attrs['residual_shift']} behind a channel_shift"
        raise GraphError(found, where=where, allowed=f"0..{SHIFTED_RESIDUAL_SHIFT_MAX}")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_ints(value: object, count: int | None = None) -> bool:
    return isinstance(value, tuple) and all(_is_int(v) for v in value) and count in (None, len(value))


def _anything(_value: object) -> bool:
    return True


def _within(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: all(low <= v <= high for v in (value if isinstance(value, tuple) else (value,)))


def _legal_leaky(value: tuple[int, ...] | None) -> bool:
    if value is None:
        return True
    return len(value) == 2 and value[1] <= LEAKY_EXPONENT_MAX and 1 <= value[0] < 1 << max(value[1], 0)


_SHAPES = {"float32": "(1, C), (1, C, H, W), or 2 to 6 axes at the end", "int8": "(1, C, H, W)"}
_INT_MAX = 2**31 - 1

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "int": _is_int,
    "float": lambda value: isinstance(value, float) and not math.isnan(value),
    "pair": lambda value: _is_ints(value, 2),
    "pads": lambda value: _is_ints(value, 4),
    "ints": _is_ints,
    "ints?": lambda value: value is None or _is_ints(value),
    "str": lambda value: isinstance(value, str),
}

_RANGES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "shift": (_within(0, SHIFT_MAX), f"0..{SHIFT_MAX}"),
    "residual_shift": (_within(0, OPERAND_SHIFT_MAX), f"0..{OPERAND_SHIFT_MAX}"),
    "input_shifts": (_within(0, OPERAND_SHIFT_MAX), f"0..{OPERAND_SHIFT_MAX} each"),
    "multiplier": (_within(1, MULTIPLIER_MAX), f"1..{MULTIPLIER_MAX}"),
    "leaky": (_legal_leaky, f"None or (m, k) with 1 <= m < 2**k and k <= {LEAKY_EXPONENT_MAX}"),
    "kernel": (_within(1, _INT_MAX), "at least 1"),
    "strides": (_within(1, _INT_MAX), "at least 1"),
    "dilations": (_within(1, _INT_MAX), "at least 1"),
    "scales": (_within(1, _INT_MAX), "at least 1"),
    "groups": (_within(1, _INT_MAX), "at least 1"),
    "pads": (_within(0, _INT_MAX), "at least 0"),
    "output_pads": (_within(0, _INT_MAX), "at least 0"),
    "constant_first": (_within(0, 1), "0 or 1"),
    "kind": (lambda value: value in ACTIVATIONS, ", ".join(ACTIVATIONS)),
    "multipliers": (_within(INT8_MIN, INT8_MAX), f"{INT8_MIN}..{INT8_MAX} each"),
    "sides": (_within(-1, 1), "-1, 0 or 1 each"),
    "thresholds": (_within(INT16_MIN, INT16_MAX), f"{INT16_MIN}..{INT16_MAX} each"),
    "offset": (_within(-OFFSET_MAX, OFFSET_MAX), f"{-OFFSET_MAX}..{OFFSET_MAX}"),
    "alpha": (lambda value: 0.0 < value < 1.0, "0 < alpha < 1"),
}
