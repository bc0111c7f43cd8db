"""Activations in any spelling: what elementwise nodes compute of one tensor is compared with known functions.

Exporters spell GELU with Erf, with Tanh or as one node, factors before or behind. So nothing is matched by shape: each
chain of elementwise nodes is evaluated as a function of one number and compared with those that have a name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.frontend.onnx_net import Fate, OnnxNet, OnnxNode, live_nodes
from mpi_vta.frontend.onnx_operators import row
from mpi_vta.graph.activations import ACTIVATIONS, SELU_ALPHA, SELU_SCALE

Array = NDArray[np.float64]

_GRID = np.linspace(-9, 9, 145)
_CLOSE = 2e-3  # both forms of GELU are one activation; they differ by 0.0005
_MOST_NODES = 16
# activations that are looked for, and the node that each becomes; the others have patterns of their own
_WANTED = {
    "gelu": "Gelu",
    "quick_gelu": "QuickGelu",
    "softplus": "Softplus",
    "elu": "Elu",
    "mish": "Mish",
    "silu": "Silu",
    "selu": "Selu",
    "abs": "Abs",
}


@dataclass(frozen=True)
class _Traced:
    """What a tensor is as a function of one before it.

    Attributes
    ----------
    values : ndarray
        The function on the grid.
    nodes : tuple of str
        Names of the nodes that compute it.
    """

    values: Array
    nodes: tuple[str, ...] = ()


def recognize_functions(net: OnnxNet) -> OnnxNet:
    """Return the net with one node for each activation that several elementwise nodes spell out."""
    traces: dict[str, dict[str, _Traced]] = {}
    listed = dict(net.listed)
    found: dict[str, OnnxNode] = {}
    fates: dict[str, Fate] = {}
    for node in net.nodes:
        is_range = node.op == "Clip" and listed.get(node.name) == "QuantizeLinear"
        # within an activation what a quantiser stated is no bound: the result has a range of its own
        traces[node.output] = _passed(node, traces) if is_range else _trace(net, node, traces)
    covered: set[str] = set()
    for node in reversed(net.nodes):
        if node.name in covered:
            continue
        for source, traced in traces[node.output].items():
            kind = _named(traced.values)
            if kind and not (len(traced.nodes) == 1 and node.op == _WANTED[kind]):
                found[node.output] = OnnxNode(node.name, _WANTED[kind], (source,), node.output)
                covered.update(traced.nodes)
                fates |= {name: Fate(node.name, f"part of {_WANTED[kind]}") for name in traced.nodes[:-1]}
                break
    nodes = live_nodes([found.get(node.output, node) for node in net.nodes], net.outputs)
    gone = {node.name for node in net.nodes} - {node.name for node in nodes}
    return replace(net, nodes=nodes).noting({name: fate for name, fate in fates.items() if name in gone})


def _passed(node: OnnxNode, traces: Mapping[str, Mapping[str, _Traced]]) -> dict[str, _Traced]:
    """Return a result that is its operand."""
    before = traces.get(node.inputs[0], {})
    return {source: replace(traced, nodes=(*traced.nodes, node.name)) for source, traced in before.items()}


def _trace(net: OnnxNet, node: OnnxNode, traces: Mapping[str, Mapping[str, _Traced]]) -> dict[str, _Traced]:
    """Return what a node's result is as a function of tensors before it, the farthest first."""
    if node.op == "Selu":
        return {node.inputs[0]: _Traced(_selu(node), (node.name,))}
    compute = row(node).computes
    if compute is None:
        return {}
    if len(node.inputs) == 1:
        with np.errstate(all="ignore"):
            return {
                source: _Traced(_applied(compute, [before.values]), (*before.nodes, node.name))
                for source, before in _sources(node.inputs[0], traces).items()
                if len(before.nodes) < _MOST_NODES
            }
    sides = [_sources(name, traces, _number(net, name)) for name in node.inputs]
    result = {}
    for source in dict.fromkeys(name for side in sides for name in side if name):
        parts = [side.get(source) or side.get("") for side in sides]
        known = [part for part in parts if part is not None]
        names = dict.fromkeys([name for part in known for name in part.nodes] + [node.name])
        if len(known) == len(parts) and len(names) <= _MOST_NODES:
            with np.errstate(all="ignore"):
                result[source] = _Traced(_applied(compute, [part.values for part in known]), tuple(names))
    return result


def _applied(compute: Callable[..., Any], values: Sequence[Array]) -> Array:
    """Return a function of tensors; one of two, such as a maximum, also takes one or many."""
    if isinstance(compute, np.ufunc) and compute.nin == 2:
        return np.asarray(reduce(compute, values))
    return np.asarray(compute(*values))


def _selu(node: OnnxNode) -> Array:
    alpha, gamma = node.attrs.get("alpha", SELU_ALPHA), node.attrs.get("gamma", SELU_SCALE)
    return np.asarray(gamma * np.where(_GRID > 0, _GRID, alpha * np.expm1(np.minimum(_GRID, 0))))


def _number(net: OnnxNet, name: str) -> float | None:
    value = net.initializers.get(name)
    is_number = value is not None and value.size == 1 and value.dtype.kind in "fiu"
    return float(value.reshape(-1)[0]) if value is not None and is_number else None


def _sources(name: str, traces: Mapping[str, Mapping[str, _Traced]], number: float | None = None) -> dict[str, _Traced]:
    """Return a tensor as a function of those before it and of itself; a number is one of the nameless."""
    if number is not None:
        return {"": _Traced(np.full_like(_GRID, number))}
    return {**traces.get(name, {}), name: _Traced(_GRID)}


def _named(values: Array) -> str:
    """Return the activation that is these values on the grid; empty when there is none."""
    if values.dtype.kind != "f" or not np.isfinite(values).all():
        return ""
    return next((kind for kind in _WANTED if np.abs(ACTIVATIONS[kind](_GRID) - values).max() < _CLOSE), "")
