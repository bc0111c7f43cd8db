"""Hypothesis strategies: legal VTA configurations, instructions, and programs that are legal by construction."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from mpi_vta.errors import ConfigError
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.targets import target_names
from mpi_vta.isa.codec import Instruction, encode, encode_uops, layout
from mpi_vta.isa.table import FORMAT_OF, ISA_VERSIONS, AluOpcode, MemoryType, Opcode

UOP_BASE = 0x1000
DRAM_BYTES = 1 << 16


@st.composite
def configs(draw) -> VTAConfig:
    """Any configuration that the legality rules accept."""
    batch, block = draw(st.integers(0, 3)), draw(st.integers(0, 5))
    inp = draw(st.integers(1, 12))
    data = {
        "TARGET": draw(st.sampled_from(target_names())),
        "HW_VER": draw(st.sampled_from(sorted(ISA_VERSIONS))),
        "LOG_INP_WIDTH": 3,
        "LOG_WGT_WIDTH": 3,
        "LOG_ACC_WIDTH": 5,
        "LOG_BATCH": batch,
        "LOG_BLOCK": block,
        "LOG_UOP_BUFF_SIZE": draw(st.integers(5, 15)),
        "LOG_INP_BUFF_SIZE": max(5, inp + batch + block),
        "LOG_WGT_BUFF_SIZE": max(5, draw(st.integers(1, 10)) + 2 * block),
        "LOG_ACC_BUFF_SIZE": max(5, draw(st.integers(1, inp)) + batch + block + 2),
    }
    try:
        return VTAConfig.from_dict(data)
    except ConfigError:
        # the buffers together were too deep, or one was rounded up to the smallest size: take the usual ones
        return VTAConfig.from_dict(
            data
            | {
                "LOG_INP_BUFF_SIZE": 11 + batch + block,
                "LOG_WGT_BUFF_SIZE": 10 + 2 * block,
                "LOG_ACC_BUFF_SIZE": 11 + batch + block + 2,
            }
        )


@st.composite
def instructions(draw, config: VTAConfig) -> Instruction:
    """Any instruction whose fields fit, meaningful or not."""
    opcode = draw(st.sampled_from(list(Opcode)))
    fields = {
        bits.name: draw(st.integers(bits.low, bits.high) | st.sampled_from([bits.low, bits.high]))
        for bits in layout(FORMAT_OF[opcode], config)[1:]
    }
    if opcode == Opcode.STORE and ISA_VERSIONS[config.hw_ver] == 2 and fields["memory_type"] == 0:
        # OUT, cut to two bits
        fields["memory_type"] = MemoryType.OUT
    return Instruction(opcode, fields)


@dataclass
class Case:
    """A program under construction with the DRAM it needs.

    Addresses: micro-ops at `UOP_BASE`, then inp, wgt and acc data, then the output.
    """

    config: VTAConfig
    instructions: list[Instruction] = field(default_factory=list)
    uops: list[tuple[int, int, int]] = field(default_factory=list)
    seed: int = 0

    def add(self, opcode: Opcode, **fields: int) -> None:
        """Append an instruction."""
        self.instructions.append(Instruction(opcode, fields))

    def words(self):
        """Return the encoded program."""
        return encode(self.instructions, self.config)

    def image(self):
        """Return the DRAM image: random data, the micro-ops in place."""
        rng = np.random.default_rng(self.seed)
        image = rng.integers(0, 256, DRAM_BYTES, dtype=np.uint8)
        if self.uops:
            dst, src, wgt = (np.array(column) for column in zip(*self.uops, strict=True))
            raw = encode_uops(dst, src, wgt, self.config).view(np.uint8)
            image[UOP_BASE : UOP_BASE + raw.size] = raw
        return image


SMALL = VTAConfig.from_dict(
    {
        "TARGET": "pynq",
        "LOG_INP_WIDTH": 3,
        "LOG_WGT_WIDTH": 3,
        "LOG_ACC_WIDTH": 5,
        "LOG_BATCH": 1,
        "LOG_BLOCK": 2,
        "LOG_UOP_BUFF_SIZE": 9,
        "LOG_INP_BUFF_SIZE": 9,
        "LOG_WGT_BUFF_SIZE": 9,
        "LOG_ACC_BUFF_SIZE": 11,
    }
)
"""A tiny build (GEMM 2x4x4; 128 uops, 64 inp, 32 wgt, 64 acc) on which the slow interpreter is quick."""

INP_BASE, WGT_BASE, ACC_BASE, OUT_BASE = 0x2000, 0x4000, 0x6000, 0x8000


def base(config: VTAConfig, memory: MemoryType, address: int) -> int:
    """Return dram_base of a byte address."""
    size = {
        MemoryType.UOP: config.uop_bytes,
        MemoryType.INP: config.inp_bytes,
        MemoryType.WGT: config.wgt_bytes,
        MemoryType.ACC: config.acc_bytes,
        MemoryType.OUT: config.out_bytes,
    }[memory]
    return address // size


def fill(case: Case, memory: MemoryType, address: int, count: int, **tokens: int) -> None:
    """Load a whole buffer range from its first element on, in one row."""
    case.add(
        Opcode.LOAD,
        memory_type=memory,
        dram_base=base(case.config, memory, address),
        y_size=1,
        x_size=count,
        x_stride=count,
        **tokens,
    )


@st.composite
def _loops(draw, case: Case, limits: tuple[int, ...]) -> dict[str, int]:
    """Choose loops and fresh micro-ops whose dst, src and (if limited) wgt stay below the limits."""
    trips = [draw(st.integers(1, 4)) for _ in range(2)]
    steps = [[draw(st.integers(0, 5)) for _ in range(2)] for _ in limits]
    count = draw(st.integers(1, 6))
    room = [
        limit - 1 - sum((trip - 1) * step for trip, step in zip(trips, pair, strict=True))
        for limit, pair in zip(limits, steps, strict=True)
    ]
    begin = len(case.uops)
    for _ in range(count):
        case.uops.append(tuple([draw(st.integers(0, space)) for space in room] + [0])[:3])
    names = ("dst", "src", "wgt")[: len(limits)]
    factors = {
        f"{name}_factor_{axis}": step
        for name, pair in zip(names, steps, strict=True)
        for axis, step in zip(("out", "in"), pair, strict=True)
    }
    return {"uop_bgn": begin, "uop_end": begin + count, "iter_out": trips[0], "iter_in": trips[1], **factors}


@st.composite
def serial_programs(draw, config: VTAConfig = SMALL) -> Case:
    """Fill all buffers, then any GEMMs and ALUs on them, then store everything; one unit at a time.

    Accumulators may be reused at once (rule 7 is left out), everything else is portable.
    """
    case = Case(config, seed=draw(st.integers(0, 1 << 16)))
    steps = draw(st.lists(st.sampled_from(["gemm", "reset", "imm", "register"]), min_size=1, max_size=5))
    body: list[Instruction] = []
    depth = config.acc_depth
    for step in steps:
        if step in ("gemm", "reset"):
            loops = draw(_loops(case, (depth, config.inp_depth, config.wgt_depth)))
            body.append(Instruction(Opcode.GEMM, loops | {"reset": int(step == "reset")}))
            continue
        loops = draw(_loops(case, (depth, depth)))
        # an immediate operation has src = dst
        for position in range(loops["uop_bgn"], loops["uop_end"]):
            dst, src, _ = case.uops[position]
            case.uops[position] = (dst, dst if step == "imm" else src, 0)
        if step == "imm":
            opcode = draw(st.sampled_from(list(AluOpcode)))
            limit = 15 if opcode == AluOpcode.SHR else 1 << 15
            loops |= {f"src_factor_{axis}": loops[f"dst_factor_{axis}"] for axis in ("out", "in")}
            loops |= {"use_imm": 1, "imm": draw(st.integers(-limit, min(limit, (1 << 15) - 1)))}
        else:
            opcode = draw(st.sampled_from([AluOpcode.MIN, AluOpcode.MAX, AluOpcode.ADD]))
        body.append(Instruction(Opcode.ALU, loops | {"alu_opcode": opcode}))
    # every row ends as an ALU result, so that all of them may be stored
    touch = len(case.uops)
    case.uops.append((0, 0, 0))
    fill(case, MemoryType.INP, INP_BASE, config.inp_depth)
    fill(case, MemoryType.WGT, WGT_BASE, config.wgt_depth, push_next=1)
    fill(case, MemoryType.UOP, UOP_BASE, len(case.uops), pop_prev=1)
    fill(case, MemoryType.ACC, ACC_BASE, depth)
    case.instructions += body
    case.add(
        Opcode.ALU, uop_bgn=touch, uop_end=touch + 1, iter_out=1, iter_in=depth, dst_factor_in=1, src_factor_in=1,
        alu_opcode=AluOpcode.ADD, use_imm=1, push_next=1,
    )  # fmt: skip
    case.add(
        Opcode.STORE, memory_type=MemoryType.OUT, dram_base=base(config, MemoryType.OUT, OUT_BASE),
        y_size=1, x_size=depth, x_stride=depth, pop_prev=1, push_prev=1,
    )  # fmt: skip
    case.add(Opcode.FINISH, pop_next=1)
    return case


@st.composite
def tiled_programs(draw, config: VTAConfig = SMALL) -> Case:
    """Double-buffered tiles: load, compute and store overlap under tokens; wholly portable.

    Each tile loads padded 2-D inputs and some weights into its half of the buffers, multiplies,
    clips, and stores.
    """
    case = Case(config, seed=draw(st.integers(0, 1 << 16)))
    rows, taps = draw(st.integers(3, 4)), draw(st.integers(1, 3))
    tiles = draw(st.integers(1, 5))
    half = {
        MemoryType.INP: config.inp_depth // 2,
        MemoryType.WGT: config.wgt_depth // 2,
        MemoryType.ACC: config.acc_depth // 2,
    }
    for side in range(2):
        for tap in range(taps):
            case.uops.append(
                (side * half[MemoryType.ACC], side * half[MemoryType.INP] + tap, side * half[MemoryType.WGT] + tap)
            )
        case.uops.append((side * half[MemoryType.ACC], side * half[MemoryType.ACC], 0))
    fill(case, MemoryType.UOP, UOP_BASE, len(case.uops))
    for tile in range(tiles):
        side = tile % 2
        first = side * (taps + 1)
        left, right = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        above = draw(st.integers(0, 1))
        case.add(
            Opcode.LOAD, memory_type=MemoryType.INP, sram_base=side * half[MemoryType.INP],
            dram_base=base(config, MemoryType.INP, INP_BASE) + draw(st.integers(0, 40)),
            y_size=rows - above, x_size=3, x_stride=draw(st.integers(3, 9)), y_pad_0=above,
            x_pad_0=left, x_pad_1=right, pop_next=int(tile >= 2),
        )  # fmt: skip
        case.add(
            Opcode.LOAD, memory_type=MemoryType.WGT, sram_base=side * half[MemoryType.WGT],
            dram_base=base(config, MemoryType.WGT, WGT_BASE) + draw(st.integers(0, 40)),
            y_size=1, x_size=taps, x_stride=taps, push_next=1,
        )  # fmt: skip
        shape = {"iter_out": rows, "iter_in": 1, "uop_bgn": first, "uop_end": first + 1}
        case.add(Opcode.GEMM, **shape, reset=1, dst_factor_out=1, pop_prev=1, pop_next=int(tile >= 2))
        for tap in range(taps):
            # the reduction is the outermost loop: one instruction per tap
            last = {"push_prev": int(tile + 2 < tiles)} if tap == taps - 1 else {}
            case.add(
                Opcode.GEMM, **(shape | {"uop_bgn": first + tap, "uop_end": first + tap + 1}),
                dst_factor_out=1, src_factor_out=3 + left + right, **last,
            )  # fmt: skip
        case.add(
            Opcode.ALU, **(shape | {"uop_bgn": first + taps, "uop_end": first + taps + 1}), dst_factor_out=1,
            src_factor_out=1, alu_opcode=AluOpcode.SHR, use_imm=1, imm=draw(st.integers(-15, 15)), push_next=1,
        )  # fmt: skip
        case.add(
            Opcode.STORE, memory_type=MemoryType.OUT, sram_base=side * half[MemoryType.ACC],
            dram_base=base(config, MemoryType.OUT, OUT_BASE) + tile * 8, y_size=1, x_size=rows, x_stride=rows,
            pop_prev=1, push_prev=1,
        )  # fmt: skip
    # the last tiles' stores leave a token each: all but the last are taken by token-only moves
    for _ in range(min(tiles, 2) - 1):
        case.add(Opcode.LOAD, pop_next=1)
    case.add(Opcode.FINISH, pop_next=1)
    return case
