"""What a rank is at, in memory that another process can read once the rank is gone."""

from __future__ import annotations

import json
import mmap
import socket
import struct
from collections.abc import Sequence

from mpi_vta.runtime.faults.rank_position import NOTHING, RankPosition

RANK_STATE_BYTES = 1 << 20
_STATE = struct.Struct("<iiI")
# the last byte: whether MPI has begun
_BEGUN = RANK_STATE_BYTES - 1


class RankState:
    """What a rank is at, in memory that its guardian reads once the rank is gone.

    Parameters
    ----------
    memory : int
        File descriptor of `RANK_STATE_BYTES` of shared memory, zero at first.
    """

    def __init__(self, memory: int) -> None:
        self._map = mmap.mmap(memory, RANK_STATE_BYTES)

    def begin(self) -> None:
        """Note that MPI has begun: every rank is there."""
        self._map[_BEGUN] = 1

    @property
    def mpi_has_begun(self) -> bool:
        """Whether that was noted."""
        return bool(self._map[_BEGUN])

    def describe(self, host: str, board: str, edges: Sequence[str], hint: str) -> None:
        """Note who the rank is and what its edges are called; it has had to do with none yet."""
        text = json.dumps({"host": host, "board": board, "edges": list(edges), "hint": hint}).encode()
        if len(text) > _BEGUN - _STATE.size:
            # a plan of tens of thousands of edges: the line goes without the name of the last one
            text = json.dumps({"host": host, "board": board, "edges": [], "hint": hint}).encode()
        self._map[_STATE.size : _STATE.size + len(text)] = text
        _STATE.pack_into(self._map, 0, NOTHING, NOTHING, len(text))

    def note(self, edge: int, image: int) -> None:
        """Note number of the last edge and first image of the last group, `NOTHING` for none yet."""
        struct.pack_into("<ii", self._map, 0, edge, image)

    def position(self, rank: int) -> RankPosition:
        """Return what was noted last."""
        edge, image, length = _STATE.unpack_from(self._map, 0)
        if not length:
            return RankPosition(rank, socket.gethostname())
        about = json.loads(self._map[_STATE.size : _STATE.size + length])
        edges = about["edges"]
        name = edges[edge] if 0 <= edge < len(edges) else ""
        return RankPosition(rank, about["host"], about["board"], name, image, about["hint"])
