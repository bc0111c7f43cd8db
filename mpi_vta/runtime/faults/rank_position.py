"""Where a rank is in a job, as every error says it."""

from __future__ import annotations

from dataclasses import dataclass

NOTHING = -1


@dataclass(frozen=True)
class RankPosition:
    """Who a rank is and where it is in the job.

    Attributes
    ----------
    rank : int
        In the job.
    host, board : str
        Machine, and board that the rank drives or stands for; the board is empty until the job is known.
    edge : str
        Edge of the last message; empty before the first.
    image : int
        First image of the last group that the rank had to do with, as the run numbers them; `NOTHING` before that.
    hint : str
        What to do to go on with the job; empty if there is nothing to go on with.
    """

    rank: int
    host: str
    board: str = ""
    edge: str = ""
    image: int = NOTHING
    hint: str = ""

    @property
    def name(self) -> str:
        """Rank, host and board, as errors name them."""
        return f"rank {self.rank} on {self.host}" + (f", board {self.board}" if self.board else "")

    def line(self, what: str) -> str:
        """Return the one line of an error that ends the job here."""
        return f"mpi_vta: error: {self.name}: {what}{self.circumstances}"

    @property
    def circumstances(self) -> str:
        """Edge, last image and what to do, as errors end; empty before the job is known."""
        if not self.board:
            return ""
        edge = f"last edge {self.edge}" if self.edge else "no edge yet"
        image = f"last image {self.image}" if self.image != NOTHING else "no image yet"
        return f"; {edge}, {image}" + (f"; {self.hint}" if self.hint else "")
