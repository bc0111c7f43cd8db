"""How long each resource of a board is busy with every possible stage, and the boards by type."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpi_vta.hw.board import Board
from mpi_vta.schedule.division.fluid_model import NEVER_NS, BoardType
from mpi_vta.schedule.problem import Problem
from mpi_vta.schedule.segments import Segments, find_segments


def board_types(problem: Problem) -> tuple[BoardType, ...]:
    """Return the boards by type; rank 0, being source and sink as well, is a type of its own.

    If it is a stage by itself, what it exchanges with itself as source and sink costs nothing. If it shares
    a stage with others, its duties are taken in full, as if all messages of source and sink left it.
    """
    segments = find_segments(problem.graph, problem.layout_config, problem.cuts)
    alike: dict[tuple[Board, bool], list[int]] = {}
    for rank, board in enumerate(problem.cluster.boards):
        alike.setdefault((board, rank == 0), []).append(rank)
    bytes_in = segments.bytes_in(on_rank_0=False)
    types = []
    for (board, is_rank_0), ranks in alike.items():
        load_ns = segment_loads(problem, segments, board, on_rank_0=False)
        if not is_rank_0:
            types.append(BoardType(tuple(ranks), load_ns, bytes_in=bytes_in))
            continue
        alone_ns = segment_loads(problem, segments, board, on_rank_0=True)
        duties = alone_ns[:, 0, 0] if problem.ranks > 1 else np.zeros(4, dtype=np.int64)
        received = segments.bytes_in(on_rank_0=True)
        types.append(
            BoardType(
                (0,), load_ns, duties, alone_ns.max(axis=0), int(duties.max()), bytes_in, received - received[0, 0]
            )
        )
    return tuple(types)


def segment_loads(problem: Problem, segments: Segments, board: Board, *, on_rank_0: bool) -> NDArray[np.int64]:
    """Return what each possible stage costs a board per image group.

    Layer costs are those of the whole model's program and add up.

    Returns
    -------
    ndarray of int64, shape (4, k, k)
        Nanoseconds of VTA, processor, port out and port in for layers [i, j) at ``[:, i, j]``, in the
        order of `mpi_vta.plans.resources.RESOURCES`; at i = j nothing, or what rank 0 does as source
        and sink. `NEVER_NS` where there is no such stage, or where it does not fit the board's memory.
    """
    cycles = problem.costs.node_cycles(board.config)
    per_unit = np.array([sum(cycles[name] for name in unit) for unit in problem.cuts.units], dtype=np.int64)
    total = problem.cuts.contains @ per_unit
    possible = problem.cuts.nested & (segments.least_memory_bytes <= board.memory_bytes)
    vta_ns = np.zeros(segments.shape, dtype=np.int64)
    for i, j in np.argwhere(possible):
        if i < j:
            vta_ns[i, j] = board.compute_ns(int(total[j] - total[i]))
            possible[i, j] = (frozenset(problem.cuts.between(i, j)), board) not in problem.ruled_out
    names = tuple(node.name for node in problem.graph.nodes)
    gather_ns = board.pack_ns(problem.costs.stage(names, board.config).gathered_bytes)
    cpu_ns = np.where(segments.reads_images, gather_ns, 0)
    out_ns, in_ns = np.zeros(segments.shape, dtype=np.int64), np.zeros(segments.shape, dtype=np.int64)
    network = problem.network
    for tensor in segments.tensors:
        received, sent = tensor.received(on_rank_0=on_rank_0), tensor.sent(on_rank_0=on_rank_0)
        in_ns += received * network.wire_ns(tensor.size_bytes)
        out_ns += sent * network.wire_ns(tensor.size_bytes)
        cpu_ns += (received + sent) * network.host_ns(tensor.size_bytes)
    loads = np.stack([vta_ns, cpu_ns, out_ns, in_ns])
    loads[:, ~possible] = NEVER_NS
    return loads
