"""The VTA builds of a study: the boards' own, those named, and those enumerated for a part."""

from __future__ import annotations

from mpi_vta.study.experiment import Experiment
from mpi_vta.study.points import Build


def builds_of(experiment: Experiment) -> tuple[Build | None, ...]:
    """Return the builds to combine with everything else; None stands for the boards' own."""
    if not experiment.configs:
        return (None,)
    return tuple(Build(config) for config in experiment.configs)
