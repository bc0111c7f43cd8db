"""Rewrites on the ONNX level, before TVM sees the model: copies dropped, padding folded, synonyms unified."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import ModelError
from mpi_vta.frontend.onnx_arithmetic import fold_arithmetic
from mpi_vta.frontend.onnx_attributes import plain_nodes
from mpi_vta.frontend.onnx_borders import correct_borders
from mpi_vta.frontend.onnx_functions import recognize_functions
from mpi_vta.frontend.onnx_layout import sink_transposes
from mpi_vta.frontend.onnx_net import Fate, OnnxNet, OnnxNode, live_nodes
from mpi_vta.frontend.onnx_patterns import recognize_activations, refuse_parts
from mpi_vta.frontend.onnx_quantized import inherit_ranges, take_ranges
from mpi_vta.frontend.onnx_rearrangements import lower_gathers, place_vectors, recognize_rearrangements
from mpi_vta.frontend.onnx_rows import as_pictures
from mpi_vta.frontend.onnx_substitutes import join_means, substitute
from mpi_vta.frontend.onnx_tail import settle_tail

Array = NDArray[Any]

FLOAT = 1  # onnx.TensorProto.FLOAT
MINUS_INFINITY = -1e30  # padding with less than this never wins a maximum


def normalize(net: OnnxNet) -> OnnxNet:
    """Return an equivalent net without dead nodes, copies, quantisers, MatMul and arithmetic that a layer can take.

    Raises
    ------
    ModelError
        For a use of these operators, or of attributes, that has no counterpart in our graph.
    """
    _check_order(net)
    for step in (
        as_pictures,
        _drop_copies,
        _drop_dead,
        take_ranges,
        recognize_rearrangements,
        _drop_dead,
        sink_transposes,
        recognize_functions,
        recognize_activations,
        join_means,
        settle_tail,
        substitute,
        refuse_parts,
        _unify_dense,
        fold_arithmetic,
        plain_nodes,
        correct_borders,
        place_vectors,
        lower_gathers,
        _fold_pads,
        _drop_dead,
        inherit_ranges,
    ):
        net = step(net)
    return net


def _check_order(net: OnnxNet) -> None:
    """Check that every tensor has one producer and is made before it is read."""
    ready = {net.input_name, *net.initializers}
    for node in net.nodes:
        if not node.inputs or not node.inputs[0]:
            raise ModelError("has no input", where=net.where(node), remedy="check the export")
        missing = [name for name in node.inputs if name and name not in ready]
        if missing:
            raise ModelError(
                f"reads {', '.join(missing)}, which nothing before it makes",
                where=net.where(node),
                remedy="check the export",
            )
        if node.output in ready:
            raise ModelError(f"makes {node.output} a second time", where=net.where(node), remedy="check the export")
        ready.add(node.output)
    absent = [name for name in net.outputs if name not in ready]
    if absent:
        raise ModelError(f"nothing makes the output {absent[0]}", where=net.path, remedy="check the export")


def _drop_copies(net: OnnxNet) -> OnnxNet:
    copies = [node for node in net.nodes if _is_copy(net, node)]
    alias = {node.output: node.inputs[0] for node in copies}
    kept = [node for node in net.nodes if node.output not in alias]
    return net.rewired(kept, alias, net.initializers).noting({n.name: Fate("", "only copies") for n in copies})


def _is_copy(net: OnnxNet, node: OnnxNode) -> bool:
    """Tell whether a node changes nothing; refuse a cast to integers."""
    if node.op in ("Expand", "Tile"):
        shape = net.shapes.get(node.inputs[0], ())
        return bool(shape) and shape == net.shapes.get(node.output)
    if node.op == "Cast" and node.attrs.get("to") != FLOAT:
        raise ModelError("a cast to another type", where=net.where(node), allowed="float types")
    return node.op in ("Identity", "Dropout", "Cast") or (node.op == "Sum" and len(node.inputs) == 1)


def _drop_dead(net: OnnxNet) -> OnnxNet:
    kept = live_nodes(net.nodes, net.outputs)
    if not kept:
        raise ModelError(
            "the outputs do not depend on any supported node",
            where=net.path,
            allowed="outputs that are results of nodes",
        )
    dead = {node.name for node in net.nodes} - {node.name for node in kept} - set(net.fates)
    return replace(net, nodes=kept).noting({name: Fate("", "no output needs it") for name in dead})


def _fold_pads(net: OnnxNet) -> OnnxNet:
    """Fold each Pad into the convolutions or maximum poolings that read it; zeros before others stay."""
    readers, made = net.consumers(), net.producers()
    alias: dict[str, str] = {}
    fates: dict[str, Fate] = {}
    for pad in [node for node in net.nodes if node.op == "Pad"]:
        amounts, value = pad.attrs["pads"], pad.attrs["value"]
        targets = readers.get(pad.output, [])
        if targets and pad.output not in net.outputs and all(_takes_pads(made[t.output], value) for t in targets):
            for target in targets:
                node = made[target.output]
                total = [a + b for a, b in zip(node.attrs.get("pads", [0] * 4), amounts, strict=True)]
                made[node.output] = replace(node, attrs={**node.attrs, "pads": total})
            alias[pad.output] = pad.inputs[0]
            fates[pad.name] = Fate(targets[0].name, "folded into its padding")
        elif value != 0:
            raise ModelError(
                f"padding with {value}",
                where=net.where(pad),
                allowed="zeros, or -inf before MaxPool",
            )
    kept = [made[node.output] for node in net.nodes if node.output not in alias]
    return net.rewired(kept, alias, net.initializers).noting(fates)


def _takes_pads(node: OnnxNode, value: float) -> bool:
    fits = (node.op == "Conv" and value == 0) or (node.op == "MaxPool" and value <= MINUS_INFINITY)
    return fits and node.attrs.get("auto_pad", "NOTSET") == "NOTSET" and not node.attrs.get("ceil_mode", 0)


def _unify_dense(net: OnnxNet) -> OnnxNet:
    """Turn Gemm, and MatMul with or without a following constant Add, into Gemm with weight (O, I)."""
    constants, readers, absorbed = dict(net.initializers), net.consumers(), dict[str, Fate]()
    nodes: list[OnnxNode] = []
    fates: dict[str, Fate] = {}
    for node in net.nodes:
        if node.op == "Gemm":
            nodes.append(_plain_gemm(net, node, constants))
        elif node.op == "MatMul":
            bias, output = _following_bias(net, node, readers.get(node.output, []), constants)
            if output != node.output:
                absorbed[output] = Fate(node.name, "the bias of the dense layer")
            nodes.append(_plain_gemm(net, replace(node, inputs=(*node.inputs, bias), output=output), constants))
        elif node.output in absorbed:
            fates[node.name] = absorbed[node.output]
        else:
            nodes.append(node)
    return replace(net, nodes=tuple(nodes), initializers=constants).noting(fates)


def _following_bias(
    net: OnnxNet, matmul: OnnxNode, readers: list[OnnxNode], constants: dict[str, Array]
) -> tuple[str, str]:
    """Return the constant that a following Add puts on every row and that Add's output; ("", own) if none."""
    weight = net.constant(matmul, 1, constants)
    if weight.ndim != 2:
        raise ModelError(f"right operand of shape {weight.shape}", where=net.where(matmul), allowed="(I, O)")
    if len(readers) == 1 and readers[0].op == "Add" and matmul.output not in net.outputs:
        for name in readers[0].inputs:
            if name in constants and constants[name].size == weight.shape[1]:
                return name, readers[0].output
    return "", matmul.output


def _plain_gemm(net: OnnxNet, node: OnnxNode, constants: dict[str, Array]) -> OnnxNode:
    if node.attrs.get("transA", 0):
        raise ModelError("transA = 1", where=net.where(node), allowed="transA = 0")
    weight = net.constant(node, 1, constants) * np.float32(node.attrs.get("alpha", 1.0))
    names = [f"{node.name}.weight plain"]
    constants[names[0]] = np.ascontiguousarray(weight if node.attrs.get("transB", 0) else weight.T)
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = net.constant(node, 2, constants) * np.float32(node.attrs.get("beta", 1.0))
        names.append(f"{node.name}.bias plain")
        outputs = constants[names[0]].shape[0]
        constants[names[1]] = np.repeat(bias.reshape(-1), outputs if bias.size == 1 else 1)
    return OnnxNode(node.name, "Gemm", (node.inputs[0], *names), node.output, {"transB": 1})
