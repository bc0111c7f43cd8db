"""Random programs of the portable subset for any build: load, compute and store overlap under tokens."""

from __future__ import annotations

import numpy as np

from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.codec import Instruction, encode, encode_uops
from mpi_vta.isa.table import AluOpcode, MemoryType, Opcode

REGION_BYTES = 1 << 20
UOP, INP, WGT, ACC, OUT = range(5)
_SIDES = 2


class RandomProgram:
    """A program of some rounds, each on its side of the buffers, and the memory that it works on.

    Every rule of the subset holds but the seventh: rows are reused at any distance.

    Attributes
    ----------
    insns : ndarray of uint64, shape (n, 2)
        The program.
    image : ndarray of uint8
        Memory before it runs.
    """

    def __init__(self, config: VTAConfig, seed: int, rounds: int = 5) -> None:
        self._config, self._rng, self._rounds = config, np.random.default_rng(seed), rounds
        self._insns: list[Instruction] = []
        self._uops: list[tuple[int, int, int]] = []
        self.image = self._rng.integers(0, 256, 5 * REGION_BYTES, dtype=np.uint8)
        # what is used of each buffer: a side's part of it, and no more than a program of this size needs
        self._rows = min(96, config.acc_depth // _SIDES)
        self._inputs = min(96, config.inp_depth // _SIDES)
        self._weights = min(12, config.wgt_depth // _SIDES)
        for number in range(rounds):
            self._round(number)
        for _ in range(min(rounds, _SIDES) - 1):
            self._add(Opcode.LOAD, pop_next=1)
        self._add(Opcode.FINISH, pop_next=1)
        self.insns = encode(self._insns, config)
        dst, src, wgt = (np.array(column) for column in zip(*self._uops, strict=True))
        raw = encode_uops(dst, src, wgt, config).view(np.uint8)
        self.image[UOP * REGION_BYTES : UOP * REGION_BYTES + raw.size] = raw

    def _add(self, opcode: Opcode, **fields: int) -> None:
        self._insns.append(Instruction(opcode, {name: int(value) for name, value in fields.items()}))

    def _pick(self, low: int, high: int) -> int:
        return int(self._rng.integers(low, high + 1))

    def _base(self, region: int, element_bytes: int) -> int:
        return region * REGION_BYTES // element_bytes + self._pick(0, 40)

    def _load(self, memory: MemoryType, region: int, element_bytes: int, begin: int, room: int, padded: bool, **tokens):
        """Fill `room` elements from `begin` on, in one or several moves."""
        while room:
            pads = {name: 0 for name in ("y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1")}
            if padded and self._pick(0, 1):
                pads = {name: self._pick(0, 2) for name in pads}
            width, sides = self._pick(1, 7), pads["x_pad_0"] + pads["x_pad_1"]
            rows = self._pick(1, 6)
            size = (rows + pads["y_pad_0"] + pads["y_pad_1"]) * (width + sides)
            if size > room:
                pads, rows, width = {name: 0 for name in pads}, 1, room
                size = room
            stride = width + self._pick(0, 3) * self._pick(0, 1)
            room -= size
            self._add(
                Opcode.LOAD, memory_type=memory, sram_base=begin, dram_base=self._base(region, element_bytes),
                y_size=rows, x_size=width, x_stride=stride, **pads, **(tokens if room == 0 else {}),
            )  # fmt: skip
            begin += size

    def _loops(self, spaces: dict[str, tuple[int, int]], count: int, same: bool) -> dict[str, int]:
        """Choose loops and micro-ops that stay inside (first, number of) elements of each index."""
        trips = {"iter_out": self._pick(1, 4), "iter_in": self._pick(1, 12)}
        factors, rooms = {}, []
        for name, (_, number) in spaces.items():
            inner = self._pick(0, min(3, (number - 1) // trips["iter_in"]))
            outer = self._pick(0, min(5, (number - 1 - inner * (trips["iter_in"] - 1)) // trips["iter_out"]))
            factors |= {f"{name}_factor_in": inner, f"{name}_factor_out": outer}
            rooms.append(number - 1 - inner * (trips["iter_in"] - 1) - outer * (trips["iter_out"] - 1))
        begin = len(self._uops)
        for _ in range(count):
            uop = [first + self._pick(0, room) for (first, _), room in zip(spaces.values(), rooms, strict=True)]
            self._uops.append((*uop, 0, 0)[:3] if not same else (uop[0], uop[0], 0))
        if same:
            factors |= {f"src_factor_{way}": factors[f"dst_factor_{way}"] for way in ("in", "out")}
        return {"uop_bgn": begin, "uop_end": begin + count, **trips, **factors}

    def _run(self, first: int, number: int) -> dict[str, int]:
        """Loops over consecutive rows: what a core may do several at once."""
        begin = len(self._uops)
        self._uops.append((first, first, 0))
        return {
            "uop_bgn": begin, "uop_end": begin + 1, "iter_out": 1, "iter_in": number,
            "dst_factor_in": 1, "src_factor_in": 1,
        }  # fmt: skip

    def _immediate(self) -> dict[str, int]:
        opcode = AluOpcode(self._pick(0, 3))
        limit = 15 if opcode == AluOpcode.SHR else 1 << self._pick(1, 14)
        return {"alu_opcode": opcode, "use_imm": 1, "imm": self._pick(-limit, limit)}

    def _round(self, number: int) -> None:
        config, side = self._config, number % _SIDES
        waits = int(number >= _SIDES)
        inputs = (side * (config.inp_depth // _SIDES), self._inputs)
        weights = (side * (config.wgt_depth // _SIDES), self._weights)
        rows = (side * (config.acc_depth // _SIDES), self._rows)
        if waits:
            self._add(Opcode.LOAD, memory_type=MemoryType.INP, pop_next=1)
        self._load(MemoryType.INP, INP, config.inp_bytes, *inputs, True)
        self._load(MemoryType.WGT, WGT, config.wgt_bytes, *weights, False, push_next=1)
        place = len(self._insns)
        body: list[Instruction] = []
        first_uop = len(self._uops)
        outer, self._insns = self._insns, body
        for _ in range(self._pick(2, 7)):
            self._operation(rows, inputs, weights)
        # every row that is stored is an ALU result; passes of one to four instructions on the same rows
        touch = self._run(rows[0], self._rows)
        for _ in range(self._pick(0, 3)):
            self._add(Opcode.ALU, **touch, **self._immediate())
        clip = self._pick(1, 200)
        self._add(
            Opcode.ALU,
            **touch,
            alu_opcode=AluOpcode.MAX,
            use_imm=1,
            imm=-clip,
            push_prev=int(number + _SIDES < self._rounds),
        )
        self._add(Opcode.ALU, **touch, alu_opcode=AluOpcode.MIN, use_imm=1, imm=clip, push_next=1)
        self._insns = outer
        assert len(outer) == place
        self._add(
            Opcode.LOAD, memory_type=MemoryType.UOP, sram_base=first_uop, dram_base=UOP * REGION_BYTES // 4 + first_uop,
            y_size=1, x_size=len(self._uops) - first_uop, x_stride=self._pick(0, 9), pop_prev=1, pop_next=waits,
        )  # fmt: skip
        self._load(MemoryType.ACC, ACC, config.acc_bytes, *rows, True)
        self._insns += body
        width = self._pick(1, 9)
        height = self._rows // width
        self._add(
            Opcode.STORE, memory_type=MemoryType.OUT, sram_base=rows[0],
            dram_base=OUT * REGION_BYTES // config.out_bytes + number * 300 + self._pick(0, 9),
            y_size=height, x_size=width, x_stride=width + self._pick(0, 2), pop_prev=1, push_prev=1,
        )  # fmt: skip

    def _operation(self, rows: tuple[int, int], inputs: tuple[int, int], weights: tuple[int, int]) -> None:
        kind = self._pick(0, 5)
        count = self._pick(1, 5)
        if kind <= 1:
            spaces = {"dst": rows, "src": inputs, "wgt": weights}
            self._add(Opcode.GEMM, **self._loops(spaces, count, same=False))
        elif kind == 2:
            run = self._run(rows[0] + self._pick(0, 3), self._pick(1, self._rows - 3))
            del run["src_factor_in"]
            self._add(Opcode.GEMM, **run, reset=1)
        elif kind == 3:
            spaces = {"dst": rows, "src": rows}
            opcode = (AluOpcode.MIN, AluOpcode.MAX, AluOpcode.ADD)[self._pick(0, 2)]
            self._add(Opcode.ALU, **self._loops(spaces, count, same=False), alu_opcode=opcode)
        elif kind == 4:
            self._add(Opcode.ALU, **self._loops({"dst": rows}, count, same=True), **self._immediate())
        else:
            run = self._run(rows[0] + self._pick(0, 3), self._pick(1, self._rows - 3))
            for _ in range(self._pick(1, 4)):
                self._add(Opcode.ALU, **run, **self._immediate())
