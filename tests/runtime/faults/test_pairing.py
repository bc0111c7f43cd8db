"""The launcher must be the one of the MPI library in use."""

import pytest

from mpi_vta.errors import LaunchError
from mpi_vta.runtime.faults.pairing import check_pairing, find_launcher


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"PMI_SIZE": "4", "PMI_RANK": "2"}, "PMI_SIZE"),
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2"}, "OMPI_COMM_WORLD_SIZE"),
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2"}, "SLURM_STEP_NUM_TASKS"),
    ],
)
def test_singletons_under_a_foreign_launcher_are_refused(environ, name):
    launcher = find_launcher(environ)
    assert (launcher.size, launcher.rank) == (4, 2)
    check_pairing(environ, 4)
    with pytest.raises(LaunchError, match=f"{name}.* started 4 processes, but MPI sees a world of 1"):
        check_pairing(environ, 1)


def test_no_launcher_is_one_rank():
    assert find_launcher({}) is None
    check_pairing({}, 1)


def test_process_manager_inside_a_slurm_step_has_the_word():
    environ = {"PMI_SIZE": "8", "PMI_RANK": "0", "SLURM_STEP_NUM_TASKS": "2"}
    check_pairing(environ, 8)
