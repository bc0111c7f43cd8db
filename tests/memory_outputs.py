"""Outputs of a run in memory, for tests that need no files."""

import numpy as np


class MemoryOutputs:
    """Takes outputs as an endpoint delivers them; `arrays` has them by name, shape (images, C, H, W)."""

    def __init__(self, images, shapes):
        self.arrays = {name: np.zeros((images, *shape[1:]), np.int8) for name, shape in shapes.items()}

    def put(self, images, values):
        for name, array in values.items():
            self.arrays[name][list(images)] = array

    def close(self):
        return self.arrays
