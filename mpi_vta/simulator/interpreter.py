"""A second opinion: the instruction set executed one scalar at a time, in plain integers, without NumPy.

It shares nothing with the fast simulator: it takes the bits apart by itself, runs the three units in turn
against token counters, and keeps every buffer as lists. Only for small programs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mpi_vta.errors import SimulationError
from mpi_vta.hw.config import VTAConfig

LOAD, STORE, GEMM, FINISH, ALU = range(5)
UOP, WGT, INP, ACC, OUT = range(5)
MIN, MAX, ADD, SHR = range(4)


def _bits(word: int, low: int, width: int) -> int:
    return (word >> low) & ((1 << width) - 1)


def _signed(value: int, width: int) -> int:
    return value - (1 << width) if value >> (width - 1) & 1 else value


@dataclass(frozen=True)
class _Loops:
    """Trip counts, micro-op range and index steps of a GEMM or ALU, from its raw words."""

    reset: int
    begin: int
    end: int
    trips: tuple[int, int]
    steps: tuple[tuple[int, int], ...]


class Interpreter:
    """One VTA with empty buffers; `run` executes a program to its FINISH.

    Parameters
    ----------
    config : VTAConfig
        The build.
    dram : bytearray
        Memory, index = byte address; changed in place.
    """

    def __init__(self, config: VTAConfig, dram: bytearray) -> None:
        self.config = config
        self.dram = dram
        vector = config.batch * config.block
        self.uop = [0] * config.uop_depth
        self.inp = [[0] * vector for _ in range(config.inp_depth)]
        self.wgt = [[0] * config.block**2 for _ in range(config.wgt_depth)]
        self.acc = [[0] * vector for _ in range(config.acc_depth)]
        self.out = [[0] * vector for _ in range(config.acc_depth)]

    def run(self, insns: Sequence[tuple[int, int]]) -> None:
        """Execute (low word, high word) pairs.

        Raises
        ------
        SimulationError
            If no unit can go on, or an index leaves a buffer.
        """
        units: list[list[tuple[int, int]]] = [[], [], []]
        for low, high in insns:
            opcode, memory = _bits(low, 0, 3), _bits(low, 7, 3)
            is_load_unit = opcode == LOAD and memory in (INP, WGT)
            units[2 if opcode == STORE else 0 if is_load_unit else 1].append((low, high))
        # tokens[a][b]: given by unit a to unit b
        tokens = [[0] * 3 for _ in range(3)]
        progress = True
        while progress:
            progress = False
            for unit in range(3):
                while units[unit] and self._step(unit, units[unit][0], tokens):
                    units[unit].pop(0)
                    progress = True
        if any(units):
            raise SimulationError("no unit can go on", remedy="balance the tokens")

    def _step(self, unit: int, words: tuple[int, int], tokens: list[list[int]]) -> bool:
        low = words[0]
        pop_prev, pop_next, push_prev, push_next = (_bits(low, bit, 1) for bit in (3, 4, 5, 6))
        if (pop_prev and not tokens[unit - 1][unit]) or (pop_next and not tokens[unit + 1][unit]):
            return False
        if pop_prev:
            tokens[unit - 1][unit] -= 1
        if pop_next:
            tokens[unit + 1][unit] -= 1
        self._execute(words)
        if push_prev:
            tokens[unit][unit - 1] += 1
        if push_next:
            tokens[unit][unit + 1] += 1
        return True

    def _execute(self, words: tuple[int, int]) -> None:
        opcode = _bits(words[0], 0, 3)
        try:
            if opcode in (LOAD, STORE):
                self._move(opcode, *words)
            elif opcode == GEMM:
                self._gemm(*words)
            elif opcode == ALU:
                self._alu(*words)
        except IndexError as fault:
            raise SimulationError(f"an index leaves a buffer ({fault})") from fault

    def _move(self, opcode: int, low: int, high: int) -> None:
        memory, sram, dram = _bits(low, 7, 3), _bits(low, 10, 16), _bits(low, 26, 32)
        rows, columns, stride = _bits(high, 0, 16), _bits(high, 16, 16), _bits(high, 32, 16)
        above, below, left, right = (_bits(high, bit, 4) for bit in (48, 52, 56, 60))
        for row in range(above + rows + below):
            for column in range(left + columns + right):
                inside = 0 <= row - above < rows and 0 <= column - left < columns
                element = dram + (row - above) * stride + column - left
                if opcode == STORE:
                    self._store(sram, element)
                else:
                    self._load(memory, sram, element if inside else None)
                sram += 1

    def _load(self, memory: int, sram: int, element: int | None) -> None:
        if memory == UOP:
            self.uop[sram] = 0 if element is None else self._word(element * 4, 4, signed=False)
            return
        buffer = {INP: self.inp, WGT: self.wgt, ACC: self.acc}[memory]
        lanes, size = len(buffer[sram]), 4 if memory == ACC else 1
        for lane in range(lanes):
            value = 0 if element is None else self._word((element * lanes + lane) * size, size, signed=True)
            buffer[sram][lane] = value

    def _store(self, sram: int, element: int) -> None:
        lanes = len(self.out[sram])
        for lane in range(lanes):
            self.dram[element * lanes + lane] = self.out[sram][lane] & 0xFF

    def _word(self, address: int, size: int, *, signed: bool) -> int:
        if address + size > len(self.dram):
            raise IndexError(f"DRAM byte {address}")
        return int.from_bytes(self.dram[address : address + size], "little", signed=signed)

    def _loops(self, low: int, high: int, widths: Sequence[int]) -> _Loops:
        uop_bits = self.config.log_uop_depth
        position, values = 8, []
        for width in (uop_bits, uop_bits + 1, 14, 14):
            values.append(_bits(low, position, width))
            position += width
        steps, position = [], 0
        for width in widths:
            steps.append((_bits(high, position, width), _bits(high, position + width, width)))
            position += 2 * width
        return _Loops(_bits(low, 7, 1), values[0], values[1], (values[2], values[3]), tuple(steps))

    def _indices(self, loops: _Loops) -> Iterator[tuple[int, int, int]]:
        acc_bits, src_bits = self.config.log_acc_depth, max(self.config.log_acc_depth, self.config.log_inp_depth)
        steps = (*loops.steps, (0, 0))[:3]
        for outer in range(loops.trips[0]):
            for inner in range(loops.trips[1]):
                for position in range(loops.begin, loops.end):
                    uop = self.uop[position]
                    parts = (
                        _bits(uop, 0, acc_bits),
                        _bits(uop, acc_bits, src_bits),
                        _bits(uop, acc_bits + src_bits, self.config.log_wgt_depth),
                    )
                    dst, src, wgt = (p + outer * o + inner * i for p, (o, i) in zip(parts, steps, strict=True))
                    yield dst, src, wgt

    def _gemm(self, low: int, high: int) -> None:
        config, block = self.config, self.config.block
        loops = self._loops(low, high, (config.log_acc_depth, config.log_inp_depth, config.log_wgt_depth))
        for dst, src, wgt in self._indices(loops):
            acc = self.acc[dst]
            if loops.reset:
                acc[:] = [0] * len(acc)
                continue
            inputs, weights = self.inp[src], self.wgt[wgt]
            for row in range(config.batch):
                for column in range(block):
                    total = sum(inputs[row * block + k] * weights[column * block + k] for k in range(block))
                    lane = row * block + column
                    acc[lane] = _signed((acc[lane] + total) & 0xFFFF_FFFF, 32)
                    self.out[dst][lane] = acc[lane] & 0xFF

    def _alu(self, low: int, high: int) -> None:
        acc_bits = self.config.log_acc_depth
        loops = self._loops(low, high, (acc_bits, acc_bits))
        opcode, use_imm = _bits(high, 4 * acc_bits, 3), _bits(high, 4 * acc_bits + 3, 1)
        imm = _signed(_bits(high, 4 * acc_bits + 4, 16), 16)
        for dst, src, _ in self._indices(loops):
            operands = [imm] * len(self.acc[dst]) if use_imm else list(self.acc[src])
            for lane, operand in enumerate(operands):
                value = _alu_result(opcode, self.acc[dst][lane], operand)
                self.acc[dst][lane] = value
                self.out[dst][lane] = value & 0xFF


def _alu_result(opcode: int, value: int, operand: int) -> int:
    if opcode == MIN:
        return min(value, operand)
    if opcode == MAX:
        return max(value, operand)
    if opcode == ADD:
        return _signed((value + operand) & 0xFFFF_FFFF, 32)
    if opcode != SHR:
        raise SimulationError(f"ALU operation {opcode}", allowed="MIN, MAX, ADD, SHR")
    if operand >= 0:
        return value >> operand
    return _signed((value << -operand) & 0xFFFF_FFFF, 32)
