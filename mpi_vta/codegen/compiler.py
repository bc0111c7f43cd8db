"""From an int8 graph to a program: placement, schedules, emission, encoding."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.bias import plan_bias
from mpi_vta.codegen.emitter import Emitter
from mpi_vta.codegen.kernel import Kernel
from mpi_vta.codegen.kernel_list import kernels_of
from mpi_vta.codegen.layout import Layout, lay_out
from mpi_vta.codegen.lowering import check_supported
from mpi_vta.codegen.memory import Constants, Place
from mpi_vta.codegen.microops import UOP_SEGMENT, place_uops
from mpi_vta.codegen.operands import add_constants
from mpi_vta.codegen.parallel import Progress, search_all
from mpi_vta.codegen.program import Binding, Layer, Program, Segment
from mpi_vta.codegen.search import choose
from mpi_vta.codegen.stem import gather_patches
from mpi_vta.codegen.stream import Entry, Stream
from mpi_vta.codegen.tiling import Tiling
from mpi_vta.errors import CompileError
from mpi_vta.graph.ir import Graph
from mpi_vta.graph.layout import packed_bytes
from mpi_vta.graph.verify import verify
from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.codec import Instruction, encode


def compile_graph(
    graph: Graph,
    config: VTAConfig,
    name: str | None = None,
    *,
    schedules: Mapping[str, Tiling] | None = None,
    progress: Progress | None = None,
    workers: int = 1,
) -> Program:
    """Compile an int8 graph, or a part of one, for a VTA configuration.

    Parameters
    ----------
    graph : Graph
        Int8 dialect, verified here.
    config : VTAConfig
        The build.
    name : str, optional
        Program name; the graph's by default.
    schedules : mapping of str to Tiling, optional
        Fixed schedules by node name; the others are searched.
    progress : callable, optional
        Told of every layer.
    workers : int
        Processes that search schedules; the program does not depend on it.

    Returns
    -------
    Program
        One launch runs one GEMM batch and equals `mpi_vta.graph.reference` bit for bit.

    Raises
    ------
    CompileError
        If a layer cannot be lowered to this configuration.
    """
    verify(graph)
    if graph.dialect != "int8":
        raise CompileError(f"a {graph.dialect} graph", where=graph.name, allowed="an int8 graph: quantize first")
    check_supported(graph)
    original = graph
    graph, host_steps = gather_patches(graph, config)
    layout = lay_out(graph, config)
    stream = Stream(config, layout.tracked_elements)
    constants = Constants(config)
    layers = []
    kernels = kernels_of(graph, config, layout)
    searched = 0
    if any(kernel.name not in (schedules or {}) for kernel in kernels):
        searched = search_all(graph, kernels, config, workers, progress)
    for index, kernel in enumerate(kernels):
        if progress:
            progress(kernel.name, searched + index, searched + len(kernels))
        stream.layer = index
        layers.append(_emit(kernel, (schedules or {}).get(kernel.name), layout.places, constants, stream))
    stream.layer = -1
    stream.finish()
    entries, uops = place_uops(stream.entries, config)
    data = {**constants.segments(), UOP_SEGMENT: uops}
    segments = [Segment(n, "const", content.size) for n, content in data.items()] + layout.segments
    return Program(
        name or original.name,
        config,
        encode([Instruction(entry.opcode, entry.fields) for entry in entries], config),
        _segment_column(entries, segments),
        np.array([entry.layer for entry in entries], dtype=np.int16),
        tuple(segments),
        tuple(_binding(graph, value, layout, config) for value in graph.inputs),
        tuple(_binding(graph, value, layout, config) for value in graph.outputs),
        tuple(layers),
        data,
        host_steps,
    )


def constants_of(graph: Graph, config: VTAConfig) -> dict[str, NDArray[np.uint8]]:
    """Return the constants of the program that `compile_graph` makes, micro-ops left out, by segment."""
    gathered, _ = gather_patches(graph, config)
    constants = Constants(config)
    for kernel in kernels_of(gathered, config):
        add_constants(kernel, plan_bias(kernel, config), constants)
    return constants.segments()


def _emit(
    kernel: Kernel, tiling: Tiling | None, places: Mapping[str, Place], constants: Constants, stream: Stream
) -> Layer:
    bias = plan_bias(kernel, stream.config)
    chosen = tiling or choose(kernel, bias, stream.config)
    work = Emitter(kernel, chosen, bias, places, constants, stream).run()
    return Layer(kernel.name, kernel.op, str(chosen), work.gemm_uops, work.alu_uops, work.load_bytes, work.store_bytes)


def _segment_column(entries: list[Entry], segments: list[Segment]) -> NDArray[np.int16]:
    number = {segment.name: index for index, segment in enumerate(segments)}
    return np.array([number[entry.segment] if entry.segment else -1 for entry in entries], dtype=np.int16)


def _binding(graph: Graph, value: str, layout: Layout, config: VTAConfig) -> Binding:
    known = graph.values[value]
    if known.scale_log2 is None:
        raise CompileError("an int8 value without a scale", where=value)
    return Binding(
        value, layout.places[value].segment, known.shape, known.scale_log2, packed_bytes(known.shape, config)
    )
