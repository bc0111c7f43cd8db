"""What processors do instead of VTA, by name and with the reason, known before a run starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mpi_vta.codegen.program import Program
from mpi_vta.frontend.models import CLASSIFY, DETECT
from mpi_vta.job.ready_model import ReadyModel


@dataclass(frozen=True)
class HostWork:
    """One piece of work on a processor.

    Attributes
    ----------
    name, op : str
        The value or node, and what is done.
    why : str
        Why not on VTA.
    timed : bool
        Whether the modelled times contain it.
    """

    name: str
    op: str
    why: str
    timed: bool


def host_work(model: ReadyModel, programs: Mapping[tuple[int, int], Program]) -> tuple[HostWork, ...]:
    """Return everything that runs on a processor, in the order of the data's way.

    Parameters
    ----------
    model : ReadyModel
        Says what is left after the last layer.
    programs : mapping of (stage, rank) to Program
        Say what a board's processor gathers.
    """
    (image,) = model.graph.inputs
    work = [HostWork(image, "quantise", "floats become int8 once, at rank 0, before the clock starts", False)]
    work += _before_launch(model, programs)
    work += [HostWork(name, op, why, False) for name, op, why in model.quantized.host_ops]
    if model.task == DETECT:
        work.append(HostWork("boxes", "decode, suppress overlaps", "exponentials and sorting are not VTA's", False))
    if model.task == CLASSIFY:
        work.append(HostWork("classes", "softmax, sort", "exponentials and sorting are not VTA's", False))
    return tuple(work)


def _before_launch(model: ReadyModel, programs: Mapping[tuple[int, int], Program]) -> list[HostWork]:
    found: dict[tuple[str, str], HostWork] = {}
    for program in programs.values():
        gathered = {step.result: step for step in program.host_steps}
        for binding in program.inputs:
            if binding.value in gathered:
                step = gathered[binding.value]
                why = f"as it is, it would use {step.source_shape[1]} of the GEMM core's {program.config.block} lanes"
                work = HostWork(step.source, "gather patches and pack", why, True)
            elif binding.value in model.graph.inputs:
                work = HostWork(binding.value, "pack", "VTA reads blocks of channels, an image comes as planes", True)
            else:
                continue
            found.setdefault((work.name, work.op), work)
    return list(found.values())
