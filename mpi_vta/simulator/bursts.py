"""How LOAD and STORE rows are cut into bursts, and how long fixed-time instructions take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.table import MemoryType, Opcode
from mpi_vta.simulator.decoding import Indices, element_bytes
from mpi_vta.simulator.profile import TimingProfile
from mpi_vta.simulator.tokens import Columns

PIPELINE_CYCLES = 6
STORE_BURST_CYCLES = 4

# a beat is written into the buffer so much later than it crosses the bus; a load ends so long after its last write
WRITE_CYCLES = 2
NARROW_TAIL_CYCLES = 2
WIDE_TAIL_CYCLES = 1


@dataclass(frozen=True)
class Bursts:
    """The bursts of some moves, one after another.

    Attributes
    ----------
    first : ndarray of int64, shape (moves + 1,)
        Where each move's bursts begin in `beats`.
    beats : ndarray of int64, shape (bursts,)
        Beats of each burst.
    """

    first: Indices
    beats: Indices

    def totals(self, values: NDArray[Any]) -> NDArray[Any]:
        """Sum values of bursts over each move."""
        running = np.concatenate([np.zeros(1, dtype=values.dtype), np.cumsum(values)])
        sums: NDArray[Any] = running[self.first[1:]] - running[self.first[:-1]]
        return sums


def split_rows(begin: Indices, row_bytes: Indices, stride_bytes: Indices, rows: Indices, burst_bytes: int) -> Indices:
    """Return the bursts of all rows of all moves as (move, first byte, bytes), shape (3, bursts)."""
    move, row = _counted(rows)
    row_begin = begin[move] + row * stride_bytes[move]
    row_end = row_begin + row_bytes[move]
    owner, piece = _counted((row_end - 1) // burst_bytes - row_begin // burst_bytes + 1)
    page = row_begin[owner] // burst_bytes + piece
    first = np.maximum(row_begin[owner], page * burst_bytes)
    last = np.minimum(row_end[owner], (page + 1) * burst_bytes)
    return np.stack([move[owner], first, last - first])


def _counted(counts: Indices) -> tuple[NDArray[np.intp], Indices]:
    """Return the owner of each of so many pieces, and its place among that owner's."""
    # a 32-bit NumPy repeats by its own word only
    repeats = counts.astype(np.intp)
    owner = np.repeat(np.arange(counts.size), repeats)
    return owner, np.arange(owner.size, dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, repeats)


def move_bursts(columns: Columns, index: Indices, sizes: Indices, bus_bytes: int, burst_beats: int) -> Bursts:
    """Cut the rows of moves into bursts that cross no boundary of the longest burst."""
    pieces = split_rows(
        columns["dram_base"][index] * sizes,
        columns["x_size"][index] * sizes,
        columns["x_stride"][index] * sizes,
        columns["y_size"][index],
        burst_beats * bus_bytes,
    )
    move, first, length = pieces
    beats = (first + length - 1) // bus_bytes - first // bus_bytes + 1
    counts = np.bincount(move.astype(np.intp), minlength=index.size)
    return Bursts(np.concatenate([[0], np.cumsum(counts)]), beats)


@dataclass(frozen=True)
class BottomPads:
    """How a load without padding at the sides writes its zeros: above, past its data rows, below.

    Attributes
    ----------
    above, below : int
        Zero elements; each takes a cycle in which no beat arrives.
    rows : int
        Data rows, which are walked once more before the elements below, one a cycle of any kind.
    tail_cycles : int
        From the last zero to the end of the load.
    """

    above: int
    rows: int
    below: int
    tail_cycles: int

    def end_cycle(self, start: int, beats: list[tuple[int, int]]) -> int:
        """Return when the last zero allows the load to end.

        Parameters
        ----------
        start : int
            Cycle in which the load starts.
        beats : list of (int, int)
            First and last cycle of each burst's beats on the bus, in order.
        """
        writes = [(first + WRITE_CYCLES, last + WRITE_CYCLES) for first, last in beats]
        cycle = _idle_cycles_later(start, self.above, writes) + self.rows
        return _idle_cycles_later(cycle, self.below, writes) + self.tail_cycles


def _idle_cycles_later(cycle: int, count: int, writes: list[tuple[int, int]]) -> int:
    """Return the cycle in which `count` cycles without a write have passed after `cycle`."""
    for first, last in writes:
        if last <= cycle:
            continue
        idle = max(0, first - 1 - cycle)
        if idle >= count:
            break
        count -= idle
        cycle = last
    return cycle + count


@dataclass(frozen=True)
class BurstCosts:
    """What each instruction costs by itself.

    Attributes
    ----------
    fixed_cycles : ndarray of int64, shape (n,)
        Duration; -1 for a load whose time the shared channel decides.
    loads : Bursts
        Bursts of the loads on the shared channel, in program order.
    load_index : ndarray of int64, shape (n,)
        Position of an instruction among those loads, -1 for others.
    tail_cycles, pad_cycles : ndarray of int64, shape (n,)
        Loads: from the last beat to the end; shortest duration that the zero padding allows (0: none).
    bottom_pads : dict of int to BottomPads
        By instruction, the loads that pad below and not at the sides: when they end depends on when beats arrive.
    """

    fixed_cycles: Indices
    loads: Bursts
    load_index: Indices
    tail_cycles: Indices
    pad_cycles: Indices
    bottom_pads: dict[int, BottomPads]


