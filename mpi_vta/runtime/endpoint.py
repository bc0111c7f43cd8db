"""Rank 0's host: the source of the images and the sink of the outputs, in image order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mpi_vta.graph.layout import unpack_activation
from mpi_vta.hw.config import VTAConfig
from mpi_vta.trace.schema import IMAGE_DTYPE


class OutputStore(Protocol):
    """Keeps outputs as they are delivered."""

    def put(self, images: Sequence[int], values: Mapping[str, NDArray[np.int8]]) -> None:
        """Keep the outputs of some images, by graph output, shape (len(images), C, H, W)."""
        ...

    def close(self) -> Mapping[str, NDArray[np.int8]]:
        """Bring everything to where it is kept, and return all outputs by name."""
        ...


class Endpoint:
    """Feeds image groups in and takes outputs.

    Parameters
    ----------
    inputs : mapping of str to ndarray of int8, shape (n, C, H, W)
        Quantised images by graph input.
    output_shapes : mapping of str to tuple of int
        (1, C, H, W) of each graph output.
    images : int
        n, images of the job; the last group is padded with zeros.
    group_images : int
        Images per launch.
    config : VTAConfig
        The build whose layout the outputs have.
    store : OutputStore or None
        Takes the outputs; None for a job without data.
    """

    def __init__(
        self,
        inputs: Mapping[str, NDArray[np.int8]],
        output_shapes: Mapping[str, tuple[int, ...]],
        images: int,
        group_images: int,
        config: VTAConfig,
        store: OutputStore | None = None,
    ) -> None:
        self._inputs, self._images, self._group_images, self._config = inputs, images, group_images, config
        self._shapes, self._store = output_shapes, store
        self.times = np.zeros(images, IMAGE_DTYPE)
        self.times["image"] = np.arange(images)

    def group(self, group: int) -> dict[str, NDArray[np.uint8]]:
        """Return the raw bytes of a group's images, by graph input, padded to a whole group."""
        first = group * self._group_images
        result = {}
        for name, images in self._inputs.items():
            whole = np.zeros((self._group_images, *images.shape[1:]), np.int8)
            part = images[first : first + self._group_images]
            whole[: len(part)] = part
            result[name] = whole.reshape(-1).view(np.uint8)
        return result

    def start(self, group: int, at_ns: int) -> None:
        """Note when a group was let in."""
        self.times["start_ns"][self._rows(group)] = at_ns

    def finish(self, group: int, at_ns: int, values: Mapping[str, NDArray[np.uint8]]) -> None:
        """Note when a group's last output arrived, and deliver its outputs (none in a run without data)."""
        rows = self._rows(group)
        self.times["end_ns"][rows] = at_ns
        self.times["latency_ns"][rows] = at_ns - self.times["start_ns"][rows]
        if values and self._store is not None:
            count = rows.stop - rows.start
            unpacked = {
                name: unpack_activation(data, self._shapes[name], self._config, count=count)
                for name, data in values.items()
            }
            self._store.put(range(rows.start, rows.stop), unpacked)

    def close(self) -> Mapping[str, NDArray[np.int8]] | None:
        """Return all outputs by name once the job is over; None for a job without data."""
        return None if self._store is None else self._store.close()

    def _rows(self, group: int) -> slice:
        return slice(group * self._group_images, min((group + 1) * self._group_images, self._images))
