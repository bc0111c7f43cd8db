"""Simulated boards: a program of random layers gives the reference's bits, its time without data the same."""

import numpy as np
import pytest
from convolutions import conv_attrs

from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.errors import InputError
from mpi_vta.graph.ir import Graph, Node, Value
from mpi_vta.graph.layout import pack_activation, unpack_activation
from mpi_vta.graph.reference import execute
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import find
from mpi_vta.runtime.devices.registry import carries_data, open_device, verifies
from mpi_vta.runtime.stage import BoardStage


def one_conv(channels):
    """A 3x3 convolution over (1, channels, 6, 5)."""
    rng = np.random.default_rng(channels)
    shape = (1, channels, 6, 5)
    attrs = conv_attrs(1, shift=7)
    node = Node("conv", "conv2d", ("x",), "y", attrs, {"weight": "w", "bias": "b"})
    values = {"x": Value("x", shape, "int8", -4), "y": Value("y", (1, 20, 6, 5), "int8", -4)}
    weight = rng.integers(-128, 128, (20, channels, 3, 3), dtype=np.int8)
    constants = {"w": weight, "b": rng.integers(-999, 999, 20, dtype=np.int32)}
    return Graph("one", "int8", ("x",), ("y",), (node,), values, constants)


def images_of(graph, count):
    shape = (count, *graph.values["x"].shape[1:])
    return np.random.default_rng(7).integers(-128, 128, shape, dtype=np.int8)


@pytest.mark.parametrize("build", ["pynq_1x16", "pynq_2x16"])
@pytest.mark.parametrize("channels", [3, 24])
@pytest.mark.parametrize("raw", [True, False])
def test_stage_gives_the_reference_s_bits_whatever_form_its_input_has(build, channels, raw):
    config = VTAConfig.load(find("vta_configs", build, ".json"))
    graph = one_conv(channels)
    images = images_of(graph, config.batch)
    stage = BoardStage(compile_graph(graph, config), open_device("sim"))
    given = images.reshape(-1).view(np.uint8) if raw else pack_activation(images, config)
    for _ in range(2):
        (output,) = stage.run({"x": given}, frozenset({"x"} if raw else ())).values()
        found = unpack_activation(output, graph.values["y"].shape, config)
        assert np.array_equal(found, execute(graph, {"x": images})["y"])


def test_time_without_data_is_the_simulator_s():
    graph = one_conv(24)
    program = compile_graph(graph, VTAConfig.load(find("vta_configs", "pynq_1x16", ".json")))
    timed, simulated = open_device("timing").load(program), open_device("sim").load(program)
    assert timed.cycles == simulated.cycles > 0
    assert timed.run({}) == {}


def test_input_of_a_wrong_size_is_refused():
    program = compile_graph(one_conv(24), VTAConfig.load(find("vta_configs", "pynq_1x16", ".json")))
    with pytest.raises(InputError, match=r"3 bytes for input x; allowed: 960 bytes"):
        open_device("sim").load(program).run({"x": np.zeros(3, np.uint8)})


def test_devices_are_found_by_name():
    for name in ("sim", "timing"):
        assert open_device(name).name == name
    assert [carries_data(name) for name in ("sim", "timing", "pynq")] == [True, False, True]
    # a checksum costs less than 1 % of a job beside simulated launches that compute, and nowhere else
    assert [verifies(name) for name in ("sim", "timing", "pynq")] == [True, False, False]
    with pytest.raises(InputError, match=r"no device named 'abacus'; allowed: sim, .*timing, rtl, pynq"):
        open_device("abacus")
