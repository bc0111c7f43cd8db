"""The digits model, imported once for the tests of this folder."""

import pytest

from mpi_vta.job.ready_model import ready_model


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def digits(cache_folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPI_VTA_CACHE", str(cache_folder))
        return ready_model("digits", seed=0, weights=None)


@pytest.fixture
def shared_cache(cache_folder, digits, monkeypatch):
    monkeypatch.setenv("MPI_VTA_CACHE", str(cache_folder))
