"""What rank 0 sends arrives as it was."""

import numpy as np
import pytest

from mpi_vta import artifact
from mpi_vta.codegen.program import Binding, Program, Segment
from mpi_vta.errors import ArtifactError
from mpi_vta.hw.cluster import Cluster
from mpi_vta.plans.network import NetworkModel
from mpi_vta.plans.notes import Note
from mpi_vta.plans.plan import SINK, SOURCE, Edge, Plan, Stage
from mpi_vta.runtime.assignment import FORMAT_VERSION, Assignment, RunOptions
from mpi_vta.runtime.rank import RankJob


@pytest.fixture
def assignment():
    cluster = Cluster.default(2)
    board = cluster.boards[0]
    stages, edges = (Stage(0, ("a",), (1,), 5, (7,), (2,)),), (Edge("x", SOURCE, 0, 4),)
    plan = Plan("m", "pipeline", 1, stages, edges, 2, notes=(Note("text", text="a note"),))
    binding = Binding("x", "x", (1, 1, 2, 2), -3, 64)
    empty, segments = np.zeros(0, np.int16), (Segment("x", "input", 64),)
    program = Program("p", board.config, np.zeros((0, 2), np.uint64), empty, empty, segments, (binding,), (), (), {})
    job = RankJob(plan, NetworkModel.of(cluster), board, {0: program}, 6, (3, 4))
    return Assignment(job, RunOptions("timing", "out/x"))


def test_assignment_survives_the_wire(assignment):
    found = Assignment.from_bytes(assignment.to_bytes(), "rank 1")
    assert found.options == assignment.options
    assert found.job.plan == assignment.job.plan
    assert found.job.network == assignment.job.network
    assert found.job.board == assignment.job.board
    assert (found.job.groups, found.job.ranks) == (6, (3, 4))
    assert found.job.programs[0].sha256 == assignment.job.programs[0].sha256
    assert found.job.plan.edges[0].consumer != SINK


def test_damaged_assignment_is_refused(assignment):
    data = bytearray(assignment.to_bytes())
    data[data.index(b'"groups"') + 1] ^= 1
    with pytest.raises(ArtifactError, match="rank 1"):
        Assignment.from_bytes(bytes(data), "rank 1")


def test_assignment_that_is_not_whole_is_refused(assignment):
    header, arrays = artifact.unpack(assignment.to_bytes(), "assignment", FORMAT_VERSION, "here")
    header["board"]["config"]["log_inp_buff_size"] = 20
    data = artifact.pack("assignment", FORMAT_VERSION, header, arrays)
    with pytest.raises(ArtifactError, match=r"rank 1: not a readable assignment \(.*illegal VTA.*; make it again"):
        Assignment.from_bytes(data, "rank 1")
