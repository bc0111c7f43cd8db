"""Search for the division of runs of layers over boards that lets one image through soonest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from mpi_vta.graph.window import Window
from mpi_vta.hw.board import Board
from mpi_vta.schedule.problem import Placement, Problem
from mpi_vta.schedule.split.exchange import Exchanged, Holding, exchange_ns
from mpi_vta.schedule.split.grid import Grid, useful_grids
from mpi_vta.schedule.split.windows import PartWindows, in_proportion, part_windows

# Longest run of units that is split; of longer ones the halo rows outweigh what they save
MOST_UNITS = 4
MOST_UNITS_QUICKLY = 2
ONE_BOARD = Grid(1, 1)

SplitDivision = tuple[tuple[int, int, Grid], ...]
"""Runs [first, end) of units and how each is divided."""


@dataclass(frozen=True)
class LayerRun:
    """Some units divided by a grid.

    Attributes
    ----------
    first, end : int
        The units [first, end).
    grid : Grid
        How.
    wants : tuple of (str, Holding)
        What the parts read, by value.
    compute_ns : float
        Time of the slowest part, gathering included (estimated, or from compiled parts).
    """

    first: int
    end: int
    grid: Grid
    wants: tuple[tuple[str, Holding], ...]
    compute_ns: float


class SplitSearch:
    """Dynamic program over (units done, how the last run was divided).

    Values that are older than the last run are taken to be divided like it, which is so as long as the division
    does not change.

    Parameters
    ----------
    problem : Problem
        Model, boards and costs.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem, self._graph = problem, problem.graph
        self._block = problem.layout_config.block
        self._units = problem.cuts.units
        self._node = {node.name: node for node in self._graph.nodes}
        self._windows: dict[tuple[tuple[str, ...], Window], PartWindows] = {}
        self._held: dict[tuple[str, int, Grid], Holding | None] = {}
        self._wanted: dict[tuple[tuple[str, ...], Grid], tuple[tuple[str, Holding], ...]] = {}
        self._exchanges: dict[tuple[int, int, Grid, Grid], float] = {}
        self._known: dict[tuple[tuple[str, ...], Window, Board], int] = {}
        self._estimated_cycles = self._true_cycles = 1.0

    @cached_property
    def ranks(self) -> tuple[int, ...]:
        """The ranks, fastest first."""
        return tuple(sorted(range(self._problem.ranks), key=lambda rank: (-self._speed(rank), rank)))

    def best(self) -> SplitDivision:
        """Return the division with the least estimated time of one image group."""
        table: list[dict[Grid, tuple[float, int, Grid]]] = [{} for _ in range(len(self._units) + 1)]
        table[0][ONE_BOARD] = (0.0, 0, ONE_BOARD)
        for first in range(len(self._units)):
            states = sorted((spent, before) for before, (spent, _, _) in table[first].items())
            for run in self._runs(first):
                known = table[run.end].get(run.grid, (float("inf"), 0, ONE_BOARD))
                spent, before = self._cheapest(run, states, known[0] - run.compute_ns)
                table[run.end][run.grid] = min(known, (spent + run.compute_ns, first, before))
        return self._walk_back(table)

    def _cheapest(self, run: LayerRun, states: list[tuple[float, Grid]], limit_ns: float) -> tuple[float, Grid]:
        """Return the least time below a limit until a run has its inputs, and how the one before is then divided."""
        best = (limit_ns, ONE_BOARD)
        for spent, before in states:
            if spent >= best[0]:
                break
            best = min(best, (spent + self._exchange_ns(run, before), before))
        return best

    def placements(self, division: SplitDivision) -> tuple[Placement, ...]:
        """Return a division's parts in the order of the plan's stages."""
        found = []
        for first, end, grid in division:
            nodes = self._nodes(first, end)
            parts = self._parts(nodes, grid)
            whole = len(parts) == 1
            found += [Placement(nodes, (rank,), (), None if whole else share) for rank, share in parts]
        return tuple(found)

    def busy_ns(self, placements: tuple[Placement, ...]) -> Mapping[int, float]:
        """Return how long each rank's VTA is busy per image group, estimated."""
        busy = dict.fromkeys(range(self._problem.ranks), 0.0)
        for placement in placements:
            board = self._problem.cluster.boards[placement.ranks[0]]
            windows = self._part_windows(placement.nodes, placement.share or self._whole(placement.nodes))
            busy[placement.ranks[0]] += board.compute_ns(round(self._cycles(placement.nodes, windows, board)))
        return busy

    def learn(self, placements: tuple[Placement, ...]) -> None:
        """Compile parts, and use their true times from now on; estimates of others are scaled by what was found."""
        estimated = true = 0.0
        for placement in placements:
            share = placement.share or self._whole(placement.nodes)
            board = self._problem.cluster.boards[placement.ranks[0]]
            cost = self._problem.costs.stage(placement.nodes, board.config, placement.share)
            estimated += self._cycles(placement.nodes, self._part_windows(placement.nodes, share), board)
            true += cost.cycles
            self._known[placement.nodes, share, board] = board.compute_ns(cost.cycles) + board.pack_ns(
                cost.gathered_bytes
            )
        self._estimated_cycles, self._true_cycles = self._estimated_cycles + estimated, self._true_cycles + true

    def _walk_back(self, table: list[dict[Grid, tuple[float, int, Grid]]]) -> SplitDivision:
        end = len(self._units)
        grid = min(table[end], key=lambda g: (table[end][g][0] + self._gather_ns(g), g))
        runs = []
        while end:
            _, first, before = table[end][grid]
            runs.append((first, end, grid))
            end, grid = first, before
        return tuple(reversed(runs))

    def _runs(self, first: int) -> Iterator[LayerRun]:
        for end in range(first + 1, len(self._units) + 1):
            nodes = self._nodes(first, end)
            yield self._run(first, end, ONE_BOARD, nodes)
            if end - first > (MOST_UNITS if self._problem.objective == "latency" else MOST_UNITS_QUICKLY):
                continue
            shape = self._shape(nodes[-1])
            for grid in useful_grids(shape[2], -(-shape[1] // self._block), self._problem.ranks):
                if grid != ONE_BOARD and self._is_considered(grid):
                    yield self._run(first, end, grid, nodes)

    def _is_considered(self, grid: Grid) -> bool:
        """Return whether a grid is worth a look: any of bands or of columns, and crossings of most boards.

        Where latency is not the objective only bands or columns of most boards: it saves the planner's time.
        """
        most, plain = 2 * grid.boards > self._problem.ranks, 1 in (grid.bands, grid.columns)
        return most or plain if self._problem.objective == "latency" else most and plain

    def _run(self, first: int, end: int, grid: Grid, nodes: tuple[str, ...]) -> LayerRun:
        parts = self._parts(nodes, grid)
        slowest = max(self._part_ns(nodes, share, self._part_windows(nodes, share), rank) for rank, share in parts)
        return LayerRun(first, end, grid, self._wants(nodes, grid, parts), slowest)

    def _wants(
        self, nodes: tuple[str, ...], grid: Grid, parts: Sequence[tuple[int, Window]]
    ) -> tuple[tuple[str, Holding], ...]:
        key = (nodes, grid)
        if key not in self._wanted:
            reads: dict[str, list[tuple[int, Window]]] = {}
            for rank, share in parts:
                for name, window in self._part_windows(nodes, share).reads.items():
                    reads.setdefault(name, []).append((rank, window))
            self._wanted[key] = tuple((n, Holding.of(pieces, self._block_of(n))) for n, pieces in reads.items())
        return self._wanted[key]

    def _exchange_ns(self, run: LayerRun, before: Grid) -> float:
        key = (run.first, run.end, run.grid, before)
        if key not in self._exchanges:
            values = [
                Exchanged(held, wanted, self._row_bytes(name))
                for name, wanted in run.wants
                if (held := self._holding(name, run.first, before)) is not None
            ]
            network, copy_ns = self._problem.network, self._copy_ns_per_byte
            self._exchanges[key] = exchange_ns(values, self._problem.ranks, network, copy_ns)
        return self._exchanges[key]

    def _gather_ns(self, grid: Grid) -> float:
        values = []
        for name in self._graph.outputs:
            held = self._holding(name, len(self._units), grid)
            if held is not None:
                wanted = Holding.of([(0, Window.whole(self._graph.values[name].shape))], self._block)
                values.append(Exchanged(held, wanted, self._row_bytes(name)))
        return exchange_ns(values, self._problem.ranks, self._problem.network, 0.0)

    def _holding(self, name: str, cut: int, grid: Grid) -> Holding | None:
        """Return who owns what of a value at a cut point, the run before it being divided by `grid`."""
        key = (name, cut, grid)
        if key not in self._held:
            shape = self._graph.values[name].shape
            if name not in self._graph.producer:
                pieces = [(0, Window.whole(shape))]
            else:
                last = self._units[cut - 1][-1]
                shares = self._parts((last,), grid)
                scaled = [(rank, in_proportion(share, self._shape(last), shape, self._block)) for rank, share in shares]
                pieces = [(rank, window) for rank, window in scaled if window is not None]
            self._held[key] = Holding.of(pieces, self._block_of(name)) if pieces else None
        return self._held[key]

    def _part_ns(self, nodes: tuple[str, ...], share: Window, windows: PartWindows, rank: int) -> float:
        board = self._problem.cluster.boards[rank]
        known = self._known.get((nodes, share, board))
        if known is not None:
            return known
        cycles = self._cycles(nodes, windows, board) * self._true_cycles / self._estimated_cycles
        return board.compute_ns(round(cycles)) + self._gathered_ns(windows, board)

    def _cycles(self, nodes: tuple[str, ...], windows: PartWindows, board: Board) -> float:
        """Return the cycles of a part, estimated: its fraction of each layer's, or loading the layer's weights."""
        of_node = self._problem.costs.node_cycles(board.config)
        beat_bytes = board.config.bus_bits // 8
        total = 0.0
        for name in nodes:
            node = self._node[name]
            made = windows.makes.get(node.output)
            if made is None:
                continue
            shape = self._graph.values[node.output].shape
            weight = self._graph.param(node, "weight")
            loaded = 0.0 if weight is None else weight.nbytes * (made.channels[1] - made.channels[0]) / shape[1]
            total += max(of_node[name] * made.area / (shape[1] * shape[2]), loaded / beat_bytes)
        return total

    def _gathered_ns(self, windows: PartWindows, board: Board) -> float:
        read = [
            (windows.reads[name], self._graph.values[name].shape)
            for name in self._graph.inputs
            if name in windows.reads
        ]
        if not read:
            return 0.0
        every = tuple(node.name for node in self._graph.nodes)
        gathered_bytes = self._problem.costs.stage(every, board.config).gathered_bytes
        return board.pack_ns(gathered_bytes) * max(w.area / (shape[1] * shape[2]) for w, shape in read)

    def _part_windows(self, nodes: tuple[str, ...], share: Window) -> PartWindows:
        key = (nodes, share)
        if key not in self._windows:
            self._windows[key] = part_windows(self._graph, nodes, share, self._block)
        return self._windows[key]

    def _parts(self, nodes: tuple[str, ...], grid: Grid) -> tuple[tuple[int, Window], ...]:
        shares = grid.shares(self._shape(nodes[-1]), self._block, self._speeds)
        return tuple((self.ranks[i], share) for i, share in shares)

    @cached_property
    def _speeds(self) -> tuple[float, ...]:
        return tuple(self._speed(rank) for rank in self.ranks)

    def _nodes(self, first: int, end: int) -> tuple[str, ...]:
        return tuple(name for unit in self._units[first:end] for name in unit)

    def _speed(self, rank: int) -> float:
        board = self._problem.cluster.boards[rank]
        return 1e9 / board.compute_ns(sum(self._problem.costs.node_cycles(board.config).values()))

    def _shape(self, node: str) -> tuple[int, ...]:
        return self._graph.values[self._node[node].output].shape

    def _whole(self, nodes: tuple[str, ...]) -> Window:
        return Window.whole(self._shape(nodes[-1]))

    def _block_of(self, name: str) -> int:
        return self._block if name in self._graph.producer else 1

    def _row_bytes(self, name: str) -> int:
        config = self._problem.layout_config
        width = self._graph.values[name].shape[3]
        return width * (config.inp_bytes if name in self._graph.producer else config.batch)

    @property
    def _copy_ns_per_byte(self) -> float:
        return max(board.cpu_ns_per_packed_byte for board in self._problem.cluster.boards)