def instruction_costs(
    config: VTAConfig, columns: Columns, nop: NDArray[np.bool_], profile: TimingProfile, bus_bytes: int
) -> BurstCosts:
    """Compute what every instruction costs under a profile."""
    opcode = columns["opcode"]
    trips = columns["iter_out"] * columns["iter_in"] * (columns["uop_end"] - columns["uop_bgn"])
    alu_ii = np.where(columns["use_imm"] == 1, profile.alu_imm_ii, profile.alu_reg_ii)
    fixed = np.ones(opcode.size, dtype=np.int64)
    fixed = np.where(opcode == Opcode.GEMM, trips + PIPELINE_CYCLES, fixed)
    fixed = np.where(opcode == Opcode.ALU, trips * alu_ii + PIPELINE_CYCLES, fixed)
    load_index = np.full(opcode.size, -1, dtype=np.int64)
    tail, pads = np.zeros_like(fixed), np.zeros_like(fixed)
    stores = np.flatnonzero((opcode == Opcode.STORE) & ~nop)
    loads = np.flatnonzero((opcode == Opcode.LOAD) & ~nop)
    size_of = np.ones(8, dtype=np.int64)
    for kind, size in element_bytes(config).items():
        size_of[kind] = size
    sizes = size_of[columns["memory_type"]]
    if not profile.shared_channel:
        for moves in (stores, loads):
            fixed[moves] = _port_cycles(columns, moves, sizes[moves], profile)
        return BurstCosts(fixed, Bursts(np.zeros(1, dtype=np.int64), loads[:0]), load_index, tail, pads, {})
    fixed[stores] = _store_cycles(config, columns, stores, sizes[stores], bus_bytes, profile.burst_beats)
    fixed[loads] = -1
    load_index[loads] = np.arange(loads.size)
    bursts = move_bursts(columns, loads, sizes[loads], bus_bytes, profile.burst_beats)
    is_wide = (sizes[loads] <= bus_bytes) | (columns["memory_type"][loads] == MemoryType.UOP)
    write_tail = np.where(is_wide, WIDE_TAIL_CYCLES, NARROW_TAIL_CYCLES)
    tail[loads] = WRITE_CYCLES + write_tail
    padding = padding_elements(columns, loads)
    data_beats = bursts.totals(bursts.beats)
    pads[loads] = np.where(padding > 0, padding + data_beats + write_tail, 0)
    return BurstCosts(fixed, bursts, load_index, tail, pads, _bottom_pads(columns, loads, write_tail))


def _bottom_pads(columns: Columns, index: Indices, tail: Indices) -> dict[int, BottomPads]:
    has_sides = (columns["x_pad_0"][index] > 0) | (columns["x_pad_1"][index] > 0)
    result = {}
    for position in np.flatnonzero((columns["y_pad_1"][index] > 0) & ~has_sides).tolist():
        names = ("x_size", "y_pad_0", "y_size", "y_pad_1")
        width, above, rows, below = (int(columns[name][index[position]]) for name in names)
        result[int(index[position])] = BottomPads(above * width, rows, below * width, int(tail[position]))
    return result


def padding_elements(columns: Columns, index: Indices) -> Indices:
    """Return the number of zero elements that loads write."""
    x, y = columns["x_size"][index], columns["y_size"][index]
    rows = columns["y_pad_0"][index] + y + columns["y_pad_1"][index]
    total: Indices = rows * (columns["x_pad_0"][index] + x + columns["x_pad_1"][index]) - x * y
    return total


def store_beat_cycles(config: VTAConfig) -> float:
    """Return the cycles that a stored beat takes in the long run: more than one on a bus narrower than a row."""
    bus_bytes = config.bus_bits // 8
    return 1.0 if config.out_bytes <= bus_bytes else 1.0 + 1.0 / _lane_beats(config, bus_bytes)


def _lane_beats(config: VTAConfig, bus_bytes: int) -> int:
    """Return the beats of one row of lanes, the output of one image's block."""
    return max(1, config.out_bytes // config.batch // bus_bytes)


def _store_cycles(
    config: VTAConfig, columns: Columns, index: Indices, sizes: Indices, bus_bytes: int, burst_beats: int
) -> Indices:
    """A narrow bus stops one cycle per row of lanes to read the buffer; a wide one never."""
    bursts = move_bursts(columns, index, sizes, bus_bytes, burst_beats)
    cycles = bursts.beats + STORE_BURST_CYCLES
    if config.out_bytes > bus_bytes:
        cycles = cycles + -(-bursts.beats // _lane_beats(config, bus_bytes)) - 1
    return bursts.totals(cycles)


def _port_cycles(columns: Columns, index: Indices, sizes: Indices, profile: TimingProfile) -> Indices:
    """Own port: rows one after another, or pipelined with the padding where a load has any."""
    rows, row_bytes = columns["y_size"][index], columns["x_size"][index] * sizes
    contiguous = (columns["x_stride"][index] == columns["x_size"][index]) | (rows == 1)
    padding = padding_elements(columns, index)
    starts = np.where(contiguous & (padding == 0), 1, rows)
    stream = rows * row_bytes / profile.port_bytes_per_cycle
    total = profile.move_setup_cycles + starts * profile.row_setup_cycles + stream + padding
    return np.ceil(total).astype(np.int64)
