"""From ONNX to Relax: TVM's importer, mended in three places, and biases fused by pattern.

This module and `relax_import` are the only ones that import tvm, and only when a model is imported.
TVM invents names for its variables, so every tensor of the ONNX model is made an output: the n-th
field of the result is the n-th tensor, whatever was fused or reordered in between.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

import numpy as np

from mpi_vta.errors import ModelError
from mpi_vta.frontend.onnx_net import OnnxNet, OnnxNode, write_model

CONV = "mpi_vta.conv2d"
DENSE = "mpi_vta.dense"


def to_relax(net: OnnxNet) -> Any:
    """Return the ``tvm.IRModule`` of a normalised net; raises `ModelError` naming the node at fault."""
    from tvm.error import InternalError

    tensors = tuple(node.output for node in net.nodes)
    importer = _importer_class()(net)
    try:
        # TVM prints the operands of whatever it cannot convert; the error below says what matters
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Renaming name", UserWarning)  # names are ours by position
            return importer.from_onnx(write_model(net, tensors).graph, net.opset)
    except (
        InternalError,
        RuntimeError,
        ValueError,
        TypeError,
        AssertionError,
        AttributeError,
        KeyError,
        IndexError,
    ) as fault:
        lines = str(fault).strip().splitlines() or [type(fault).__name__]
        raise ModelError(
            f"the model is inconsistent: {lines[-1]}", where=importer.at or net.path, remedy="check the export"
        ) from fault


def _importer_class() -> Any:
    """Return TVM's importer with converters of our own where its own hide the operator in loops."""
    from tvm import relax
    from tvm.relax.frontend.onnx.onnx_frontend import ONNXGraphImporter

    from mpi_vta.frontend.relax_nodes import OWN_CONVERTERS

    class Importer(ONNXGraphImporter):  # type: ignore[misc]
        """Emits `clip` and `resize2d`, and makes every pad explicit."""

        def __init__(self, net: OnnxNet) -> None:
            super().__init__(None, "float32")
            self._nodes_left = iter(net.nodes)
            self._net = net
            self.at = ""

        def from_onnx(self, graph: Any, opset: int) -> Any:
            try:
                return super().from_onnx(graph, opset)
            except BaseException:
                if self.at:  # close the block that was open, or TVM complains on stderr as well
                    self.bb._end_block()
                raise

        def _check_for_unsupported_ops(self, graph: Any) -> None:
            """Do nothing: the net holds what `onnx_passes` leaves, some of it under names of our own."""

        def _convert_operator(self, op_name: str, inputs: Any, attrs: dict[str, Any], opset: int) -> Any:
            node = next(self._nodes_left)
            self.at = self._net.where(node)
            if op_name in OWN_CONVERTERS:
                return self.bb.normalize(OWN_CONVERTERS[op_name](node, inputs))
            if op_name == "Softmax":  # before opset 13 TVM wraps it in reshapes
                axis = attrs.get("axis", 1 if opset < 13 else -1)
                return self.bb.normalize(relax.op.nn.softmax(inputs[0], axis=axis))
            if op_name == "Resize":
                shape = shape_of(inputs[0])
                size = tuple(n * s for n, s in zip(shape[2:], _repetitions(self._net, node, shape), strict=True))
                resized = relax.op.image.resize2d(
                    inputs[0], relax.ShapeExpr(size), layout="NCHW", method="nearest_neighbor",
                    coordinate_transformation_mode="asymmetric", rounding_method="floor",
                )  # fmt: skip
                return self.bb.normalize(resized)
            if attrs.pop("auto_pad", "NOTSET") not in ("NOTSET", b"NOTSET"):
                attrs["pads"] = _automatic_pads(node, shape_of(inputs[0]))
            return super()._convert_operator(op_name, inputs, attrs, opset)

    return Importer


def _automatic_pads(node: OnnxNode, shape: tuple[int, ...]) -> list[int]:
    """Return (top, left, bottom, right) for SAME_UPPER, SAME_LOWER or VALID."""
    mode, kernel = node.attrs["auto_pad"], node.attrs["kernel_shape"]
    begin, end = [], []
    for axis in range(2):
        stride = node.attrs.get("strides", [1, 1])[axis]
        span = (kernel[axis] - 1) * node.attrs.get("dilations", [1, 1])[axis] + 1
        total = max((-(-shape[2 + axis] // stride) - 1) * stride + span - shape[2 + axis], 0)
        small = 0 if mode == "VALID" else total // 2
        large = 0 if mode == "VALID" else total - total // 2
        begin.append(large if mode == "SAME_LOWER" else small)
        end.append(small if mode == "SAME_LOWER" else large)
    return begin + end


def _repetitions(net: OnnxNet, node: OnnxNode, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return how often a Resize repeats rows and columns; refuse any that does more than repeat."""
    sizes = node.attrs.get("sizes") or [n * s for n, s in zip(shape, node.attrs["scales"], strict=True)]
    ratios = [size / extent for size, extent in zip(sizes, shape, strict=True)]
    if ratios[:2] != [1, 1] or any(r < 1 or r != int(r) for r in ratios):
        raise ModelError(f"scales {ratios}", where=net.where(node), allowed="1, 1 and whole numbers")
    for ratio, extent in zip(ratios[2:], shape[2:], strict=True):
        if not _is_repetition(node.attrs["coordinates"], node.attrs["rounding"], int(ratio), extent):
            raise ModelError(
                f"nearest with {node.attrs['coordinates']} and {node.attrs['rounding']}",
                where=net.where(node),
                allowed="modes that repeat each pixel, such as asymmetric with floor",
            )
    return int(ratios[2]), int(ratios[3])


def _is_repetition(coordinates: str, rounding: str, scale: int, extent: int) -> bool:
    target = np.arange(extent * scale)
    if coordinates == "asymmetric":
        source = target / scale
    elif coordinates in ("half_pixel", "pytorch_half_pixel"):
        source = (target + 0.5) / scale - 0.5
    else:
        return False
    rounded = {
        "floor": np.floor(source),
        "ceil": np.ceil(source),
        "round_prefer_floor": np.ceil(source - 0.5),
        "round_prefer_ceil": np.floor(source + 0.5),
    }.get(rounding)
    return rounded is not None and bool((np.clip(rounded, 0, extent - 1) == target // scale).all())


def fuse_biases(module: Any) -> Any:
    """Group each convolution and dense layer with its bias into one composite function."""
    from tvm import relax
    from tvm.relax.dpl import is_const, is_op, wildcard

    conv = is_op("relax.nn.conv2d")(wildcard(), is_const())
    dense = is_op("relax.matmul")(wildcard(), is_op("relax.permute_dims")(is_const()))
    patterns = [
        (CONV, is_op("relax.add")(conv, is_op("relax.reshape")(is_const(), wildcard()))),
        (CONV, conv),
        (DENSE, is_op("relax.add")(dense, is_const())),
        (DENSE, dense),
    ]
    return relax.transform.FuseOpsByPattern(patterns)(module)


def shape_of(expr: Any) -> tuple[int, ...]:
    """Return the static shape of a Relax expression."""
    return tuple(int(extent) for extent in expr.ty.shape)
