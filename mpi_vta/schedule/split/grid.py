"""Ways of dividing a value over boards: bands of rows, columns of channel blocks, or both, by the boards' speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from mpi_vta.graph.window import Window


@dataclass(frozen=True, order=True)
class Grid:
    """So many bands of rows, each divided into so many columns of channels; 1 x 1 is one board with all.

    Attributes
    ----------
    bands, columns : int
        At least 1. Board number ``band * columns + column`` has the crossing of the two.
    """

    bands: int
    columns: int

    @property
    def boards(self) -> int:
        """Boards that it takes."""
        return self.bands * self.columns

    def shares(self, shape: tuple[int, ...], block: int, speeds: Sequence[float]) -> tuple[tuple[int, Window], ...]:
        """Divide a value of some shape in proportion to the speed of the boards.

        Parameters
        ----------
        shape : tuple of int
            (1, C, H, W).
        block : int
            Channels of a block, which is never divided.
        speeds : sequence of float
            Of at least `boards` boards.

        Returns
        -------
        tuple of (int, Window)
            Board number and its share; boards whose share would be empty are left out.
        """
        _, channels, height, _ = shape
        blocks = -(-channels // block)
        members = [speeds[band * self.columns : (band + 1) * self.columns] for band in range(self.bands)]
        found = []
        for band, rows in enumerate(_divided(height, [sum(speed) for speed in members])):
            for column, (first, end) in enumerate(_divided(blocks, members[band])):
                if rows[0] < rows[1] and first < end:
                    window = Window(rows, (first * block, min(end * block, channels)))
                    found.append((band * self.columns + column, window))
        return tuple(found)


def useful_grids(height: int, blocks: int, boards: int) -> tuple[Grid, ...]:
    """Return the grids of which none has a smaller one with shares as small, up to so many boards.

    Parameters
    ----------
    height, blocks : int
        Rows and channel blocks of the value to divide.
    boards : int
        Boards that there are.
    """
    bands, columns = _useful_counts(height, boards), _useful_counts(blocks, boards)
    return tuple(Grid(b, c) for b in bands for c in columns if b * c <= boards)


def _useful_counts(extent: int, most: int) -> list[int]:
    """Return the numbers of shares for which the largest share is smaller than with any fewer."""
    return [n for n in range(1, min(extent, most) + 1) if n == 1 or -(-extent // n) < -(-extent // (n - 1))]


def _divided(extent: int, weights: Sequence[float]) -> list[tuple[int, int]]:
    total = sum(weights)
    bounds = [0, *(round(extent * done / total) for done in accumulate(weights))]
    return list(pairwise(bounds))
