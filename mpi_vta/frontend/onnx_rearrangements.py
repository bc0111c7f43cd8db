"""Channels in another order and blocks of pixels as channels: what reshapes and transposes between layers mean.

A channel shuffle becomes a Gather, a pixel shuffle a transposed convolution and its inverse a convolution, each of
ones and zeros. A Gather goes into the weights of the convolution behind it where there is one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import ModelError
from mpi_vta.frontend.onnx_net import Fate, OnnxNet, OnnxNode
from mpi_vta.frontend.onnx_operators import row
from mpi_vta.frontend.onnx_tail import tail_of

Array = NDArray[Any]

_BLOCKS = ("DepthToSpace", "SpaceToDepth")
MOST_PLACES = 1 << 22  # bytes of ones and zeros
_PART = "part of a rearrangement"


def recognize_rearrangements(net: OnnxNet) -> OnnxNet:
    """Return the net with one node for each rearrangement between layers; those at the end stay for the host.

    Raises
    ------
    ModelError
        For blocks that do not fit the picture.
    """
    net = _without_round_trips(net)
    if not any(node.op in ("Transpose", *_BLOCKS) for node in net.nodes):
        return net
    tail, made, readers = tail_of(net), net.producers(), net.consumers()
    constants, shapes = dict(net.initializers), dict(net.shapes)
    nodes: list[OnnxNode] = []
    fates: dict[str, Fate] = {}
    for node in net.nodes:
        if node.op in _BLOCKS:
            chain, places = [node], _block_places(net, node)
        else:
            chain = _chain(net, node, made, readers)
            places = _chain_places(net, chain) if chain else None
        if places is None or (node.name in tail and node.op not in _BLOCKS):
            nodes.append(node)
        elif node.name in tail:
            nodes += _spelled_out(net, node, constants, shapes)
        else:
            found = _rearrangement(net, node, chain[0].inputs[0], places, constants)
            nodes.append(found)
            if found is not node:
                fates |= {part.name: Fate(node.name, _PART) for part in chain[:-1]}
    return replace(net, nodes=tuple(nodes), initializers=constants, shapes=shapes).noting(fates)


def _without_round_trips(net: OnnxNet) -> OnnxNet:
    """Return the net without reshapes after which a tensor has the extents that it had before them."""
    made, alias, fates = net.producers(), dict[str, str](), dict[str, Fate]()
    for node in net.nodes:
        at: OnnxNode | None = node
        while at is not None and row(at).reshapes:
            if net.shapes.get(at.inputs[0]) and net.shapes[at.inputs[0]] == net.shapes.get(node.output):
                alias[node.output], fates[node.name] = at.inputs[0], Fate("", "reshapes to what was there before")
                break
            at = made.get(at.inputs[0])
    if not alias or any(name in alias for name in net.outputs):
        return net
    kept = [node for node in net.nodes if node.output not in alias]
    return net.rewired(kept, alias, net.initializers).noting(fates)


def _chain(
    net: OnnxNet, last: OnnxNode, made: dict[str, OnnxNode], readers: dict[str, list[OnnxNode]]
) -> list[OnnxNode]:
    """Return reshapes and transposes that end with `last`, from the first on; nothing unless there are several."""
    chain: list[OnnxNode] = []
    at: OnnxNode | None = last
    while at is not None and (at.op == "Transpose" or row(at).reshapes):
        chain.insert(0, at)
        source = at.inputs[0]
        alone = len(readers.get(source, [])) == 1 and source not in net.outputs
        at = made.get(source) if alone else None
    # the shortest chain that begins and ends with a picture
    for start in range(len(chain) - 3, -1, -1):
        if len(net.shapes.get(chain[start].inputs[0], ())) == 4 and len(net.shapes.get(last.output, ())) == 4:
            return chain[start:]
    return []


def _chain_places(net: OnnxNet, chain: list[OnnxNode]) -> Array | None:
    """Return, for each element of the result, its place in the source; None if an extent is not known."""
    shape = net.shapes[chain[0].inputs[0]]
    places = np.arange(int(np.prod(shape))).reshape(shape)
    for node in chain:
        if node.op == "Transpose":
            order = list(node.attrs.get("perm", range(places.ndim - 1, -1, -1)))
            if sorted(order) != list(range(places.ndim)):
                return None
            places = places.transpose(order)
            continue
        shape = net.shapes.get(node.output, ())
        if not shape or int(np.prod(shape)) != places.size:
            return None
        places = places.reshape(shape)
    return places


def _split_extents(net: OnnxNet, node: OnnxNode) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return the extents, order and extents again with which a node on blocks is spelled out."""
    shape, block = net.shapes.get(node.inputs[0], ()), int(node.attrs.get("blocksize", 0))
    if len(shape) != 4 or block < 1:
        raise ModelError(f"blocks of {block} in {shape}", where=net.where(node), allowed="(1, C, H, W)")
    _, channels, height, width = shape
    deep = node.op == "DepthToSpace"
    fits = channels % block**2 == 0 if deep else height % block == 0 and width % block == 0
    if not fits:
        raise ModelError(f"blocks of {block} do not divide {shape}", where=net.where(node), remedy="check the export")
    mode = node.attrs.get("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise ModelError(f"mode {mode}", where=net.where(node), allowed="DCR, CRD")
    if not deep:
        height, width = height // block, width // block
        return (
            (1, channels, height, block, width, block),
            (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4),
            (1, channels * block**2, height, width),
        )
    outer = channels // block**2
    end = (1, outer, height * block, width * block)
    if mode == "CRD":
        return (1, outer, block, block, height, width), (0, 1, 4, 2, 5, 3), end
    return (1, block, block, outer, height, width), (0, 3, 4, 1, 5, 2), end


def _block_places(net: OnnxNet, node: OnnxNode) -> Array | None:
    first, order, last = _split_extents(net, node)
    return np.arange(int(np.prod(first))).reshape(first).transpose(order).reshape(last)


def _spelled_out(
    net: OnnxNet, node: OnnxNode, constants: dict[str, Array], shapes: dict[str, tuple[int, ...]]
) -> list[OnnxNode]:
    first, order, last = _split_extents(net, node)
    split, turned = f"{node.output} split", f"{node.output} turned"
    for name, extents in ((split, first), (node.output, last)):
        constants[f"{name} extents"] = np.array(extents, np.int64)
        shapes[name] = extents
    shapes[turned] = tuple(first[axis] for axis in order)
    return [
        OnnxNode(f"{node.name}.split", "Reshape", (node.inputs[0], f"{split} extents"), split),
        OnnxNode(f"{node.name}.turned", "Transpose", (split,), turned, {"perm": list(order)}),
        OnnxNode(node.name, "Reshape", (turned, f"{node.output} extents"), node.output),
    ]


def _rearrangement(net: OnnxNet, node: OnnxNode, source: str, places: Array, constants: dict[str, Array]) -> OnnxNode:
    """Return the node that puts each element in its place; `node` itself if no layer does."""
    before, after = net.shapes[source], places.shape
    if int(np.prod(before)) != places.size:
        return node
    plain = np.arange(places.size).reshape(before)
    if before == after:
        for axis in (1, 3):
            order = places[0, :, 0, 0] // (before[2] * before[3]) if axis == 1 else places[0, 0, 0, :] % before[3]
            if np.array_equal(np.take(plain, order, axis), places):
                constants[f"{node.name} order"] = order.astype(np.int64)
                return OnnxNode(node.name, "Gather", (source, f"{node.name} order"), node.output, {"axis": axis})
        return node
    for op, large, small in (("ConvTranspose", after, before), ("Conv", before, after)):
        block = large[2] // small[2]
        if block < 2 or large[2:] != (small[2] * block, small[3] * block):
            continue
        # the places in the smaller picture's first position tell which channel each pixel of a block is
        corner = places[0, :, :block, :block] if op == "ConvTranspose" else places[0, :, :1, :1]
        weight = np.zeros((before[1], after[1], block, block) if op == "ConvTranspose" else
                          (after[1], before[1], block, block), np.float32)  # fmt: skip
        for index in np.ndindex(*corner.shape):
            channel, row, col = np.unravel_index(corner[index], before[1:])
            if op == "ConvTranspose":
                weight[(channel, *index)] = 1
            elif row < block and col < block:
                weight[index[0], channel, row, col] = 1
        if np.array_equal(_moved(op, plain, weight), places):
            name = f"{node.name}.weight ones"
            constants[name] = weight
            attrs = {"strides": [block, block], "kernel_shape": [block, block]}
            return OnnxNode(node.name, op, (source, name), node.output, attrs)
    return node


def _moved(op: str, picture: Array, weight: Array) -> Array:
    """Return what a convolution, or a transposed one, of ones and zeros makes of a picture of whole numbers."""
    block = weight.shape[2]
    _, channels, height, width = picture.shape
    if op == "ConvTranspose":
        spread = np.einsum("nchw,coyx->nohywx", picture, weight.astype(np.int64))
        return np.asarray(spread.reshape(1, weight.shape[1], height * block, width * block))
    blocks = picture.reshape(1, channels, height // block, block, width // block, block)
    return np.asarray(np.einsum("nchywx,ocyx->nohw", blocks, weight.astype(np.int64)))


def place_vectors(net: OnnxNet) -> OnnxNet:
    """Return the net with each vector that becomes a picture between layers put there by a transposed convolution.

    Its kernel of ones and zeros covers the picture, with one group per channel. Takes plain nodes.
    """
    tail, constants = tail_of(net), dict(net.initializers)
    nodes: list[OnnxNode] = []
    for node in net.nodes:
        before, after = net.shapes.get(node.inputs[0], ()), net.shapes.get(node.output, ())
        is_vector = len(before) == 2 or before[2:] == (1, 1)
        if node.op != "Reshape" or node.name in tail or not is_vector or len(after) != 4 or before == after:
            nodes.append(node)
            continue
        (_, channels, height, width), source = after, node.inputs[0]
        if channels * (height * width) ** 2 > MOST_PLACES:
            raise ModelError(
                f"a vector that becomes a picture of {after}", where=net.where(node),
                allowed=f"C * (H * W)**2 of at most {MOST_PLACES}", remedy="use a smaller picture and enlarge it",
            )  # fmt: skip
        if len(before) == 2:
            pixel = node.output if height * width == 1 else f"{node.output} pixel"
            name = node.name if height * width == 1 else f"{node.name}.pixel"
            nodes.append(OnnxNode(name, "Unflatten", (source,), pixel))
            source = pixel
        if height * width > 1:
            weight = f"{node.name}.weight ones"
            places = np.eye(height * width, dtype=np.float32).reshape(-1, 1, height, width)
            constants[weight] = np.tile(places, (channels, 1, 1, 1))
            attrs = {
                "strides": [1, 1],
                "dilations": [1, 1],
                "output_padding": [0, 0],
                "pads": [0] * 4,
                "group": channels,
            }
            nodes.append(OnnxNode(node.name, "ConvTranspose", (source, weight), node.output, attrs))
    return replace(net, nodes=tuple(nodes), initializers=constants)


def lower_gathers(net: OnnxNet) -> OnnxNet:
    """Return the net without Gather: in the weights behind it, or a convolution of ones and zeros.

    A slice of channels behind one takes its part of the order first.

    Raises
    ------
    ModelError
        For a Gather that does anything else than choosing channels.
    """
    if not any(node.op == "Gather" for node in net.nodes):
        return net
    constants, shapes, made = dict(net.initializers), net.shapes, net.producers()
    readers, fates = net.consumers(), dict[str, Fate]()
    for node in net.nodes:  # made changes as they go, node by node
        node = made[node.output]
        if node.op != "Gather":
            continue
        order, channels = _order(net, node, constants), shapes[node.inputs[0]][1]
        followers = [made[reader.output] for reader in readers.get(node.output, [])]
        is_inner = node.output not in net.outputs and bool(followers)
        if is_inner and all(_cuts_channels(reader, shapes.get(reader.output, ())) for reader in followers):
            for reader in followers:
                low, high = reader.attrs["low"][1], reader.attrs["high"][1]
                name = f"{reader.name} order"
                constants[name] = order[low:high]
                made[reader.output] = OnnxNode(
                    reader.name, "Gather", (node.inputs[0], name), reader.output, {"axis": 1}
                )
                readers[node.inputs[0]].append(made[reader.output])
            fates[node.name] = Fate(followers[0].name, "in the order of what its parts take")
        elif is_inner and all(reader.op == "Conv" and reader.attrs.get("group", 1) == 1 for reader in followers):
            for reader in followers:
                name = f"{reader.name}.weight reordered"
                constants[name] = _reordered(constants[reader.inputs[1]], order, channels)
                inputs = (node.inputs[0], name, *reader.inputs[2:])
                made[reader.output] = replace(reader, inputs=inputs)
            fates[node.name] = Fate(followers[0].name, "in the order of its weights")
        else:
            made[node.output] = _choosing(node, order, channels, constants)
    kept = tuple(made[node.output] for node in net.nodes if made[node.output].op != "Gather")
    wanted = {name for node in kept for name in node.inputs} | set(net.outputs)
    return replace(net, nodes=tuple(n for n in kept if n.output in wanted), initializers=constants).noting(fates)


def _order(net: OnnxNet, node: OnnxNode, constants: dict[str, Array]) -> Array:
    order, shape = net.constant(node, 1, constants), net.shapes.get(node.inputs[0], ())
    axis = node.attrs.get("axis", 0) % max(len(shape), 1)
    if len(shape) != 4 or axis != 1 or order.ndim != 1:
        raise ModelError(
            f"gathers {order.shape} of {shape} along axis {axis}",
            where=net.where(node),
            allowed="channels of (1, C, H, W)",
        )
    if order.size == 0 or order.min() < -shape[1] or order.max() >= shape[1]:
        raise ModelError(f"channels that {shape} has not", where=net.where(node), remedy="check the export")
    return order % shape[1]


def _cuts_channels(node: OnnxNode, after: tuple[int, ...]) -> bool:
    if node.op != "Slice" or len(node.attrs["low"]) != 4 or len(after) != 4:
        return False
    return [h - w for h, w in zip(node.attrs["high"], node.attrs["low"], strict=True)][2:] == list(after[2:]) and (
        node.attrs["low"][2:] == [0, 0]
    )


def _reordered(weight: Array, order: Array, channels: int) -> Array:
    chosen = np.eye(channels, dtype=np.float32)[order]  # (inputs of the weight, channels)
    return np.ascontiguousarray(np.einsum("oiyx,ic->ocyx", weight, chosen))


def _choosing(node: OnnxNode, order: Array, channels: int, constants: dict[str, Array]) -> OnnxNode:
    name = f"{node.name}.weight ones"
    constants[name] = np.eye(channels, dtype=np.float32)[order].reshape(len(order), channels, 1, 1)
    return OnnxNode(node.name, "Conv", (node.inputs[0], name), node.output, {"kernel_shape": [1, 1]})
