"""What a compiled model costs, layer by layer, beside what it cannot avoid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mpi_vta.codegen.bound import Bound, layer_bounds
from mpi_vta.codegen.program import Program
from mpi_vta.graph.ir import Graph


@dataclass(frozen=True)
class LayerReport:
    """One layer of a compiled model; all cycles are modelled (profile ``rtl`` unless stated).

    Attributes
    ----------
    name, op, schedule : str
        Node name, operators fused into the layer, chosen schedule.
    input_shapes, output_shape : tuples of int
        (1, C, H, W).
    gemm_uops, alu_uops : int
        Micro-ops executed.
    bytes_in, bytes_out : int
        DRAM traffic of the chosen schedule.
    cycles, bound_cycles : int
        Modelled time, and what no schedule can avoid.
    bound_fraction : float
        bound_cycles / cycles.
    bound_by : str
        ``compute``, ``read`` or ``write``.
    """

    name: str
    op: str
    schedule: str
    input_shapes: tuple[tuple[int, ...], ...]
    output_shape: tuple[int, ...]
    gemm_uops: int
    alu_uops: int
    bytes_in: int
    bytes_out: int
    cycles: int
    bound_cycles: int
    bound_fraction: float
    bound_by: str


@dataclass(frozen=True)
class ModelReport:
    """A compiled model: totals and layers."""

    model: str
    config: str
    profile: str
    clock_mhz: float
    total_cycles: int
    bound_cycles: int
    bound_fraction: float
    total_ms: float
    layers: tuple[LayerReport, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able data."""
        return asdict(self)


def model_report(graph: Graph, program: Program, cycles: Sequence[int], profile: str, clock_mhz: float) -> ModelReport:
    """Put a program's layers beside their bounds.

    Parameters
    ----------
    graph : Graph
        The int8 graph that was compiled.
    program : Program
        The result.
    cycles : sequence of int
        Modelled cycles of each of the program's layers.
    profile : str
        Timing profile of those cycles.
    clock_mhz : float
        Clock that turns cycles into milliseconds.
    """
    nodes = {node.name: node for node in graph.nodes}
    layers = []
    for layer, spent, bound in zip(program.layers, cycles, layer_bounds(graph, program.config), strict=True):
        last = nodes[layer.name]
        for _ in layer.op.split("+")[1:]:  # the pooling fused behind it
            last = graph.consumers[last.output][0]
        layers.append(
            LayerReport(
                layer.name,
                layer.op,
                layer.schedule,
                tuple(graph.values[value].shape for value in nodes[layer.name].inputs),
                graph.values[last.output].shape,
                layer.gemm_uops,
                layer.alu_uops,
                layer.load_bytes,
                layer.store_bytes,
                int(spent),
                bound.cycles,
                bound.cycles / max(1, int(spent)),
                _bound_by(bound),
            )
        )
    total, least = sum(layer.cycles for layer in layers), sum(layer.bound_cycles for layer in layers)
    return ModelReport(
        graph.name,
        program.config.name,
        profile,
        clock_mhz,
        total,
        least,
        least / max(1, total),
        total / clock_mhz / 1000,
        tuple(layers),
    )


def _bound_by(bound: Bound) -> str:
    parts = {"compute": bound.compute_cycles, "read": bound.read_cycles, "write": bound.write_cycles}
    return max(parts, key=lambda name: parts[name])
