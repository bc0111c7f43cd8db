"""From Relax to our float graph: one walk over the fused main function, in the model's own order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import GraphError, ModelError
from mpi_vta.frontend.onnx_net import OnnxNet, OnnxNode
from mpi_vta.frontend.onnx_tail import tail_of
from mpi_vta.frontend.relax import CONV, DENSE, fuse_biases, shape_of, to_relax
from mpi_vta.graph.ir import Graph, Node, Value, window_output_hw
from mpi_vta.graph.verify import verify

Array = NDArray[Any]

_ACTIVATIONS = {
    "HardSigmoid": "hard_sigmoid",
    "HardSwish": "hard_swish",
    "Silu": "silu",
    "Mish": "mish",
    "Tanh": "tanh",
    "Elu": "elu",
    "Gelu": "gelu",
    "QuickGelu": "quick_gelu",
    "Selu": "selu",
    "Softplus": "softplus",
    "Abs": "abs",
}


def import_net(net: OnnxNet) -> Graph:
    """Return the float graph of a normalised net.

    Raises
    ------
    ModelError
        If an operator is used in a way that our graph cannot express, or layers do not fit, naming the node.
    """
    module = fuse_biases(to_relax(net))
    try:
        return _Walk(net, module).graph()
    except GraphError as fault:
        raise ModelError(
            fault.what, where=f"{net.path}: {fault.where}", allowed=fault.allowed, remedy="correct that layer"
        ) from fault


def _fields(module: Any) -> tuple[list[Any], dict[Any, Any]]:
    """Return the fields of main's result, one per ONNX node, and the expression behind each variable."""
    from tvm import relax

    (block,) = module["main"].body.blocks
    bound = {binding.var: binding.value for binding in block.bindings}
    result = module["main"].body.body
    while isinstance(bound.get(result), relax.Var):
        result = bound[result]
    value = bound.get(result, result)
    return (list(value.fields) if isinstance(value, relax.Tuple) else [result]), bound


