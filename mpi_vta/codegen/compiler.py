"""From an int8 graph to a program: placement, schedules, emission, encoding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.bias import plan_bias
from mpi_vta.codegen.emitter import Emitter
from mpi_vta.codegen.kernel import Kernel
from mpi_vta.codegen.lowering import check_supported, fuse_pool, lower, pool_to_fuse
from mpi_vta.codegen.memory import SCRATCH, Constants, Lifetime, Place, first_fit, places_of, value_elements
from mpi_vta.codegen.microops import UOP_SEGMENT, place_uops
from mpi_vta.codegen.program import Binding, Layer, Program, Segment
from mpi_vta.codegen.search import choose
from mpi_vta.codegen.stem import gather_patches
from mpi_vta.codegen.stream import Entry, Stream
from mpi_vta.codegen.tiling import Tiling
from mpi_vta.errors import CompileError
from mpi_vta.graph.ir import Graph, Node
from mpi_vta.graph.layout import packed_bytes
from mpi_vta.graph.verify import verify
from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.codec import Instruction, encode

Progress = Callable[[str, int, int], None]
"""Called with (layer name, layers done, layers in all)."""


def compile_graph(
    graph: Graph,
    config: VTAConfig,
    name: str | None = None,
    *,
    schedules: Mapping[str, Tiling] | None = None,
    progress: Progress | None = None,
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
    layout = _lay_out(graph, config)
    stream = Stream(config, layout.tracked_elements)
    constants = Constants(config)
    layers = []
    kernels = _kernels(graph, layout.free, config)
    for index, kernel in enumerate(kernels):
        if progress:
            progress(kernel.name, index, len(kernels))
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


def kernels_of(graph: Graph, config: VTAConfig) -> list[Kernel]:
    """Return what `compile_graph` makes of a graph whose thin inputs are gathered: one kernel a layer."""
    return _kernels(graph, _lay_out(graph, config).free, config)


def _kernels(graph: Graph, free: frozenset[str], config: VTAConfig) -> list[Kernel]:
    """Return the kernels in execution order, poolings fused behind the convolutions that feed them."""
    kernels, fused = [], set()
    for node in graph.nodes:
        if node.name in free or node.name in fused:
            continue
        kernel = lower(graph, node, config)
        pool = pool_to_fuse(graph, node)
        if pool is not None:
            kernel = fuse_pool(kernel, graph, pool)
            fused.add(pool.name)
        kernels.append(kernel)
    return kernels


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


@dataclass(frozen=True)
class Layout:
    """Where every activation lies.

    Attributes
    ----------
    places : mapping of str to Place
        By value name.
    segments : list of Segment
        Activation segments.
    free : frozenset of str
        Concat nodes that need no work: their inputs are written side by side.
    tracked_elements : int
        Size of the tracked DRAM space.
    """

    places: Mapping[str, Place]
    segments: list[Segment]
    free: frozenset[str]
    tracked_elements: int


def _lay_out(graph: Graph, config: VTAConfig) -> Layout:
    free = frozenset(node.name for node in graph.nodes if node.op == "concat" and _side_by_side(graph, node, config))
    home: dict[str, tuple[str, int]] = {}  # value -> (buffer, offset in it)
    for node in reversed(graph.nodes):
        home.setdefault(node.output, (node.output, 0))
        if node.name in free:
            buffer, offset = home[node.output]
            for value in node.inputs:
                home[value] = (buffer, offset)
                offset += value_elements(graph.values[value].shape, config)
    home.update({value: (value, 0) for value in graph.inputs})
    lives = _lifetimes(graph, home, config)
    boundary = [*graph.inputs, *graph.outputs]
    offsets, total = first_fit(life for life in lives.values() if life.name not in boundary)
    segments, bases, base = [], {}, 0
    for value in dict.fromkeys(boundary):
        kind = "input" if value in graph.inputs else "output"
        segments.append(Segment(f"{kind}.{value}", kind, lives[value].elements * config.inp_bytes))
        bases[segments[-1].name] = base
        base += lives[value].elements
    if total:
        segments.append(Segment(SCRATCH, "scratch", total * config.inp_bytes))
        bases[SCRATCH] = base
        base += total
    located = {}
    for value, (buffer, offset) in home.items():
        if buffer in boundary:
            segment = f"{'input' if buffer in graph.inputs else 'output'}.{buffer}"
            located[value] = (segment, offset)
        else:
            located[value] = (SCRATCH, offsets[buffer] + offset)
    shapes = {value: graph.values[value].shape for value in located}
    return Layout(places_of(shapes, located, bases, config), segments, free, base)


def _side_by_side(graph: Graph, node: Node, config: VTAConfig) -> bool:
    """Return whether a concat is free: whole channel blocks, each piece made here and for this concat only."""
    pieces = [graph.values[value].shape[1] for value in node.inputs]
    aligned = all(channels % config.block == 0 for channels in pieces[:-1])
    ours = all(value in graph.producer and value not in graph.outputs for value in node.inputs)
    concats = [reader for value in node.inputs for reader in graph.consumers[value] if reader.op == "concat"]
    return aligned and ours and len(set(node.inputs)) == len(node.inputs) and len(concats) == len(node.inputs)


def _lifetimes(graph: Graph, home: Mapping[str, tuple[str, int]], config: VTAConfig) -> dict[str, Lifetime]:
    made = {value: -1 for value in graph.inputs} | {node.output: i for i, node in enumerate(graph.nodes)}
    read = {value: made[value] for value in made}
    for index, node in enumerate(graph.nodes):
        for value in node.inputs:
            read[value] = index
    lives: dict[str, Lifetime] = {}
    for value, (buffer, _) in home.items():
        size = value_elements(graph.values[buffer].shape, config)
        life = lives.get(buffer, Lifetime(buffer, size, made[value], read[value]))
        lives[buffer] = replace(life, first=min(life.first, made[value]), last=max(life.last, read[value]))
    return lives
