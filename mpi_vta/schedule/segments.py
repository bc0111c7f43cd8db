"""What enters and leaves every run of consecutive layers of a graph."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mpi_vta.graph.ir import Graph
from mpi_vta.graph.layout import packed_bytes
from mpi_vta.hw.config import VTAConfig


@dataclass(frozen=True)
class Tensor:
    """A value as seen by the segments [i, j) of a graph of n layers; masks have shape (n + 1, n + 1).

    Attributes
    ----------
    size_bytes : int
        Size of its message.
    from_source, to_sink : bool
        Whether it is an input or an output of the graph.
    made_here, read_here, read_elsewhere : ndarray of bool
        Whether segment [i, j) makes it, reads it, and whether layers outside read it, at ``[i, j]``.
    """

    size_bytes: int
    from_source: bool
    to_sink: bool
    made_here: NDArray[np.bool_]
    read_here: NDArray[np.bool_]
    read_elsewhere: NDArray[np.bool_]

    def received(self, *, on_rank_0: bool) -> NDArray[np.int64]:
        """Return how often the rank of each segment receives it; rank 0 is source and sink too."""
        comes_in = self.read_here & ~self.made_here & (not (self.from_source and on_rank_0))
        return comes_in.astype(np.int64) + (~self.made_here & (on_rank_0 and self.to_sink))

    def sent(self, *, on_rank_0: bool) -> NDArray[np.int64]:
        """Return how often the rank of each segment sends it, counting all its later readers as one."""
        leaves = self.read_elsewhere & (self.made_here | (self.from_source and on_rank_0))
        return leaves.astype(np.int64) + (self.made_here & (self.to_sink and not on_rank_0))


@dataclass(frozen=True)
class Segments:
    """All values of a graph with their places."""

    count: int
    tensors: tuple[Tensor, ...]

    @cached_property
    def bytes_in(self) -> NDArray[np.int64]:
        """Bytes that enter layers [i, j) from other layers or the source; shape (n + 1, n + 1)."""
        result = np.zeros((self.count + 1, self.count + 1), dtype=np.int64)
        for tensor in self.tensors:
            result += tensor.size_bytes * (tensor.read_here & ~tensor.made_here)
        return result

    @cached_property
    def reads_images(self) -> NDArray[np.bool_]:
        """Whether layers [i, j) read an input of the graph; shape (n + 1, n + 1)."""
        result = np.zeros((self.count + 1, self.count + 1), dtype=np.bool_)
        for tensor in self.tensors:
            if tensor.from_source:
                result |= tensor.read_here
        return result


def find_segments(graph: Graph, config: VTAConfig) -> Segments:
    """Return the traffic of every run of consecutive layers of an int8 graph.

    Parameters
    ----------
    graph : Graph
        Its node order is the order of the segments.
    config : VTAConfig
        Gives the layout of messages.
    """
    count = len(graph.nodes)
    position = {node.name: i for i, node in enumerate(graph.nodes)}
    first, end = np.ogrid[: count + 1, : count + 1]
    tensors = []
    for name, value in graph.values.items():
        reads_before = np.zeros(count + 1, dtype=np.int64)
        for reader in graph.consumers[name]:
            reads_before[position[reader.name] + 1 :] += 1
        reads = np.maximum(reads_before[end] - reads_before[first], 0)
        from_source = name not in graph.producer
        made = -1 if from_source else position[graph.producer[name].name]
        _, channels, height, width = value.shape
        size_bytes = config.batch * channels * height * width if from_source else packed_bytes(value.shape, config)
        made_here = (first <= made) & (made < end)
        elsewhere = reads < reads_before[-1]
        tensors.append(Tensor(size_bytes, from_source, name in graph.outputs, made_here, reads > 0, elsewhere))
    return Segments(count, tuple(tensors))
