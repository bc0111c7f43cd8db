"""Screenings are kept: the same answer again, made once."""

from math import inf

import pytest

from mpi_vta.codegen.screening import Screened
from mpi_vta.errors import InputError
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import find
from mpi_vta.study import screenings
from mpi_vta.study.screenings import screened_builds

CONFIGS = [VTAConfig.load(find("vta_configs", name, ".json")) for name in ("pynq_1x16", "pynq_4x8")]


class Net:
    sha256 = "net"


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Return the graphs that were screened, with a cache folder of the test's own."""
    graphs = []

    def screen_all(graph, configs, progress):
        graphs.append(graph)
        return [Screened(configs[0], 12.5), Screened(configs[1], inf, "no room")]

    monkeypatch.setattr(screenings, "screen_all", screen_all)
    monkeypatch.setenv("MPI_VTA_CACHE", str(tmp_path / "cache"))
    return graphs


def test_second_time_nothing_is_screened(asked):
    first, second = (screened_builds(Net, CONFIGS, None) for _ in range(2))
    assert first == second
    assert (second[CONFIGS[0]].cycles, second[CONFIGS[1]].cycles, second[CONFIGS[1]].reason) == (12.5, inf, "no room")
    assert len(asked) == 1


def test_other_builds_are_screened_anew(asked):
    screened_builds(Net, CONFIGS, None)
    screened_builds(Net, CONFIGS[::-1], None)
    assert len(asked) == 2


def test_damaged_file_is_made_anew(asked, tmp_path):
    screened_builds(Net, CONFIGS, None)
    (path,) = (tmp_path / "cache").rglob("*.screening")
    path.write_bytes(path.read_bytes()[:-3])
    assert screened_builds(Net, CONFIGS, None)[CONFIGS[0]].cycles == 12.5
    assert len(asked) == 2


def test_cache_that_cannot_be_written(asked, tmp_path):
    (tmp_path / "cache").touch()
    with pytest.raises(InputError, match=r"cache: the program cache cannot be used \(.*; set MPI_VTA_CACHE"):
        screened_builds(Net, CONFIGS, None)
