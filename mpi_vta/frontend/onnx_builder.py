"""Writes ONNX models layer by layer, with seeded weights or the ones given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import ModelError
from mpi_vta.graph.ir import window_output_hw

OPSET = 17
IR_VERSION = 8
SHOWN_FAULTS = 3

Array = NDArray[Any]


class OnnxBuilder:
    """Grows an ONNX graph with one input; every tensor is named after the node that makes it.

    Parameters
    ----------
    name : str
        Name of the graph.
    input_shape : tuple of int
        (1, C, H, W) of the input, which is called ``input``.
    seed : int
        Seed of the synthetic weights: He-initialised, batch-norm statistics near (0, 1).
    weights : mapping of str to ndarray, or None
        Replaces every synthetic weight, by initialiser name.
    """

    def __init__(
        self, name: str, input_shape: tuple[int, int, int, int], *, seed: int, weights: Mapping[str, Array] | None
    ) -> None:
        self._name = name
        self._input_shape = input_shape
        self._rng = np.random.default_rng(seed)
        self._given = weights
        self._faults: list[str] = []
        self._nodes: list[tuple[str, str, list[str], dict[str, Any]]] = []
        self._initializers: dict[str, Array] = {}
        self._shapes: dict[str, tuple[int, ...]] = {"input": input_shape}

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return self._shapes[name]

    def conv(
        self,
        source: str,
        name: str,
        channels: int,
        kernel: int,
        *,
        stride: int | tuple[int, int] = 1,
        pad: int | None = None,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> str:
        """Add a square convolution; its pads are (kernel - 1) / 2 unless given."""
        inputs = self._shapes[source][1] // groups
        pad = (kernel - 1) // 2 if pad is None else pad
        spread = np.sqrt(2 / (inputs * kernel * kernel))
        operands = [source, self._weight(f"{name}.weight", (channels, inputs, kernel, kernel), 0.0, spread)]
        if bias:
            operands.append(self._weight(f"{name}.bias", (channels,), 0.0, 0.1))
        strides = (stride, stride) if isinstance(stride, int) else stride
        attrs: dict[str, Any] = {"kernel_shape": [kernel] * 2, "strides": [*strides], "pads": [pad] * 4}
        if groups != 1:
            attrs["group"] = groups
        if dilation != 1:
            attrs["dilations"] = [dilation] * 2
        shape = self._window(source, (kernel - 1) * dilation + 1, strides, (pad,) * 4)
        return self._add("Conv", name, operands, (1, channels, *shape), attrs)

    def batch_norm(self, source: str, name: str, *, gain: float = 1.0, epsilon: float = 1e-5) -> str:
        """Add a batch normalisation whose synthetic scale is about `gain`."""
        channels = (self._shapes[source][1],)
        operands = [
            source,
            self._weight(f"{name}.weight", channels, gain, 0.1 * gain),
            self._weight(f"{name}.bias", channels, 0.0, 0.1),
            self._weight(f"{name}.running_mean", channels, 0.0, 0.1),
            self._weight(f"{name}.running_var", channels, 1.0, 0.1),
        ]
        return self._add("BatchNormalization", name, operands, self._shapes[source], {"epsilon": epsilon})

    def activation(self, source: str, name: str, op: str, **attrs: float) -> str:
        """Add a Relu, LeakyRelu, HardSwish or Softmax."""
        return self._add(op, name, [source], self._shapes[source], attrs)

    def clip(self, source: str, name: str, low: float, high: float) -> str:
        """Add a Clip."""
        bounds = {f"{name}.min": low, f"{name}.max": high}
        self._initializers.update({key: np.array(bound, np.float32) for key, bound in bounds.items()})
        return self._add("Clip", name, [source, *bounds], self._shapes[source], {})

    def max_pool(
        self,
        source: str,
        name: str,
        kernel: int,
        stride: int | tuple[int, int],
        pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    ) -> str:
        """Add a square maximum pooling; strides are (y, x), pads (top, left, bottom, right)."""
        strides = (stride, stride) if isinstance(stride, int) else stride
        attrs = {"kernel_shape": [kernel] * 2, "strides": [*strides], "pads": list(pads)}
        shape = self._window(source, kernel, strides, pads)
        return self._add("MaxPool", name, [source], (*self._shapes[source][:2], *shape), attrs)

    def add(self, source: str, other: str, name: str) -> str:
        """Add an elementwise sum."""
        return self._add("Add", name, [source, other], self._shapes[source], {})

    def multiply(self, source: str, other: str, name: str) -> str:
        """Add an elementwise product."""
        return self._add("Mul", name, [source, other], self._shapes[source], {})

    def channel_slice(self, source: str, name: str, low: int, high: int) -> str:
        """Add a slice of the channels [low, high)."""
        bounds = {f"{name}.starts": low, f"{name}.ends": high, f"{name}.axes": 1}
        self._initializers.update({key: np.array([bound]) for key, bound in bounds.items()})
        shape = self._shapes[source]
        return self._add("Slice", name, [source, *bounds], (1, high - low, *shape[2:]), {})

    def upsample(self, source: str, name: str, scale: int) -> str:
        """Add a nearest-neighbour enlargement."""
        scales = f"{name}.scales"
        self._initializers[scales] = np.array([1, 1, scale, scale], np.float32)
        attrs = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        shape = self._shapes[source]
        return self._add("Resize", name, [source, "", scales], (*shape[:2], *(n * scale for n in shape[2:])), attrs)

    def concat(self, sources: list[str], name: str) -> str:
        """Add a concatenation along the channels."""
        channels = sum(self._shapes[source][1] for source in sources)
        return self._add("Concat", name, sources, (1, channels, *self._shapes[sources[0]][2:]), {"axis": 1})

    def global_average_pool(self, source: str, name: str) -> str:
        """Add a mean over height and width."""
        return self._add("GlobalAveragePool", name, [source], (*self._shapes[source][:2], 1, 1), {})

    def flatten(self, source: str, name: str) -> str:
        """Add a flatten to (1, C*H*W)."""
        return self._add("Flatten", name, [source], (1, int(np.prod(self._shapes[source][1:]))), {})

    def dense(self, source: str, name: str, outputs: int, *, gain: float = 1.0) -> str:
        """Add a fully connected layer, behind a flatten where needed; `gain` 2 keeps the size of what a ReLU halves."""
        flat = source if len(self._shapes[source]) == 2 else self.flatten(source, "flatten")
        features = self._shapes[flat][1]
        operands = [
            flat,
            self._weight(f"{name}.weight", (outputs, features), 0.0, np.sqrt(gain / features)),
            self._weight(f"{name}.bias", (outputs,), 0.0, 0.1),
        ]
        return self._add("Gemm", name, operands, (1, outputs), {"transB": 1})

    def model(self, outputs: list[str]) -> Any:
        """Return the ``onnx.ModelProto``.

        Raises
        ------
        ModelError
            If weights were given and their names or shapes do not match, listing the first faults.
        """
        from onnx import TensorProto, helper, numpy_helper

        self._check_given()
        nodes = [helper.make_node(op, inputs, [name], name=name, **attrs) for op, name, inputs, attrs in self._nodes]
        values = {
            name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in self._shapes.items()
        }
        tensors = [numpy_helper.from_array(array, name) for name, array in self._initializers.items()]
        results = [values[name] for name in outputs]
        inner = [value for name, value in values.items() if name != "input" and name not in outputs]
        graph = helper.make_graph(nodes, self._name, [values["input"]], results, tensors, value_info=inner)
        opset = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="mpi_vta")

    def _add(self, op: str, name: str, inputs: list[str], shape: tuple[int, ...], attrs: dict[str, Any]) -> str:
        self._nodes.append((op, name, inputs, attrs))
        self._shapes[name] = shape
        return name

    def _window(
        self, source: str, kernel: int, strides: tuple[int, int], pads: tuple[int, int, int, int]
    ) -> tuple[int, int]:
        height, width = self._shapes[source][2:]
        return window_output_hw(height, width, (kernel, kernel), strides, pads)

    def _weight(self, name: str, shape: tuple[int, ...], mean: float, spread: float) -> str:
        if self._given is None:
            self._initializers[name] = self._rng.normal(mean, spread, shape).astype(np.float32)
            return name
        given = self._given.get(name)
        if given is None:
            self._faults.append(f"{name} is missing")
        elif given.shape != shape or given.dtype.kind != "f":
            self._faults.append(f"{name} is {given.dtype} {given.shape}, not float {shape}")
        self._initializers[name] = np.zeros(shape, np.float32) if given is None else given.astype(np.float32)
        return name

    def _check_given(self) -> None:
        # torch counts training batches in every batch norm; nothing here needs the number
        extra = [
            f"{name} is not in the model"
            for name in self._given or ()
            if name not in self._initializers and not name.endswith("num_batches_tracked")
        ]
        faults = self._faults + extra
        if faults:
            more = f" and {len(faults) - SHOWN_FAULTS} more" if len(faults) > SHOWN_FAULTS else ""
            raise ModelError(
                f"the weights do not fit {self._name}: {', '.join(faults[:SHOWN_FAULTS])}{more}",
                where="--weights",
                allowed=f"{len(self._initializers)} float arrays such as {next(iter(self._initializers))}",
            )
