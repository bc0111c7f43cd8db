"""The Slurm of these tests itself."""

import pytest

pytestmark = pytest.mark.slurm


def test_a_job_runs_on_all_nodes(slurm, tmp_path):
    number = slurm.submit("--nodes=4", "--wrap", "srun --mpi=none printenv SLURMD_NODENAME", folder=tmp_path)
    assert slurm.wait(number, 60).state == "COMPLETED"
    text = (tmp_path / f"slurm-{number}.out").read_text()
    assert sorted(text.split()) == ["n1", "n2", "n3", "n4"]
