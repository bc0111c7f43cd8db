"""Groups, shifts per channel, transposed convolutions: the micro-ops they take, and that they are exact."""

from __future__ import annotations

import numpy as np
import pytest
from graph_strategies import GraphBuilder
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import configs

from codegen.execution import config_named, random_inputs, run_program
from mpi_vta.codegen.bound import layer_bounds
from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.codegen.kernel_list import kernels_of
from mpi_vta.codegen.stem import gather_patches
from mpi_vta.graph.ir import Graph
from mpi_vta.graph.reference import execute
from mpi_vta.hw.config import VTAConfig
from mpi_vta.simulator.timing import simulate

PLAIN = {"strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1), "groups": 1, "residual_shift": 0, "leaky": None}
RELU = {"shift": 9, "lo": 0, "hi": 127}


class Net(GraphBuilder):
    """Adds convolutions by their sizes."""

    def __init__(self, *shape: int) -> None:
        super().__init__("int8", np.random.default_rng(0))
        self.source = self.input((1, *shape), -4)

    def conv(self, source: str, outputs: int, kernel: int = 1, groups: int = 1, **changes) -> str:
        """Add a convolution; `changes` are attributes, ``shifts`` (channel shifts) or ``residual`` (a value)."""
        inputs = self.values[source].shape[1]
        params = {"weight": self.int8_weights((outputs, inputs // groups, kernel, kernel))}
        params["bias"] = self.rng.integers(-5000, 5000, outputs, dtype=np.int32)
        if "shifts" in changes:
            params["channel_shift"] = np.resize(np.array(changes.pop("shifts"), np.int8), outputs)
        names = (source, changes.pop("residual")) if "residual" in changes else (source,)
        attrs = PLAIN | {"pads": (kernel // 2,) * 4, "groups": groups} | RELU | changes
        return self.add("conv2d", names, attrs, params, -4)


def layer(graph: Graph, config: VTAConfig):
    """Compile a graph of one layer; return the layer, its modelled cycles and its bound."""
    program = compile_graph(graph, config)
    (bound,), (only,) = layer_bounds(graph, config), program.layers
    return only, simulate(config, program.link(program.default_bases)).cycles, bound


def assert_exact(graph: Graph, config: VTAConfig, seed: int = 0) -> None:
    inputs = random_inputs(graph, config.batch, seed)
    outputs = run_program(compile_graph(graph, config), inputs, config.batch)
    for name, array in execute(graph, inputs).items():
        np.testing.assert_array_equal(outputs[name], array)


def depthwise(channels: int, size: int, stride: int, **changes) -> Graph:
    net = Net(channels, size, size)
    net.conv(net.source, channels, 3, channels, strides=(stride, stride), **changes)
    return net.build()


@pytest.mark.parametrize("name", ["pynq_1x16", "ultra96_1x16"])
@pytest.mark.parametrize(("channels", "size", "stride"), [(32, 56, 1), (256, 28, 2), (512, 14, 2), (1024, 7, 1)])
def test_a_depthwise_layer_reaches_most_of_its_bound(name: str, channels: int, size: int, stride: int) -> None:
    found, cycles, bound = layer(depthwise(channels, size, stride), config_named(name))
    vectors = channels // 16 * (size // stride) ** 2
    assert found.gemm_uops == vectors * (9 + 1 + 1)  # a micro-op per tap, reset and bias
    assert bound.compute_cycles == vectors * (9 + 1 + 1 + 3)  # shift and two clips
    assert 0.8 < bound.cycles / cycles <= 1


@pytest.mark.parametrize(
    ("inputs", "outputs", "groups", "products"),
    [
        (64, 64, 64, 4),  # a diagonal block each
        (64, 64, 16, 4),  # four groups of four channels in a block
        (64, 128, 2, 2 * 4 * 2),  # whole blocks: a group reads its own
        (32, 64, 32, 4),  # two outputs a channel
        (48, 48, 2, 2 + 3 + 2),  # groups of 24: the middle block takes from both
        (80, 80, 80, 5),
        (12, 12, 3, 1),
    ],
)
def test_groups_multiply_by_the_blocks_that_they_touch(inputs: int, outputs: int, groups: int, products: int) -> None:
    net = Net(inputs, 6, 6)
    net.conv(net.source, outputs, 3, groups)
    graph, config = net.build(), config_named("pynq_1x16")
    (bound,) = layer_bounds(graph, config)
    found, _, _ = layer(graph, config)
    blocks = -(-outputs // 16)
    taken = {products * 36 * 9 + blocks * 36, products * 36 * 9 + 2 * blocks * 36}  # reset; the bias by GEMM or ALU
    assert found.gemm_uops in taken
    assert bound.compute_cycles == products * 36 * 9 + blocks * 36 * (1 + 1 + 3)
    assert_exact(graph, config)


def test_a_channel_shift_joins_the_shift_behind_it() -> None:
    config = config_named("pynq_1x16")
    plain, *_ = layer(depthwise(32, 14, 1, hi=4), config)
    joined, *_ = layer(depthwise(32, 14, 1, hi=4, shifts=(0, 1, 2)), config)
    alike, *_ = layer(depthwise(32, 14, 1, hi=4, shifts=(1,)), config)
    apart, *_ = layer(depthwise(32, 14, 1, hi=4, shifts=(0, 11)), config)
    vectors = 2 * 14 * 14
    assert joined.alu_uops == alike.alu_uops == plain.alu_uops  # one pass; by a register it takes two cycles
    # two passes, and a bias with a rounding so large that the ALU adds it
    assert apart.alu_uops == plain.alu_uops + 2 * vectors
    kernels = [
        kernels_of(depthwise(32, 14, 1, hi=4, shifts=shifts), config)[0] for shifts in ((0, 1, 2), (1,), (0, 11))
    ]
    assert [kernel.channel_shift is None for kernel in kernels] == [False, True, False]
    assert [kernel.epilogue.shift for kernel in kernels] == [0, 10, 5]


def test_a_residual_comes_behind_the_channel_shifts() -> None:
    for name in ("pynq_1x16", "pynq_4x8"):
        net = Net(40, 5, 7)
        net.conv(net.source, 40, 3, shifts=range(14), residual=net.source, residual_shift=6, shift=2, lo=-128)
        assert_exact(net.build(), config_named(name))


def test_a_bias_that_wraps_is_rounded_behind_the_channel_shifts() -> None:
    net = Net(16, 3, 3)
    net.conv(net.source, 16, shifts=(15, 3), shift=12)
    graph = net.build()
    graph.constants["conv2d_0.bias"][:] = 2**31 - 1
    assert_exact(graph, config_named("pynq_1x16"))


def test_a_pooling_is_fused_behind_a_depthwise_layer_but_not_behind_a_late_residual() -> None:
    pool = {"kernel": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}
    for residual, layers in (False, ["conv2d+max_pool2d"]), (True, ["conv2d", "max_pool2d"]):
        net = Net(40, 9, 9)
        more = {"residual": net.source} if residual else {}
        wide = net.conv(net.source, 40, 3, 40, shifts=(1, 2), **more)
        net.add("max_pool2d", (wide,), pool, scale_log2=-4)
        graph, config = net.build(), config_named("pynq_1x16")
        assert [found.op for found in compile_graph(graph, config).layers] == layers
        assert_exact(graph, config)


@pytest.mark.parametrize(("kernel", "stride", "taken"), [(4, 2, 4), (2, 2, 1), (3, 2, 9 / 4), (6, 3, 4)])
def test_a_transposed_convolution_multiplies_no_zeros(kernel: int, stride: int, taken: float) -> None:
    net = Net(16, 12, 12)
    wide = net.add("spread2d", (net.source,), {"scales": (stride, stride)}, scale_log2=-4)
    before = (kernel - 1, kernel - 1, kernel - 1 + stride - kernel % stride, kernel - 1 + stride - kernel % stride)
    net.conv(wide, 16, kernel, pads=before)
    graph, config = net.build(), config_named("pynq_1x16")
    found, cycles, bound = layer(graph, config)
    pixels = graph.values[graph.outputs[0]].shape[2] ** 2
    full = -(-pixels // stride**2) * stride**2
    assert found.op == "conv2d"
    assert abs(found.gemm_uops / pixels - (taken + 2)) < 0.25 * taken * (full / pixels)
    assert 0.7 < bound.cycles / cycles <= 1
    assert_exact(graph, config)


def test_a_spread_map_that_others_read_is_made() -> None:
    net = Net(16, 5, 5)
    wide = net.add("spread2d", (net.source,), {"scales": (2, 3)}, scale_log2=-4)
    net.conv(wide, 16, 3)
    net.add("max_pool2d", (wide,), {"kernel": (2, 2), "strides": (1, 1), "pads": (0,) * 4}, scale_log2=-4)
    graph, config = net.build(), config_named("pynq_1x16")
    assert [found.op for found in compile_graph(graph, config).layers] == ["spread2d", "conv2d", "max_pool2d"]
    assert_exact(graph, config)


def test_wide_padding_needs_no_padded_load() -> None:
    net = Net(16, 2, 3)
    net.add("pad2d", (net.source,), {"pads": (40, 30, 0, 20)}, scale_log2=-4)
    assert_exact(net.build(), config_named("pynq_1x16"))


def test_thin_groups_are_gathered_by_the_host() -> None:
    net = Net(3, 16, 16)
    net.conv(net.source, 6, 3, 3, strides=(2, 2))
    graph, config = net.build(), config_named("pynq_1x16")
    gathered, steps = gather_patches(graph, config)
    assert [step.source for step in steps] == [graph.inputs[0]]
    assert gathered.nodes[0].attrs["groups"] == 1
    program = compile_graph(graph, config)
    assert len(program.layers) == 1
    inputs = random_inputs(graph, 1, 0)
    outputs = run_program(program, inputs, 1)
    np.testing.assert_array_equal(outputs["conv2d_0:0"], execute(graph, inputs)["conv2d_0:0"])


def inverted_residuals() -> Graph:
    """Two blocks as in MobileNet v2, the second with a residual, and two squeezed branches joined."""
    net = Net(24, 12, 12)
    value = net.source
    for stride, residual in ((2, False), (1, True)):
        wide = net.conv(value, 72, shifts=range(4))
        deep = net.conv(wide, 72, 3, 72, strides=(stride, stride), shifts=range(3))
        value = net.conv(deep, 24, lo=-128, **({"residual": value} if residual else {}))
    squeezed = net.conv(value, 16)
    net.add("concat", (net.conv(squeezed, 32), net.conv(squeezed, 32, 3)), scale_log2=-4)
    return net.build()


@pytest.mark.parametrize("name", ["pynq_1x16", "pynq_1x32", "pynq_2x16", "pynq_4x8", "ultra96_1x16"])
def test_a_small_mobilenet_is_exact(name: str) -> None:
    graph = inverted_residuals()
    config = config_named(name)
    assert_exact(graph, config)
    joined = [found for found in compile_graph(graph, config).layers if found.op == "concat"]
    assert not joined  # whole blocks side by side


@settings(deadline=None, max_examples=8)
@given(configs(), st.integers(1, 3), st.sampled_from([1, 2]), st.booleans())
def test_a_depthwise_layer_is_exact_on_any_build_that_holds_it(
    config: VTAConfig, kernel: int, stride: int, shifted: bool
) -> None:
    net = Net(21, 9, 8)
    more = {"shifts": (0, 4, 2)} if shifted else {}
    net.conv(net.source, 21, kernel, 21, strides=(stride, stride), **more)
    roomy = config.wgt_depth >= 2 * kernel**2 + 64 and config.uop_depth >= 512
    if roomy and min(config.acc_depth, config.inp_depth) >= 256:
        assert_exact(net.build(), config)
