"""The input of a model as a file leaves it: open extents, another batch, another type; settled before all else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import ModelError
from mpi_vta.frontend.onnx_fold import array_of

Array = NDArray[Any]
Shape = tuple[int, ...]

BYTE_LEVELS = 255.0
_RANKS = {3: "(1, C, L)", 4: "(1, C, H, W)"}


@dataclass(frozen=True)
class Settled:
    """A model whose one input has fixed extents, batch 1 and float32 elements.

    Attributes
    ----------
    model : onnx.ModelProto
        The file's own where nothing was to change.
    input_name, input_shape : str, tuple of int
        Its input.
    notes : tuple of str
        What was settled that the file leaves open, for the user.
    levels : float
        What a white pixel is in the input: 1, or 255 for an input of bytes.
    batch : int
        Batch of the file, 1 where it leaves it open.
    """

    model: Any
    input_name: str
    input_shape: Shape
    notes: tuple[str, ...] = ()
    levels: float = 1.0
    batch: int = 1


def settle_input(model: Any, path: str, wanted: Shape | None = None) -> Settled:
    """Return a model with a fixed input: an open batch is 1, other open extents are those of `wanted`.

    Parameters
    ----------
    model : onnx.ModelProto
        Left as it is.
    path : str
        Named in messages.
    wanted : tuple of int or None
        Extents of the input, batch first; they must agree with those that the file fixes.

    Raises
    ------
    ModelError
        For several inputs, extents that stay open or do not agree, another rank or type.
    """
    from onnx import ModelProto, TensorProto

    entry = _only_input(model, path)
    tensor, where = entry.type.tensor_type, f"{path}: input {entry.name}"
    dims = [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in tensor.shape.dim]
    shown = ", ".join(str(d.dim_value) if d.HasField("dim_value") else (d.dim_param or "?") for d in tensor.shape.dim)
    if wanted is not None and (
        len(wanted) != len(dims) or any(own not in (None, given) for own, given in zip(dims, wanted, strict=True))
    ):
        raise ModelError(f"shape ({shown})", where=where, allowed=f"that of --input-shape, {wanted}")
    if len(dims) not in _RANKS:
        raise ModelError(f"shape ({shown})", where=where, allowed=" or ".join(_RANKS.values()))
    settled = [own if own is not None or wanted is None else wanted[axis] for axis, own in enumerate(dims)]
    notes = []
    if settled[0] is None:
        settled[0] = 1
        notes.append("an open batch taken as 1")
    if any(extent is None for extent in settled):
        example = ",".join(str(extent or "N") for extent in settled)
        raise ModelError(
            f"dynamic shape ({shown})", where=where, allowed="fixed extents", remedy=f"--input-shape {example}"
        )
    shape = tuple(int(extent or 0) for extent in settled)
    kinds = TensorProto
    floats = (kinds.FLOAT, kinds.FLOAT16, kinds.BFLOAT16, kinds.DOUBLE)
    if tensor.elem_type not in (*floats, kinds.UINT8):
        kind = dict(zip(kinds.DataType.values(), kinds.DataType.keys(), strict=True)).get(tensor.elem_type, "unknown")
        raise ModelError(f"element type {kind}", where=where, allowed="float32, float16, bfloat16, float64, uint8")
    if shape[0] != 1:
        notes.append(f"batch {shape[0]} taken as 1")
    wide = _has_other_floats(model)
    if shape[0] == 1 and None not in dims and tensor.elem_type == kinds.FLOAT and not wide:
        return Settled(model, entry.name, shape)
    copy = ModelProto()
    copy.CopyFrom(model)
    if wide:
        _to_float32(copy, path)
        notes.append("computed from float32 weights")
    own = _only_input(copy, path).type.tensor_type
    own.elem_type = kinds.FLOAT
    for extent, dim in zip((1, *shape[1:]), own.shape.dim, strict=True):
        dim.dim_value = extent
    # what the file says of other extents and types may not hold any more
    del copy.graph.value_info[:]
    for output in copy.graph.output:
        output.type.tensor_type.ClearField("shape")
        if output.type.tensor_type.elem_type in floats:
            output.type.tensor_type.elem_type = kinds.FLOAT
    levels = BYTE_LEVELS if tensor.elem_type == kinds.UINT8 else 1.0
    return Settled(copy, entry.name, (1, *shape[1:]), tuple(notes), levels, shape[0])


def with_batch_1(model: Any, constants: Mapping[str, Array], batch: int) -> None:
    """Change, in place, the extents to which a model of another batch reshapes, where they begin with it."""
    from onnx import numpy_helper

    targets = {node.input[1] for node in model.graph.node if node.op_type in ("Reshape", "Expand")}
    for name in targets & set(constants):
        value = constants[name]
        if value.ndim == 1 and value.size > 1 and value[0] == batch:
            changed = np.concatenate([[1], value[1:]]).astype(value.dtype)
            for entry in [entry for entry in model.graph.initializer if entry.name == name]:
                entry.CopyFrom(numpy_helper.from_array(changed, name))
            for node in model.graph.node:
                if node.op_type == "Constant" and node.output[0] == name:
                    node.attribute[0].t.CopyFrom(numpy_helper.from_array(changed, name))


def check_batch(
    before: Mapping[str, Shape], after: Mapping[str, Shape], names: list[str], batch: int, path: str
) -> None:
    """Refuse with `ModelError` a model in which a tensor's extents depend on the batch beyond their first."""
    for name in names:
        found = before.get(name, ())
        if not found or found[0] != batch or after.get(name) != (1, *found[1:]):
            raise ModelError(
                f"batch {batch}, on which {name} of {found} depends", where=path, remedy="export the model with batch 1"
            )


def _only_input(model: Any, path: str) -> Any:
    known = {entry.name for entry in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in known]
    if len(inputs) != 1:
        names = ", ".join(entry.name for entry in inputs) or "none"
        raise ModelError(f"the model has {len(inputs)} inputs ({names})", where=path, allowed="one image input")
    return inputs[0]


def _has_other_floats(model: Any) -> bool:
    from onnx import TensorProto

    others = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
    return any(entry.data_type in others for entry in model.graph.initializer) or any(
        attribute.name == "to" and attribute.i in others for node in model.graph.node for attribute in node.attribute
    )


def _to_float32(model: Any, path: str) -> None:
    """Make weights, constants and casts of other float types float32."""
    from onnx import TensorProto, numpy_helper

    others = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
    held = [attribute.t for node in model.graph.node for attribute in node.attribute if attribute.HasField("t")]
    for tensor in (*model.graph.initializer, *held):
        if tensor.data_type in others:
            # what is beyond float32 becomes infinite, which is refused later by its name
            with np.errstate(over="ignore", invalid="ignore"):
                single = array_of(tensor, path).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(single, tensor.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i in others:
                attribute.i = TensorProto.FLOAT
