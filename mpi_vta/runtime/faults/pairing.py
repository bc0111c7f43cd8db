"""Is the launcher the one that this MPI library belongs to? If not, every process believes to be alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mpi_vta.errors import LaunchError


@dataclass(frozen=True)
class Launcher:
    """What a launcher told its processes through the environment."""

    name: str
    size: int
    rank: int


# launcher, variable of the world's size, variable of the rank; the process manager's own word comes first,
# as a job step of Slurm may hold another launcher's daemons
_VARIABLES = (
    ("an MPICH-like mpirun (PMI_SIZE)", "PMI_SIZE", "PMI_RANK"),
    ("Open MPI's mpirun (OMPI_COMM_WORLD_SIZE)", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("srun (SLURM_STEP_NUM_TASKS)", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
)


def find_launcher(environ: Mapping[str, str]) -> Launcher | None:
    """Return what the environment says about the launcher, or None outside of one."""
    for name, size_key, rank_key in _VARIABLES:
        size, rank = environ.get(size_key, ""), environ.get(rank_key, "0")
        if size.isdecimal() and rank.isdecimal():
            return Launcher(name, int(size), int(rank))
    return None


def check_pairing(environ: Mapping[str, str], world_size: int) -> None:
    """Compare the launcher's count of processes with the library's.

    Raises
    ------
    LaunchError
        If they differ: the launcher belongs to another MPI than mpi4py.
    """
    launcher = find_launcher(environ)
    if launcher is not None and launcher.size != world_size:
        raise LaunchError(
            f"{launcher.name} started {launcher.size} processes, but MPI sees a world of {world_size}",
            where="MPI",
            remedy="start with the mpirun that lies beside this python (for Slurm: srun --mpi=pmi2)",
        )
