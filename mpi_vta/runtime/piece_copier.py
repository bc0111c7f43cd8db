"""Pieces of values at one rank: cut out of what a program made, put together to what a program reads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpi_vta.graph.layout import packed_bytes
from mpi_vta.graph.window import Window, image_view, packed_view
from mpi_vta.hw.config import VTAConfig
from mpi_vta.plans.plan import SOURCE, Edge, Plan


class PieceCopier:
    """Knows what every place of a plan holds of every value.

    Parameters
    ----------
    plan : Plan
        The plan.
    config : VTAConfig
        Gives the packed layout, the same on all boards.
    """

    def __init__(self, plan: Plan, config: VTAConfig) -> None:
        self._plan, self._config = plan, config

    def cut(self, edge: Edge, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return what an edge carries of what its producer made, 1-D; `data` itself if that is all of it."""
        if edge.value not in self._plan.shapes:
            return data
        frame, window = self._frame(edge.producer, edge.value), self._window(edge)
        if frame == window:
            return data
        width = self._plan.shapes[edge.value][3]
        if edge.producer == SOURCE:
            return image_view(data, frame, window, width, self._plan.group_images).reshape(-1)
        return packed_view(data, frame, window, width, self._config).reshape(-1)

    def put(self, edge: Edge, arrived: dict[str, NDArray[np.uint8]], piece: NDArray[np.uint8]) -> None:
        """Add a piece to what has arrived for the edge's consumer; one that is all of it is not copied."""
        if edge.value not in self._plan.shapes:
            arrived[edge.value] = piece
            return
        frame, window = self._frame(edge.consumer, edge.value), self._window(edge)
        if frame == window:
            arrived[edge.value] = piece
            return
        width = self._plan.shapes[edge.value][3]
        if edge.value not in arrived:
            arrived[edge.value] = np.zeros(packed_bytes(frame.shape(width), self._config), np.uint8)
        view = packed_view(arrived[edge.value], frame, window, width, self._config)
        view[:] = piece.reshape(view.shape)

    def _frame(self, place: int, value: str) -> Window:
        """Return what a place holds of a value: all of it at the source, at the sink and in whole layers."""
        part = self._plan.stages[place].part if place >= 0 else None
        return Window.whole(self._plan.shapes[value]) if part is None else part.holds[value]

    def _window(self, edge: Edge) -> Window:
        return edge.window or Window.whole(self._plan.shapes[edge.value])