class _Walk:
    """Turns the call behind each ONNX node into one of our nodes, in the model's own order."""

    def __init__(self, net: OnnxNet, module: Any) -> None:
        self._net, self._module = net, module
        self._name_of: dict[Any, str] = {module["main"].params[0]: net.input_name}
        self._values = {net.input_name: Value(net.input_name, net.input_shape, "float32")}
        self._alias: dict[str, str] = {}
        self._nodes: list[Node] = []
        self._constants: dict[str, Array] = {}
        self._rules: dict[str, Callable[[OnnxNode, Any], None]] = {
            CONV: self._conv,
            DENSE: self._dense,
            "relax.add": self._add,
            "relax.nn.relu": lambda node, call: self._emit(node, "relu", call, {}),
            "relax.nn.leakyrelu": self._leaky_relu,
            "relax.clip": self._clip,
            "relax.nn.max_pool2d": self._max_pool,
            "relax.nn.avg_pool2d": self._avg_pool,
            "relax.mean": self._mean,
            "relax.image.resize2d": self._resize,
            "relax.concat": self._concat,
            "relax.reshape": self._reshape,
            "relax.nn.softmax": self._softmax,
            "relax.sigmoid": self._sigmoid,
            "relax.permute_dims": self._transpose,
        }
        # several Relax calls each, or one that says less than the node
        self._node_rules: dict[str, Callable[[OnnxNode, Any], None]] = {
            **dict.fromkeys(_ACTIVATIONS, self._activation),
            "BatchNormalization": self._scale_shift,
            "ConvTranspose": self._conv_transpose,
            "Slice": self._slice,
            "Pad": self._pad,
            "Unflatten": lambda node, call: self._emit_node(node, "unflatten", call, {}),
            "HostArithmetic": self._arithmetic,
            "HostFunction": lambda node, call: self._emit_node(node, "function", call, dict(node.attrs)),
            "HostReduce": lambda node, call: self._emit_node(node, "reduce", call, dict(node.attrs)),
        }
        self._tail = tail_of(net)

    def graph(self) -> Graph:
        """Walk and return the verified graph."""
        fields, bound = _fields(self._module)
        for node, field in zip(self._net.nodes, fields, strict=True):
            if field in self._name_of:  # TVM saw that the node changes nothing
                self._alias[node.output] = self._name_of[field]
                continue
            self._name_of[field] = node.output
            call = bound[field]
            rule = self._node_rules.get(node.op) or self._rules.get(self._operator(call), self._refuse)
            rule(node, call)
        outputs = tuple(self._alias.get(name, name) for name in self._net.outputs)
        nodes, constants = tuple(self._nodes), self._constants
        graph = Graph(self._net.name, "float32", (self._net.input_name,), outputs, nodes, self._values, constants)
        verify(graph)
        return graph

    def _operator(self, call: Any) -> str:
        from tvm.ir import GlobalVar

        if isinstance(call.op, GlobalVar):
            function = self._module[call.op]
            return str(function.attrs["Composite"]) if function.attrs and "Composite" in function.attrs else ""
        return str(call.op.name)

    def _emit(
        self, node: OnnxNode, op: str, call: Any, attrs: dict[str, Any], params: dict[str, Array] | None = None
    ) -> None:
        operands = _operands(call)
        if not operands or any(operand not in self._name_of for operand in operands):
            self._refuse(node, call)
        inputs = tuple(self._name_of[operand] for operand in operands)
        self._append(node.name, op, inputs, node.output, shape_of(call), attrs, params or {})

    def _emit_node(
        self, node: OnnxNode, op: str, call: Any, attrs: dict[str, Any], params: dict[str, Array] | None = None
    ) -> None:
        """Add a node whose one operand is the ONNX node's own, whatever Relax made of it."""
        source = self._alias.get(node.inputs[0], node.inputs[0])
        self._append(node.name, op, (source,), node.output, shape_of(call), attrs, params or {})

    def _append(
        self,
        name: str,
        op: str,
        inputs: tuple[str, ...],
        output: str,
        shape: tuple[int, ...],
        attrs: dict[str, Any],
        params: dict[str, Array],
    ) -> None:
        roles = {role: f"{name}.{role}" for role in params}
        self._constants.update({roles[role]: array for role, array in params.items()})
        self._nodes.append(Node(name, op, inputs, output, attrs, roles))
        self._values[output] = Value(output, shape, "float32")

    def _composite(self, call: Any) -> tuple[Any, list[Array]]:
        """Return the main call inside a composite function and its constants, in order."""
        from tvm.ir import GenericConst

        (block,) = self._module[call.op].body.blocks
        calls = [binding.value for binding in block.bindings]
        constants = [
            np.array(arg.value.numpy()) for inner in calls for arg in inner.args if isinstance(arg, GenericConst)
        ]
        return next(c for c in calls if c.op.name in ("relax.nn.conv2d", "relax.matmul")), constants

    def _conv(self, node: OnnxNode, call: Any) -> None:
        inner, constants = self._composite(call)
        attrs = {
            "strides": _ints(inner.attrs.strides),
            "pads": _ints(inner.attrs.padding),
            "dilations": _ints(inner.attrs.dilation),
            "groups": int(inner.attrs.groups),
        }
        params = dict(zip(("weight", "bias"), constants, strict=False))
        if "bias" in params:
            params["bias"] = params["bias"].reshape(-1)
        self._emit(node, "conv2d", call, attrs, params)

    def _dense(self, node: OnnxNode, call: Any) -> None:
        _, constants = self._composite(call)
        self._emit(node, "dense", call, {}, dict(zip(("weight", "bias"), constants, strict=False)))

    def _add(self, node: OnnxNode, call: Any) -> None:
        if any(arg not in self._name_of for arg in call.args):
            raise ModelError(
                "addition of a constant", where=self._net.where(node), allowed="a bias inside Conv, or after MatMul"
            )
        if len({shape_of(arg) for arg in call.args}) != 1:
            shapes = " and ".join(str(shape_of(arg)) for arg in call.args)
            raise ModelError(f"broadcast of {shapes}", where=self._net.where(node), allowed="equal shapes")
        self._emit(node, "add", call, {})

    def _leaky_relu(self, node: OnnxNode, call: Any) -> None:
        alpha = float(call.attrs.alpha)
        if alpha != 0 and not 0 < alpha < 1:
            raise ModelError(f"alpha {alpha}", where=self._net.where(node), allowed="0 <= alpha < 1")
        self._emit(node, "leaky_relu" if alpha else "relu", call, {"alpha": alpha} if alpha else {})

    def _clip(self, node: OnnxNode, call: Any) -> None:
        bounds = (node.attrs["min"], node.attrs["max"])
        if bounds == (0.0, float("inf")):
            self._emit(node, "relu", call, {})
        else:
            self._emit(node, "clip", call, dict(zip(("lo", "hi"), bounds, strict=True)))

    def _max_pool(self, node: OnnxNode, call: Any) -> None:
        self._emit(node, "max_pool2d", call, self._window(call))

    def _avg_pool(self, node: OnnxNode, call: Any) -> None:
        attrs = self._window(call)
        if any(attrs["pads"]) and (not call.attrs.count_include_pad or call.attrs.ceil_mode):
            raise ModelError(
                "padding that does not count towards the mean",
                where=self._net.where(node),
                allowed="no padding, or count_include_pad = 1 with ceil_mode = 0",
            )
        self._emit(node, "avg_pool2d", call, attrs)

    def _window(self, call: Any) -> dict[str, Any]:
        """Return kernel, strides and pads; the extra rows of ceil_mode become padding."""
        kernel, strides = _ints(call.attrs.pool_size), _ints(call.attrs.strides)
        top, left, bottom, right = _ints(call.attrs.padding)
        height, width = shape_of(call.args[0])[2:]
        wanted = shape_of(call)[2:]
        while window_output_hw(height, width, kernel, strides, (top, left, bottom, right))[0] < wanted[0]:
            bottom += 1
        while window_output_hw(height, width, kernel, strides, (top, left, bottom, right))[1] < wanted[1]:
            right += 1
        return {"kernel": kernel, "strides": strides, "pads": (top, left, bottom, right)}

    def _mean(self, node: OnnxNode, call: Any) -> None:
        shape = shape_of(call.args[0])
        axes = [int(axis) % len(shape) for axis in (call.attrs.axis or range(len(shape)))]
        if len(shape) != 4 or sorted(axes) != [2, 3]:
            raise ModelError(f"mean over axes {axes}", where=self._net.where(node), allowed="height and width")
        if call.args[0] not in self._name_of:
            self._refuse(node, call)
        if call.attrs.keepdims:
            self._emit(node, "global_avg_pool2d", call, {})
            return
        pooled, source = f"{node.output}.pooled", self._name_of[call.args[0]]
        self._append(f"{node.name}.pool", "global_avg_pool2d", (source,), pooled, (*shape[:2], 1, 1), {}, {})
        self._append(node.name, "flatten", (pooled,), node.output, shape_of(call), {}, {})

    def _resize(self, node: OnnxNode, call: Any) -> None:
        before, after = shape_of(call.args[0]), shape_of(call)
        self._emit(node, "upsample2d", call, {"scales": (after[2] // before[2], after[3] // before[3])})

    def _concat(self, node: OnnxNode, call: Any) -> None:
        operands, axis = _operands(call), int(call.attrs.axis) % len(shape_of(call))
        if node.name in self._tail and axis > 0 and (axis, len(shape_of(call))) != (1, 4) and len(operands) > 1:
            self._emit(node, "join", call, {"axis": axis})
            return
        if axis != 1 or any(arg not in self._name_of for arg in operands):
            raise ModelError(
                f"concatenation along axis {call.attrs.axis}, or with a constant",
                where=self._net.where(node),
                allowed="axis 1, computed tensors",
            )
        if len(operands) == 1:
            self._alias[node.output] = self._name_of[operands[0]]
            self._name_of[next(k for k, v in self._name_of.items() if v == node.output)] = self._alias[node.output]
            return
        if len(shape_of(call)) == 2:
            self._concat_vectors(node, call, [self._name_of[arg] for arg in operands])
            return
        self._emit(node, "concat", call, {})

    def _concat_vectors(self, node: OnnxNode, call: Any, names: list[str]) -> None:
        """Join vectors as pictures of one pixel, which they must have been."""
        made = {entry.output: entry for entry in self._nodes}
        sources = [made[name].inputs[0] if name in made and made[name].op == "flatten" else "" for name in names]
        shapes = [self._values[source].shape if source else () for source in sources]
        if any(len(shape) != 4 or shape[2:] != (1, 1) for shape in shapes):
            raise ModelError(
                "concatenation of vectors between layers",
                where=self._net.where(node),
                allowed="those of (1, C, 1, 1), flattened; pictures along channels",
                remedy="concatenate before flattening",
            )
        readers = self._net.consumers()
        unread = {n for n in names if len(readers[n]) == 1 and n not in self._net.outputs}
        self._nodes = [entry for entry in self._nodes if entry.output not in unread]
        for name in unread:
            del self._values[name]
        joined, (_, count) = f"{node.output} joined", shape_of(call)
        self._append(f"{node.name}.join", "concat", tuple(sources), joined, (1, count, 1, 1), {}, {})
        self._append(node.name, "flatten", (joined,), node.output, (1, count), {}, {})

    def _reshape(self, node: OnnxNode, call: Any) -> None:
        before, after = shape_of(call.args[0]), shape_of(call)
        if after == (1, int(np.prod(before))) and len(before) in (2, 4):
            self._emit(node, "flatten", call, {})
        elif node.name in self._tail and after[0] == 1:
            self._emit(node, "reshape", call, {"shape": after})
        else:
            raise ModelError(
                f"reshape of {before} to {after}",
                where=self._net.where(node),
                allowed="(1, C, H, W) to (1, C*H*W), and any at the end of the model that keeps the batch axis",
            )

    def _transpose(self, node: OnnxNode, call: Any) -> None:
        order = [int(axis) for axis in call.attrs.axes]
        if node.name not in self._tail:
            raise ModelError(
                f"transpose {order} between layers", where=self._net.where(node), allowed="around the whole model"
            )
        self._emit(node, "transpose", call, {"order": tuple(order)})

    def _sigmoid(self, node: OnnxNode, call: Any) -> None:
        if node.name in self._tail:
            self._emit(node, "sigmoid", call, {})
        else:
            self._emit(node, "activation", call, {"kind": "sigmoid"})

    def _activation(self, node: OnnxNode, call: Any) -> None:
        if node.attrs.get("alpha", 1.0) != 1.0 and node.op == "Elu":
            raise ModelError(f"alpha {node.attrs['alpha']}", where=self._net.where(node), allowed="1")
        self._emit_node(node, "activation", call, {"kind": _ACTIVATIONS[node.op]})

    def _scale_shift(self, node: OnnxNode, call: Any) -> None:
        scale, offset = (self._net.constant(node, index) for index in (1, 2))
        params = {"scale": scale, "offset": offset} if offset.any() else {"scale": scale}
        self._emit_node(node, "scale_shift", call, {}, params)

    def _conv_transpose(self, node: OnnxNode, call: Any) -> None:
        keys = {"strides": "strides", "pads": "pads", "output_padding": "output_pads", "dilations": "dilations"}
        attrs = {ours: _ints(node.attrs[theirs]) for theirs, ours in keys.items()}
        params = {"weight": self._net.constant(node, 1)}
        if len(node.inputs) > 2 and node.inputs[2]:
            params["bias"] = self._net.constant(node, 2)
        self._emit_node(node, "conv_transpose2d", call, {**attrs, "groups": int(node.attrs["group"])}, params)

    def _slice(self, node: OnnxNode, call: Any) -> None:
        low, high = node.attrs["low"], node.attrs["high"]
        if node.name in self._tail and len(low) != 4 and (low[0], high[0]) == (0, 1):
            self._emit_node(node, "cut", call, {"low": _ints(low), "high": _ints(high)})
            return
        if len(low) != 4 or (low[0], high[0]) != (0, 1):
            raise ModelError(f"slice {low}..{high}", where=self._net.where(node), allowed="of (1, C, H, W)")
        box = {key: (low[axis], high[axis]) for axis, key in enumerate(("channels", "rows", "cols"), start=1)}
        self._emit_node(node, "slice2d", call, box)

    def _arithmetic(self, node: OnnxNode, call: Any) -> None:
        known = self._net.initializers
        computed = tuple(self._alias.get(name, name) for name in node.inputs if name not in known)
        params = dict(zip(("constant",), (known[name] for name in node.inputs if name in known), strict=False))
        self._append(node.name, "arithmetic", computed, node.output, shape_of(call), dict(node.attrs), params)

    def _pad(self, node: OnnxNode, call: Any) -> None:
        self._emit_node(node, "pad2d", call, {"pads": _ints(node.attrs["pads"])})

    def _softmax(self, node: OnnxNode, call: Any) -> None:
        rank = len(shape_of(call))
        if int(call.attrs.axis) % rank != rank - 1:
            raise ModelError(
                f"softmax over axis {call.attrs.axis}", where=self._net.where(node), allowed="the last axis"
            )
        self._emit(node, "softmax", call, {})

    def _refuse(self, node: OnnxNode, call: Any) -> None:
        raise ModelError(
            f"{self._operator(call) or 'this use'} of shape {shape_of(call)} has no counterpart in our graph",
            where=self._net.where(node),
            remedy="export the model with constant folding and batch norm in evaluation mode",
        )


def _operands(call: Any) -> list[Any]:
    """Return the tensors that a call reads; what else it has (a shape) is in its result."""
    from tvm import relax

    if call.args and isinstance(call.args[0], relax.Tuple):
        return list(call.args[0].fields)
    return [arg for arg in call.args if isinstance(arg.ty, relax.TensorType)]


def _ints(values: Any) -> Any:
    return tuple(int(value) for value in values)
