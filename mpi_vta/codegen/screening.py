"""A quick guess of a model's time on a VTA build, to choose the builds that are worth compiling.

Layer by layer, the larger of the bound (`mpi_vta.codegen.bound`) and of the closed form by which the schedule
search ranks its tilings (`mpi_vta.codegen.space`), whose traffic depends on what the buffers hold. No
instruction is emitted and nothing is simulated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mpi_vta.codegen.bias import plan_bias
from mpi_vta.codegen.bound import layer_bounds
from mpi_vta.codegen.compiler import kernels_of
from mpi_vta.codegen.lowering import check_supported
from mpi_vta.codegen.search import Key, shape_key
from mpi_vta.codegen.space import least_cycles
from mpi_vta.codegen.stem import gather_patches
from mpi_vta.errors import CompileError
from mpi_vta.graph.ir import Graph
from mpi_vta.hw.config import VTAConfig


@dataclass(frozen=True)
class Screened:
    """What the screening says of a build, for one model or a mix of several.

    Attributes
    ----------
    config : VTAConfig
        The build.
    cycles : tuple of float
        One launch of each model, guessed; empty if one of them does not compile.
    reason : str
        Why a model cannot be compiled for this build; empty if all can, as far as the screening sees.
    """

    config: VTAConfig
    cycles: tuple[float, ...]
    reason: str = ""

    def image_ms(self, clock_mhz: float) -> float:
        """Return the time of one image of each model, one after the other; infinite without one of them."""
        return sum(self.cycles) / self.config.batch / clock_mhz / 1000 if self.cycles else float("inf")


def screen(graphs: Sequence[Graph], config: VTAConfig) -> Screened:
    """Return what to expect of a build.

    Parameters
    ----------
    graphs : sequence of Graph
        Int8 graphs: a model, or a mix of models of which as many images each are to run.
    config : VTAConfig
        A legal build.
    """
    cycles = []
    for graph in graphs:
        try:
            cycles.append(_guessed_cycles(graph, config))
        except CompileError as fault:
            return Screened(config, (), f"{graph.name}: {fault}")
    return Screened(config, tuple(cycles))


def screen_all(
    graphs: Sequence[Graph],
    configs: Sequence[VTAConfig],
    clock_mhz: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Screened]:
    """Return every build with its guess, the fastest per image first, those that do not compile last.

    Parameters
    ----------
    graphs : sequence of Graph
        See `screen`.
    configs : sequence of VTAConfig
        Legal builds.
    clock_mhz : float
        Clock of all of them.
    progress : callable
        Told of the builds done, and of all.
    """
    found = []
    for done, config in enumerate(configs):
        progress(done, len(configs))
        found.append(screen(graphs, config))
    return sorted(found, key=lambda one: (one.image_ms(clock_mhz), one.config.name))


def _guessed_cycles(graph: Graph, config: VTAConfig) -> float:
    check_supported(graph, config)
    gathered, _ = gather_patches(graph, config)
    known: dict[Key, float] = {}
    total = 0.0
    for kernel, bound in zip(kernels_of(gathered, config), layer_bounds(graph, config), strict=True):
        bias = plan_bias(kernel, config)
        key = shape_key(kernel, bias, config)
        if key not in known:
            least = least_cycles(kernel, bias, config)
            if least is None:
                raise CompileError("no tiling fits the buffers", where=kernel.name)
            known[key] = least
        total += max(known[key], bound.cycles)
    return total
