"""The tables of operators: a new row carries its operator from a file to cycles; no attribute is passed over."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from codegen.execution import config_named, run_program
from onnx import defs, helper
from onnx.reference import ReferenceEvaluator
from onnx_nets import Net, ops

from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.errors import ModelError
from mpi_vta.frontend.lowering import elementwise
from mpi_vta.frontend.onnx_import import import_file, import_model
from mpi_vta.frontend.onnx_operators import OPERATORS, OnnxOperator, supported
from mpi_vta.graph import shapes
from mpi_vta.graph.op_spec import VTA, OpSpec
from mpi_vta.graph.ops import FLOAT_OPS, INT8_OPS
from mpi_vta.graph.reference import execute
from mpi_vta.quantize.quantizer import quantize, sqnr_db
from mpi_vta.schedule.cost import time_program


def celu(x):
    return np.maximum(x, 0) + np.minimum(0, np.expm1(np.minimum(x, 0)))


CELU = OpSpec(
    (1, 1),
    {},
    {},
    "max(x, 0) + min(0, exp(x) - 1)",
    shape=shapes.unchanged,
    compute=lambda _graph, _node, x: celu(x),
    place=VTA,
    becomes="piecewise",
    pieces=lambda _node: celu,
)


def test_two_rows_carry_an_operator_from_a_file_to_cycles(monkeypatch, tmp_path):
    net = Net((1, 3, 8, 8))
    net.add("Celu", net.conv("input", 3, 16, 3, pads=[1] * 4), name="y")
    onnx.save(net.model(), tmp_path / "net.onnx")
    with pytest.raises(ModelError, match="operator Celu is not supported"):
        import_file(tmp_path / "net.onnx")

    monkeypatch.setitem(OPERATORS, "Celu", OnnxOperator(elementwise("celu"), elementwise=True))
    monkeypatch.setitem(FLOAT_OPS, "celu", CELU)
    graph = import_file(tmp_path / "net.onnx").graph
    assert ops(graph) == ["conv2d", "celu"]
    images = np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)
    model, config = quantize(graph, images), config_named("pynq_1x16")
    inputs = model.quantize_input(images[: config.batch])
    program = compile_graph(model.graph, config)
    found = run_program(program, inputs, config.batch)
    wanted = ReferenceEvaluator(net.model()).run(None, {"input": images[:1]})[0]
    assert sqnr_db(wanted, model.finish(found)["y"][:1]) > 25
    without = model.graph.subgraph(["n0"])
    assert time_program(program).cycles > time_program(compile_graph(without, config)).cycles


@pytest.mark.parametrize("op", ["add", "avg_pool2d", "activation", "max_pool2d", "concat"])
def test_results_lie_within_the_error_that_the_table_states(op):
    net = Net((1, 4, 9, 9), seed=3)
    attrs = {"kernel_shape": [3, 3], "strides": [1, 1]}
    {
        "add": lambda: net.add("Add", "input", net.add("MaxPool", "input", kernel_shape=[1, 1]), name="y"),
        "avg_pool2d": lambda: net.add("AveragePool", "input", name="y", **attrs),
        "activation": lambda: net.add("Tanh", "input", name="y"),
        "max_pool2d": lambda: net.add("MaxPool", "input", name="y", **attrs),
        "concat": lambda: net.add("Concat", "input", net.add("MaxPool", "input", **attrs | {"pads": [1] * 4}), axis=1),
    }[op]()
    graph = import_model(net.model(), "net", "net")
    images = np.random.default_rng(0).uniform(-2, 2, (8, 4, 9, 9)).astype(np.float32)
    model = quantize(graph, images)
    rounded = model.quantize_input(images)
    exact = execute(graph, {"input": np.ldexp(rounded["input"].astype(np.float32), model.input_scale_log2)})
    (value,) = model.graph.outputs
    step = 2.0 ** (model.graph.values[value].scale_log2 or 0)
    away = np.abs(exact[graph.outputs[0]] / step - execute(model.graph, rounded)[value])
    assert away.max() <= INT8_OPS[model.graph.nodes[-1].op].error_steps + 1e-3


# ---- attributes

EXTENTS = (1, 4, 6, 6)


def numbers(net, *values):
    return [net.constant(f"k{index}", np.asarray(value)) for index, value in enumerate(values)]


def small_net(op):
    """Return a net that ends with one node of an operator, and that node."""
    net = Net(EXTENTS, opset=defs.onnx_opset_version() - 1)
    x = "input"
    weight = {"Conv": (4, 4, 3, 3), "ConvTranspose": (4, 4, 3, 3), "Gemm": (4, 144), "MatMul": (144, 4)}
    attrs = {
        "MaxPool": {"kernel_shape": [2, 2]},
        "AveragePool": {"kernel_shape": [2, 2]},
        "Concat": {"axis": 1},
        "DepthToSpace": {"blocksize": 2},
        "SpaceToDepth": {"blocksize": 2},
        "Split": {"axis": 1, "num_outputs": 2},
        "Gather": {"axis": 1},
        "Gemm": {"transB": 1},
        "Cast": {"to": onnx.TensorProto.FLOAT},
        "Transpose": {"perm": [0, 2, 3, 1]},
    }.get(op, {})
    more = {
        "Clip": lambda: numbers(net, np.float32(-1), np.float32(1)),
        "PRelu": lambda: numbers(net, np.float32(0.2).reshape(1, 1, 1)),
        "BatchNormalization": lambda: numbers(net, *np.full((4, 4), 0.5, np.float32)),
        "Upsample": lambda: numbers(net, np.array([1, 1, 2, 2], np.float32)),
        "Resize": lambda: ["", *numbers(net, np.array([1, 1, 2, 2], np.float32))],
        "Slice": lambda: numbers(net, [0], [2], [1]),
        "Pad": lambda: numbers(net, [0, 0, 1, 1] * 2),
        "Reshape": lambda: numbers(net, [1, 144]),
        "Squeeze": lambda: numbers(net, [1]),
        "Unsqueeze": lambda: numbers(net, [1]),
        "Expand": lambda: numbers(net, [1, 4, 6, 6]),
        "Gather": lambda: numbers(net, [1, 0]),
        "Tile": lambda: numbers(net, [1, 1, 1, 1]),
        "Where": lambda: [x, net.add("Mul", x, *numbers(net, np.float32(0.5)))],
        "QuantizeLinear": lambda: numbers(net, np.float32(0.1), np.int8(0)),
    }
    if op in ("Gemm", "MatMul"):
        x = net.add("Flatten", x)
    if op in ("Identity", "Dropout", "QuantizeLinear", "DequantizeLinear", "Expand", "Tile", "Cast", "Sum"):
        x = net.add("Relu", x)
    if op == "Squeeze":
        x = net.conv(x, 4, 1, 1)
    operands = [x]
    if op in weight:
        operands.append(net.normal("w", *weight[op], spread=0.1))
    elif op in more:
        operands += more[op]()
    elif (
        op in ("Add", "Sub", "Mul", "Div", "Min", "Max", "Greater", "Less", "GreaterOrEqual", "LessOrEqual")
        or op == "Pow"
    ):
        operands.append(net.constant("k", np.float32(2)))
    elif op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2"):
        operands.append(net.constant("k", np.array([2, 3])))
    elif op == "Concat":
        operands.append(x)
    if op == "Where":
        operands[0] = net.add("Greater", x, net.constant("zero", np.float32(0)))
    if op == "DequantizeLinear":
        operands = [net.add("QuantizeLinear", x, *numbers(net, np.float32(0.1), np.int8(0))), "k0", "k1"]
    outputs = ["y", "z"] if op == "Split" else ["y"]
    net.nodes.append(helper.make_node(op, operands, outputs, name="y", **attrs))
    if op == "QuantizeLinear":
        net.nodes.append(helper.make_node("DequantizeLinear", ["y", "k0", "k1"], ["back"], name="back"))
    return net, net.nodes[-2 if op == "QuantizeLinear" else -1]


def another(name, attribute):
    """Return values of an attribute, none of them its default."""
    kinds = defs.OpSchema.AttrType
    given = {
        "auto_pad": ["SAME_UPPER", "SAME_LOWER", "VALID"],
        "mode": ["linear", "cubic", "nearest", "CRD", "reflect", "edge", "wrap"],
        "coordinate_transformation_mode": ["align_corners", "asymmetric", "tf_crop_and_resize", "half_pixel_symmetric"],
        "nearest_mode": ["floor", "ceil", "round_prefer_ceil"],
        "keep_aspect_ratio_policy": ["not_larger"],
        "approximate": ["tanh"],
        "perm": [[0, 3, 1, 2], [0, 1, 3, 2]],
        "pads": [[1, 1, 1, 1]],
        "axes": [[2, 3]],
        "kernel_shape": [[3, 3], [1, 1]],
        "output_shape": [[9, 9]],
        "group": [2],
        "epsilon": [0.5],
        "output_dtype": [onnx.TensorProto.FLOAT16, onnx.TensorProto.UINT8],
    }
    if name in given:
        return given[name]
    return {
        kinds.INT: [1, 0, 2, -1],
        kinds.FLOAT: [0.25, 1.5],
        kinds.INTS: [[2, 2], [1, 2], [0, 1]],
        kinds.STRING: ["other"],
    }[attribute.type]


@pytest.mark.parametrize("op", supported())
def test_every_attribute_is_read_or_refused(op):
    """Set to other values, an attribute changes the result as ONNX's evaluator says, or is refused."""
    schema = defs.get_schema(op, defs.onnx_opset_version() - 1, "")
    image = np.random.default_rng(1).normal(size=EXTENTS).astype(np.float32)
    for name, attribute in schema.attributes.items():
        for value in another(name, attribute):
            net, node = small_net(op)
            kept = [entry for entry in node.attribute if entry.name != name]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute(name, value)])
            model = net.model(*([node.output[0]] if op == "Split" else []))
            try:
                graph = import_model(model, "net", "net")
            except ModelError:
                continue
            try:
                wanted = ReferenceEvaluator(model).run(None, {"input": image})[0]
            except (ValueError, RuntimeError, TypeError, IndexError, NotImplementedError):
                continue  # no value that the standard allows here
            found = execute(graph, {"input": image})[graph.outputs[0]]
            loose = 2e-3 if op == "Gelu" else 0.06 if op.endswith("uantizeLinear") else 1e-4
            assert found.shape == wanted.shape, (name, value)
            np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=loose, err_msg=f"{op} {name}={value}")


@pytest.mark.parametrize("op", supported())
def test_every_operator_of_the_table_is_taken_somewhere(op):
    """The nets of the test above are taken as they are, but for what is only a part of an activation."""
    net, node = small_net(op)
    model = net.model(*([node.output[0]] if op == "Split" else []))
    if OPERATORS[op].part.startswith("as part") and op not in ("Pow", "Exp", "Log", "Where"):
        with pytest.raises(ModelError, match="no counterpart between layers"):
            import_model(model, "net", "net")
    else:
        import_model(model, "net", "net")
