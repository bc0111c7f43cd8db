"""How long each resource of a board is busy with every run of consecutive layers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpi_vta.hw.board import Board
from mpi_vta.schedule.problem import Problem
from mpi_vta.schedule.segments import Segments, find_segments

NEVER_NS = np.int64(1) << 60


def all_segment_loads(problem: Problem, *, rank_0_apart: bool = True) -> list[NDArray[np.int64]]:
    """Return `segment_loads` of every rank's board; equal boards share one array.

    Parameters
    ----------
    problem : Problem
        Model, boards and costs.
    rank_0_apart : bool
        Whether rank 0's include what it does as source and sink, and leave out messages to itself.
    """
    segments = find_segments(problem.graph, problem.layout_config)
    known: dict[tuple[Board, bool], NDArray[np.int64]] = {}
    result = []
    for rank, board in enumerate(problem.cluster.boards):
        key = (board, rank == 0 and rank_0_apart)
        if key not in known:
            known[key] = segment_loads(problem, segments, board, on_rank_0=key[1])
        result.append(known[key])
    return result


def segment_loads(problem: Problem, segments: Segments, board: Board, *, on_rank_0: bool) -> NDArray[np.int64]:
    """Return what each run of layers costs a board per image group.

    Layer costs are those of the whole model's program and add up.

    Returns
    -------
    ndarray of int64, shape (4, n + 1, n + 1)
        Nanoseconds of VTA, processor, port out and port in for layers [i, j) at ``[:, i, j]``, in the
        order of `mpi_vta.schedule.predict.RESOURCES`. `NEVER_NS` where i > j; at i = j nothing, or
        what rank 0 does as source and sink.
    """
    cycles = problem.costs.node_cycles(board.config)
    names = tuple(node.name for node in problem.graph.nodes)
    total = np.concatenate([[0], np.cumsum([cycles[name] for name in names])])
    shape = (segments.count + 1, segments.count + 1)
    vta_ns = np.zeros(shape, dtype=np.int64)
    for i, j in zip(*np.triu_indices(segments.count + 1, 1), strict=True):
        vta_ns[i, j] = board.compute_ns(int(total[j] - total[i]))
    gather_ns = board.pack_ns(problem.costs.stage(names, board.config).gathered_bytes)
    cpu_ns = np.where(segments.reads_images, gather_ns, 0)
    out_ns, in_ns = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    network = problem.network
    for tensor in segments.tensors:
        received, sent = tensor.received(on_rank_0=on_rank_0), tensor.sent(on_rank_0=on_rank_0)
        in_ns += received * network.wire_ns(tensor.size_bytes)
        out_ns += sent * network.wire_ns(tensor.size_bytes)
        cpu_ns += (received + sent) * network.host_ns(tensor.size_bytes)
    loads = np.stack([vta_ns, cpu_ns, out_ns, in_ns])
    loads[:, np.tri(*shape, k=-1, dtype=bool)] = NEVER_NS
    return loads
