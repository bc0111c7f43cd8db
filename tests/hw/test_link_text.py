"""Link constants written into cluster files: nothing else changes."""

import pytest

from mpi_vta.errors import ConfigError
from mpi_vta.hw.cluster import Cluster, Link
from mpi_vta.hw.link_text import with_link
from mpi_vta.hw.paths import HW_ROOT

LINK = Link(bandwidth_mb_s=88.25, latency_ns=61_000, per_message_ns=21_500, per_byte_ns=0.75)


@pytest.mark.parametrize("path", sorted((HW_ROOT / "clusters").glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_cluster_takes_a_link(path, tmp_path):
    written = tmp_path / path.name
    written.write_text(with_link(path.read_text(), LINK, "here"))
    before, after = Cluster.load(str(path)), Cluster.load(str(written))
    assert (after.link, after.switch_latency_ns) == (LINK, 0)
    assert (after.name, after.boards) == (before.name, before.boards)


def test_comments_stay():
    text = "[link]\nbandwidth_mb_s = 1 # fast\nlatency_ns=2\nper_message_ns = 3\nper_byte_ns = 4\n"
    text += "[switch]\nlatency_ns = 5\n"
    found = with_link(f"# top\n{text}", LINK, "here").splitlines()
    assert found[0] == "# top"
    assert found[2:4] == ["bandwidth_mb_s = 88.25 # fast", "latency_ns=61000"]
    assert found[-1] == "latency_ns = 0"


def test_file_without_the_lines_is_refused():
    with pytest.raises(ConfigError, match=r"here: no line for \[link\] bandwidth_mb_s, .*\[switch\] latency_ns; write"):
        with_link("[link]\n", LINK, "here")
