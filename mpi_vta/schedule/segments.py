"""What enters and leaves every possible stage of a graph."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mpi_vta.graph.ir import Graph
from mpi_vta.graph.layout import packed_bytes
from mpi_vta.hw.config import VTAConfig
from mpi_vta.schedule.cut_points import CutPoints


@dataclass(frozen=True)
class Tensor:
    """A value as seen by the stages between two of k cut points; masks have shape (k, k).

    Attributes
    ----------
    size_bytes : int
        Size of its message.
    from_source, to_sink : bool
        Whether it is an input or an output of the graph.
    made_here, read_here, read_elsewhere : ndarray of bool
        Whether stage [i, j) makes it, reads it, and whether layers outside read it, at ``[i, j]``.
    """

    size_bytes: int
    from_source: bool
    to_sink: bool
    made_here: NDArray[np.bool_]
    read_here: NDArray[np.bool_]
    read_elsewhere: NDArray[np.bool_]

    def received(self, *, on_rank_0: bool) -> NDArray[np.int64]:
        """Return how often the rank of each stage receives it; rank 0 is source and sink too."""
        comes_in = self.read_here & ~self.made_here & (not (self.from_source and on_rank_0))
        return comes_in.astype(np.int64) + (~self.made_here & (on_rank_0 and self.to_sink))

    def sent(self, *, on_rank_0: bool) -> NDArray[np.int64]:
        """Return how often the rank of each stage sends it, counting all its later readers as one."""
        leaves = self.read_elsewhere & (self.made_here | (self.from_source and on_rank_0))
        return leaves.astype(np.int64) + (self.made_here & (self.to_sink and not on_rank_0))


@dataclass(frozen=True)
class Segments:
    """All values of a graph with their places.

    Attributes
    ----------
    cuts : CutPoints
        The stages' ends.
    tensors : tuple of Tensor
        The values.
    weight_bytes : ndarray of int64, shape (k, k)
        Size of the constants of layers [i, j).
    """

    cuts: CutPoints
    tensors: tuple[Tensor, ...]
    weight_bytes: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the tables."""
        return (self.cuts.count, self.cuts.count)

    def bytes_in(self, *, on_rank_0: bool) -> NDArray[np.int64]:
        """Return the bytes that the rank of layers [i, j) receives per image group; shape (k, k)."""
        result = np.zeros(self.shape, dtype=np.int64)
        for tensor in self.tensors:
            result += tensor.size_bytes * tensor.received(on_rank_0=on_rank_0)
        return result

    @cached_property
    def least_memory_bytes(self) -> NDArray[np.int64]:
        """What a program of layers [i, j) takes at least: its weights, inputs and outputs; shape (k, k)."""
        result = self.weight_bytes.copy()
        for tensor in self.tensors:
            outgoing = tensor.made_here & (tensor.read_elsewhere | tensor.to_sink)
            result += tensor.size_bytes * ((tensor.read_here & ~tensor.made_here) | outgoing)
        return result

    @cached_property
    def reads_images(self) -> NDArray[np.bool_]:
        """Whether layers [i, j) read an input of the graph; shape (k, k)."""
        result = np.zeros(self.shape, dtype=np.bool_)
        for tensor in self.tensors:
            if tensor.from_source:
                result |= tensor.read_here
        return result


def find_segments(graph: Graph, config: VTAConfig, cuts: CutPoints) -> Segments:
    """Return the traffic of every possible stage of an int8 graph.

    Parameters
    ----------
    graph : Graph
        The model.
    config : VTAConfig
        Gives the layout of messages.
    cuts : CutPoints
        Of the same graph.
    """
    # layers of unit u lie in stage [i, j): u is before j, but not before i
    inside = cuts.contains[None, :, :] & ~cuts.contains[:, None, :]
    nowhere = np.zeros((cuts.count, cuts.count), dtype=np.bool_)
    tensors = []
    for name, value in graph.values.items():
        readers = sorted({cuts.unit_of[node.name] for node in graph.consumers[name]})
        from_source = name not in graph.producer
        made_here = nowhere if from_source else inside[:, :, cuts.unit_of[graph.producer[name].name]]
        _, channels, height, width = value.shape
        size_bytes = config.batch * channels * height * width if from_source else packed_bytes(value.shape, config)
        read_here: NDArray[np.bool_] = np.any(inside[:, :, readers], axis=2)
        elsewhere: NDArray[np.bool_] = ~np.all(inside[:, :, readers], axis=2)
        tensors.append(Tensor(size_bytes, from_source, name in graph.outputs, made_here, read_here, elsewhere))
    weights = np.zeros(len(cuts.units), dtype=np.int64)
    for node in graph.nodes:
        if "weight" in node.params:
            weights[cuts.unit_of[node.name]] += graph.constants[node.params["weight"]].nbytes
    return Segments(cuts, tuple(tensors), inside @ weights)
