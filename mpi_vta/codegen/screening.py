"""A quick guess of a model's time on a VTA build, to choose the builds that are worth compiling.

Layer by layer, the larger of the bound (`mpi_vta.codegen.bound`) and of the closed form by which the schedule
search ranks its tilings (`mpi_vta.codegen.space`), whose traffic depends on what the buffers hold. No
instruction is emitted and nothing is simulated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from mpi_vta.codegen.bias import plan_bias
from mpi_vta.codegen.bound import layer_bounds
from mpi_vta.codegen.kernel_list import kernels_of
from mpi_vta.codegen.lowering import check_supported
from mpi_vta.codegen.search import Key, shape_key
from mpi_vta.codegen.space import least_cycles
from mpi_vta.codegen.stem import gather_patches
from mpi_vta.errors import CompileError
from mpi_vta.graph.ir import Graph
from mpi_vta.hw.config import VTAConfig


@dataclass(frozen=True)
class Screened:
    """What the screening says of a model on a build.

    Attributes
    ----------
    config : VTAConfig
        The build.
    cycles : float
        One launch, guessed; infinite if the model does not compile.
    reason : str
        Why it does not compile; empty if it does, as far as the screening sees.
    """

    config: VTAConfig
    cycles: float
    reason: str = ""

    @property
    def image_cycles(self) -> float:
        """Cycles per image: a launch runs one GEMM batch of images."""
        return self.cycles / self.config.batch


def screen(graph: Graph, config: VTAConfig) -> Screened:
    """Return what to expect of an int8 graph on a legal build."""
    try:
        return Screened(config, _guessed_cycles(graph, config))
    except CompileError as fault:
        return Screened(config, inf, str(fault))


def screen_all(
    graph: Graph,
    configs: Sequence[VTAConfig],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Screened]:
    """Return every build with its guess, the fewest cycles per image first, those that do not compile last.

    Parameters
    ----------
    graph : Graph
        An int8 graph.
    configs : sequence of VTAConfig
        Legal builds.
    progress : callable
        Told of the builds done, and of all.
    """
    found = []
    for done, config in enumerate(configs):
        progress(done, len(configs))
        found.append(screen(graph, config))
    return sorted(found, key=lambda one: (one.image_cycles, one.config.name))


def _guessed_cycles(graph: Graph, config: VTAConfig) -> float:
    check_supported(graph)
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
