"""Commands under test share one program cache per module, and never the user's."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPI_VTA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
