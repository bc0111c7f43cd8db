"""The points of a study evaluated over all ranks: rank 0 has the list, every rank the models and the program cache."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta import artifact
from mpi_vta.command_end import print_error
from mpi_vta.errors import MpiVtaError
from mpi_vta.graph.ir import Graph
from mpi_vta.job.planning import open_costs
from mpi_vta.json_fields import to_json
from mpi_vta.runtime.faults.guardian import WATCHDOG_S
from mpi_vta.runtime.progress import Silent
from mpi_vta.runtime.session import join
from mpi_vta.runtime.transport.protocol import Transport
from mpi_vta.schedule.strategies import AUTO, STRATEGIES
from mpi_vta.study.evaluation import evaluate
from mpi_vta.study.hand_out import hand_out, take_points
from mpi_vta.study.points import Point, PointTable
from mpi_vta.trace.study_rows import PointRow

FORMAT_VERSION = 2
_GO = -1
# Strategies whose plans take longest: begun first, so that no rank is left with them at the end
_SLOW = (AUTO, *(name for name, strategy in STRATEGIES.items() if strategy.splits))


class Sweep:
    """Rank 0's handle on all ranks, given to the command.

    Attributes
    ----------
    ranks : int
        Ranks of the job.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.ranks = transport.size
        self.begun = False

    def run(
        self,
        points: Sequence[Point],
        missing: Sequence[int],
        graphs: Mapping[str, Graph],
        keep: Callable[[int, PointRow], None],
    ) -> None:
        """Evaluate the missing points over all ranks, once.

        Parameters
        ----------
        points : sequence of Point
            The whole study.
        missing : sequence of int
            Those to evaluate.
        graphs : mapping of str to Graph
            The int8 graph of every model.
        keep : callable
            Takes the index of a point and its row as they come.
        """
        self.begun = True
        self._transport.broadcast(json.dumps({"status": _GO}).encode())
        self._transport.broadcast(_pack(points, graphs))
        order = sorted(missing, key=lambda index: (points[index].strategy not in _SLOW, -points[index].boards, index))
        evaluator = _evaluator(points, graphs, self.ranks)
        hand_out(self._transport, order, evaluator, lambda index, row: keep(index, PointRow.of(json.loads(row))))


def over_all_ranks(command: Callable[[Sweep], int]) -> int:
    """Do `command` on rank 0 while the others wait for its sweep; return the exit status of this rank."""
    return join(lambda transport, _: lead(transport, command), lambda transport, _: follow(transport), WATCHDOG_S)


def lead(transport: Transport, command: Callable[[Sweep], int]) -> int:
    """Do rank 0's part: see `over_all_ranks`."""
    sweep = Sweep(transport)
    try:
        status = command(sweep)
    except MpiVtaError as fault:
        if sweep.begun:
            raise
        print_error(fault)
        status = fault.exit_status
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 0
    if not sweep.begun:
        transport.broadcast(json.dumps({"status": status}).encode())
    return status


def follow(transport: Transport) -> int:
    """Do the part of every other rank; return its exit status."""
    status = int(json.loads(transport.broadcast(None))["status"])
    if status != _GO:
        return status
    points, graphs = _unpack(transport.broadcast(None), f"rank {transport.rank}")
    take_points(transport, _evaluator(points, graphs, transport.size))
    return 0


def _evaluator(points: Sequence[Point], graphs: Mapping[str, Graph], ranks: int) -> Callable[[int], bytes]:
    workers = max(1, (os.cpu_count() or 1) // ranks)
    costs = {model: open_costs(graph, Silent(), workers, model) for model, graph in graphs.items()}
    return lambda index: json.dumps(asdict(evaluate(points[index], costs))).encode()


@dataclass(frozen=True)
class _Header:
    models: tuple[str, ...]
    table: PointTable


def _pack(points: Sequence[Point], graphs: Mapping[str, Graph]) -> bytes:
    arrays: dict[str, NDArray[Any]] = {
        f"graph{number}": np.frombuffer(graph.to_bytes(), np.uint8) for number, graph in enumerate(graphs.values())
    }
    return artifact.pack("sweep", FORMAT_VERSION, to_json(_Header(tuple(graphs), PointTable.of(points))), arrays)


def _unpack(data: bytes, where: str) -> tuple[tuple[Point, ...], dict[str, Graph]]:
    header, arrays = artifact.unpack_as(_Header, data, "sweep", FORMAT_VERSION, where)
    graphs = {
        model: Graph.from_bytes(arrays[f"graph{number}"].tobytes(), where) for number, model in enumerate(header.models)
    }
    return header.table.points, graphs
