"""What ranks say of themselves first, and that ranks of other sources end the job."""

import json
from dataclasses import replace

import numpy as np
import pytest

import mpi_vta
from mpi_vta.errors import LaunchError
from mpi_vta.runtime import introduction
from mpi_vta.runtime.faults.process import Neighbour, ProcessId
from mpi_vta.runtime.introduction import (
    FRAME_BYTES,
    IntroductionError,
    RankStatement,
    difference,
    introduce,
    own_facts,
)
from mpi_vta.runtime.transport.local import LocalTransport, LocalWorld, run_ranks

SIZES = (1, 2, 5)


def statement(host, **facts):
    return RankStatement({**own_facts(), **facts}, ProcessId(host, "space", 12, 34))


def test_statement_names_release_sources_isa_and_formats():
    facts = RankStatement.own().facts
    assert facts["mpi_vta"] == mpi_vta.__version__
    assert [len(facts[name]) for name in ("sources", "ISA")] == [64, 64]
    assert facts["formats"].startswith("plan ")


def test_hash_of_sources_changes_with_one_byte_and_with_a_name(tmp_path, monkeypatch):
    monkeypatch.setattr(introduction.mpi_vta, "__file__", str(tmp_path / "__init__.py"))
    (tmp_path / "isa").mkdir()
    found = []
    for path, text in (("a.py", "x = 1"), ("a.py", "x = 2"), ("isa/b.py", "x = 2")):
        (tmp_path / path).write_text(text)
        own_facts.cache_clear()
        found.append(own_facts())
    own_facts.cache_clear()
    assert len({facts["sources"] for facts in found}) == 3
    assert len({facts["ISA"] for facts in found}) == 2


@pytest.mark.parametrize("version", ["0.1.0", "12.34.56.dev7+" + "x" * 200])
def test_frame_has_one_size_whatever_it_says(version):
    said = statement("node1", mpi_vta=version)
    frame = said.to_frame()
    assert frame.shape == (FRAME_BYTES,) == (2048,)
    assert RankStatement.from_frame(frame) == said


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"[]", b"{}", b'{"facts": 3, "host": "x"}', json.dumps({"facts": {"mpi_vta": "9"}}).encode()],
)
def test_what_cannot_be_understood_is_another_release(content):
    frame = np.frombuffer(content.ljust(FRAME_BYTES, b"\0"), np.uint8)
    assert "of an unknown release" in difference([RankStatement.own(), RankStatement.from_frame(frame)])


def test_release_that_says_more_of_its_process_is_named():
    text = json.dumps({"facts": {"mpi_vta": "9.0", "sources": "f" * 64}, "host": "node3", "process": {"new": 1}})
    said = RankStatement.from_frame(np.frombuffer(text.encode().ljust(FRAME_BYTES), np.uint8))
    assert "mpi_vta 9.0, sources ffffffffffff on node3 (rank 1)" in difference([RankStatement.own(), said])


def test_difference_names_what_differs_and_the_hosts_of_each():
    assert difference([statement("a"), statement("b")]) == ""
    sources = own_facts()["sources"][:12]
    text = difference([statement("a"), statement("b", sources="0" * 64), statement("a"), statement("c")])
    here = f"mpi_vta {mpi_vta.__version__}, sources"
    assert text == f"sources differ: {here} {sources} on a (rank 0, 2), c (rank 3); {here} 000000000000 on b (rank 1)"


def test_difference_over_many_hosts_stays_a_line():
    text = difference([statement("a", mpi_vta="1"), *(statement(f"n{host:02}") for host in range(1, 40))])
    assert text.startswith("mpi_vta differ: ")
    assert text.endswith("on n01 (rank 1), n02 (rank 2), n03 (rank 3), n04 (rank 4) and 35 more")


@pytest.mark.parametrize("size", SIZES)
def test_every_rank_hears_of_rank_0_and_rank_0_of_all(size):
    own = RankStatement.own()
    heard = run_ranks(size, lambda transport: introduce(transport, own))
    assert heard == [(own,) * size, *[(own,)] * (size - 1)]


@pytest.mark.parametrize("other", [0, 1, 4])
def test_every_rank_leaves_if_one_runs_something_else(other):
    def attempt(transport):
        changed = {"sources": "0" * 64} if transport.rank == other else {}
        with pytest.raises(IntroductionError, match=r"sources differ: .*000000000000 on node"):
            introduce(transport, statement(f"node{transport.rank}", **changed))

    run_ranks(5, attempt)


@pytest.mark.parametrize("rank", [0, 1])
def test_rank_that_says_nothing_is_waited_for_until_the_limit(monkeypatch, rank):
    monkeypatch.setattr(introduction, "LONGEST_WAIT_S", 0.0)
    with pytest.raises(LaunchError, match=rf"nothing heard from rank {1 - rank} for 0 s, since MPI began; .* sources"):
        introduce(LocalTransport(LocalWorld(2), rank), RankStatement.own())


def test_only_a_process_that_is_seen_from_here_is_a_neighbour():
    own = ProcessId.own()
    assert Neighbour.find(own) is not None
    for other in (replace(own, space="another host"), replace(own, start_ticks=1), replace(own, space="")):
        assert Neighbour.find(other) is None
