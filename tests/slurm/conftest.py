"""One Slurm for all tests of this folder."""

import tempfile
from pathlib import Path

import pytest

from slurm.cluster import SlurmCluster


@pytest.fixture(scope="session")
def slurm():
    """Four nodes, ended with all their jobs after the last test."""
    with tempfile.TemporaryDirectory(prefix="vtaslurm") as folder, SlurmCluster(Path(folder)) as cluster:
        yield cluster
