"""One stage on one board: its program loaded, its inputs made ready, a launch per image group."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.program import Program
from mpi_vta.codegen.stem import run_host_step
from mpi_vta.graph.layout import pack_activation, unpack_activation
from mpi_vta.runtime.devices.protocol import Device

Values = Mapping[str, NDArray[np.uint8]]


class BoardStage:
    """A stage's program on a device.

    Parameters
    ----------
    program : Program
        The stage compiled for this board.
    device : Device
        The board.

    Attributes
    ----------
    cycles : int or None
        Modelled cycles of one launch; None for a device that does not model time.
    profile : StageProfile or None
        Where they go, if the device can tell.
    """

    def __init__(self, program: Program, device: Device) -> None:
        self._program = program
        self._loaded = device.load(program)
        self.cycles = self._loaded.cycles
        self.profile = self._loaded.profile

    def run(self, values: Values, raw: frozenset[str]) -> dict[str, NDArray[np.uint8]]:
        """Make the inputs ready and launch; `prepare`, then `launch`."""
        return self.launch(self.prepare(values, raw))

    def prepare(self, values: Values, raw: frozenset[str]) -> dict[str, NDArray[np.uint8]]:
        """Make the program's inputs ready on the processor.

        Parameters
        ----------
        values : mapping of str to ndarray of uint8
            What has arrived, by value name.
        raw : frozenset of str
            Those that came from the source: int8 images (n, C, H, W) as they are. The others are packed.

        Returns
        -------
        dict of str to ndarray of uint8
            The program's inputs, gathered and packed.
        """
        config = self._program.config
        gathered = {step.result: step for step in self._program.host_steps}
        inputs = {}
        for binding in self._program.inputs:
            if binding.value in gathered:
                step = gathered[binding.value]
                given = values[step.source]
                if step.source in raw:
                    images = _images(given, step.source_shape)
                else:
                    images = unpack_activation(given, step.source_shape, config)
                inputs[binding.value] = pack_activation(run_host_step(step, images), config)
            elif binding.value in raw:
                inputs[binding.value] = pack_activation(_images(values[binding.value], binding.shape), config)
            else:
                inputs[binding.value] = values[binding.value]
        return inputs

    def launch(self, inputs: Values) -> dict[str, NDArray[np.uint8]]:
        """Launch once on inputs that `prepare` gave; return the outputs, packed."""
        return self._loaded.run(inputs)


def _images(data: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.int8]:
    return data.view(np.int8).reshape(-1, *shape[1:])
