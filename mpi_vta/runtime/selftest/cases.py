"""The twenty programs of the selftest, each with its result by plain integer arithmetic, not by the simulator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.table import TRIP_COUNT_BITS
from mpi_vta.runtime.selftest.case import Case, CaseLaunch, CaseProgram, Ints, int8_bytes, int32_bytes, wrap_int32

ROWS = 16
PAGE_BYTES = 4096
TIMED = ("loop_short", "loop_long")
TIMED_TRIPS = ((1 << 10) - 1, (1 << TRIP_COUNT_BITS) - 1)
_ISA = "it executes another instruction set: compare HW_VER of the bitstream and --config"
_BUILD = "it is another build than --config says: compare the bitstream"


def all_cases(config: VTAConfig, timed_trips: tuple[int, int] = TIMED_TRIPS) -> tuple[Case, ...]:
    """Return every case for a build, the simplest first; `timed_trips` are those of the short and the long loop."""
    rng = np.random.default_rng(18)
    alu = [
        _alu(config, rng, name, text, rule, shows)
        for name, text, rule, shows in (
            ("add_immediate", "alu_opcode=ADD use_imm imm=-7", lambda a, b: a - 7, "one ALU instruction"),
            ("add_registers", "alu_opcode=ADD", lambda a, b: a + b, "addition of two accumulators"),
            ("max_immediate", "alu_opcode=MAX use_imm imm=3", lambda a, b: np.maximum(a, 3), "ReLU's operation"),
            ("max_registers", "alu_opcode=MAX", np.maximum, "maximum of two accumulators"),
            ("min_immediate", "alu_opcode=MIN use_imm imm=50", lambda a, b: np.minimum(a, 50), "clipping"),
            ("min_registers", "alu_opcode=MIN", np.minimum, "minimum of two accumulators"),
            ("shift_right", "alu_opcode=SHR use_imm imm=3", lambda a, b: a >> 3, "requantisation's shift"),
            ("shift_left", "alu_opcode=SHR use_imm imm=-2", lambda a, b: a << 2, "a negative shift"),
            ("shift_registers", "alu_opcode=SHR", lambda a, b: a >> b, "a shift by accumulators"),
        )
    ]
    return (
        *alu,
        _gemm(config, rng, "gemm", "one GEMM instruction", extreme=False),
        _gemm(config, rng, "gemm_extremes", "products of -128 and 127", extreme=True),
        _two_loops(config, rng),
        _pads_inp(config, rng),
        _pads_acc(config, rng),
        _strides(config, rng),
        _page_borders(config, rng),
        _residual(config, rng),
        _launched_twice(config, rng),
        _loop(config, rng, TIMED[0], timed_trips[0]),
        _loop(config, rng, TIMED[1], timed_trips[1]),
    )


def _vectors(rng: np.random.Generator, config: VTAConfig, rows: int, low: int, high: int) -> Ints:
    return rng.integers(low, high, (rows, config.batch, config.block), dtype=np.int64)


def _weights(rng: np.random.Generator, config: VTAConfig) -> Ints:
    return rng.integers(-128, 128, (config.block, config.block), dtype=np.int64)


def _product(inp: Ints, wgt: Ints) -> Ints:
    """Return INP elements (n, batch, block in) times a WGT element (block out, block in)."""
    product: Ints = inp @ wgt.T
    return product


def _alu(
    config: VTAConfig, rng: np.random.Generator, name: str, text: str, rule: Callable[[Ints, Ints], Ints], shows: str
) -> Case:
    made = CaseProgram(name, config)
    made.micro_ops([(0, ROWS if "use_imm" not in text else 0, 0)])
    made.input("acc", 2 * ROWS * config.acc_bytes)
    made.output("out", ROWS * config.out_bytes)
    made.emit(f"LOAD memory_type=ACC y_size=1 x_size={2 * ROWS} x_stride={2 * ROWS}", "acc")
    made.emit(f"ALU push_next uop_end=1 iter_out={ROWS} iter_in=1 dst_factor_out=1 src_factor_out=1 {text}")
    _store(made)
    first = _vectors(rng, config, ROWS, -1000, 1000)
    second = _vectors(rng, config, ROWS, 0, 16) if name == "shift_registers" else _vectors(rng, config, ROWS, -90, 90)
    launch = CaseLaunch(
        {"acc": int32_bytes(np.concatenate([first, second]))}, {"out": int8_bytes(wrap_int32(rule(first, second)))}
    )
    return Case(name, shows, _ISA, made.done(), (launch,))


def _store(made: CaseProgram, rows: int = ROWS) -> None:
    made.emit(f"STORE pop_prev push_prev memory_type=OUT y_size=1 x_size={rows} x_stride={rows}", "out")
    made.emit("FINISH pop_next")


def _matrices(made: CaseProgram, wgt: Ints, rows: int = ROWS, weights: int = 1) -> None:
    """Add input vectors and constant weights, and load both."""
    made.input("inp", rows * made.config.inp_bytes)
    made.constant("wgt", int8_bytes(wgt))
    made.output("out", rows * made.config.out_bytes)
    made.emit(f"LOAD memory_type=INP y_size=1 x_size={rows} x_stride={rows}", "inp")
    made.emit(f"LOAD push_next memory_type=WGT y_size=1 x_size={weights} x_stride={weights}", "wgt")


_MULTIPLY = "uop_end=1 iter_out={rows} iter_in=1 dst_factor_out=1 src_factor_out=1"


def _gemm(config: VTAConfig, rng: np.random.Generator, name: str, shows: str, *, extreme: bool) -> Case:
    made = CaseProgram(name, config)
    made.micro_ops([(0, 0, 0)])
    inp, wgt = _vectors(rng, config, ROWS, -128, 128), _weights(rng, config)
    if extreme:
        inp, wgt = np.where(inp < 64, -128, 127), np.where(wgt < 64, -128, 127)
    _matrices(made, wgt)
    loops = _MULTIPLY.format(rows=ROWS)
    made.emit(f"GEMM pop_prev reset {loops}")
    made.emit(f"GEMM {loops}")
    made.emit(f"ALU push_next {loops} alu_opcode=SHR use_imm imm=8")
    _store(made)
    launch = CaseLaunch({"inp": int8_bytes(inp)}, {"out": int8_bytes(_product(inp, wgt) >> 8)})
    return Case(name, shows, _BUILD, made.done(), (launch,))


def _two_loops(config: VTAConfig, rng: np.random.Generator) -> Case:
    """Both loops, a list of micro-ops out of order, and a sum over two weight elements."""
    made = CaseProgram("two_loops", config)
    inp = _vectors(rng, config, 2 * ROWS, -128, 128)
    wgt = np.stack([_weights(rng, config), _weights(rng, config)])
    # four accumulators a row of a 4x4 grid, in another order; the sum over weights is the outer loop
    made.micro_ops([(2, 2, 0), (0, 0, 0), (3, 3, 0), (1, 1, 0)])
    made.input("inp", 2 * ROWS * config.inp_bytes)
    made.constant("wgt", int8_bytes(wgt))
    made.output("out", ROWS * config.out_bytes)
    made.emit(f"LOAD memory_type=INP y_size=1 x_size={2 * ROWS} x_stride={2 * ROWS}", "inp")
    made.emit("LOAD push_next memory_type=WGT y_size=1 x_size=2 x_stride=2", "wgt")
    made.emit("GEMM pop_prev reset uop_end=4 iter_out=4 iter_in=1 dst_factor_out=4")
    steps = f"dst_factor_in=4 src_factor_out={ROWS} src_factor_in=4 wgt_factor_out=1"
    made.emit(f"GEMM uop_end=4 iter_out=2 iter_in=4 {steps}")
    made.emit(
        "ALU push_next uop_end=4 iter_out=4 iter_in=1 dst_factor_out=4 src_factor_out=4 alu_opcode=SHR use_imm imm=9"
    )
    _store(made)
    total = _product(inp[:ROWS], wgt[0]) + _product(inp[ROWS:], wgt[1])
    launch = CaseLaunch({"inp": int8_bytes(inp)}, {"out": int8_bytes(total >> 9)})
    return Case("two_loops", "both loops and several micro-ops", _BUILD, made.done(), (launch,))


def _pads_inp(config: VTAConfig, rng: np.random.Generator) -> Case:
    """A 3x3 plane of input vectors with a border of zeros all around: 5x5."""
    made = CaseProgram("pads_input", config)
    made.micro_ops([(0, 0, 0)])
    inp, wgt = _vectors(rng, config, 9, -128, 128), _weights(rng, config)
    made.input("inp", 9 * config.inp_bytes)
    made.constant("wgt", int8_bytes(wgt))
    made.output("out", 25 * config.out_bytes)
    pads = "y_pad_0=1 y_pad_1=1 x_pad_0=1 x_pad_1=1"
    made.emit(f"LOAD memory_type=INP y_size=3 x_size=3 x_stride=3 {pads}", "inp")
    made.emit("LOAD push_next memory_type=WGT y_size=1 x_size=1 x_stride=1", "wgt")
    loops = _MULTIPLY.format(rows=25)
    made.emit(f"GEMM pop_prev reset {loops}")
    made.emit(f"GEMM {loops}")
    made.emit(f"ALU push_next {loops} alu_opcode=SHR use_imm imm=8")
    _store(made, 25)
    plane = np.zeros((5, 5, config.batch, config.block), np.int64)
    plane[1:4, 1:4] = inp.reshape(3, 3, config.batch, config.block)
    wanted = _product(plane.reshape(25, config.batch, config.block), wgt) >> 8
    launch = CaseLaunch({"inp": int8_bytes(inp)}, {"out": int8_bytes(wanted)})
    meaning = "padding of input loads is not done: convolutions with padding give wrong results on this bitstream"
    return Case("pads_input", "zeros around a plane of inputs", meaning, made.done(), (launch,))


def _pads_acc(config: VTAConfig, rng: np.random.Generator) -> Case:
    made = CaseProgram("pads_accumulator", config)
    made.micro_ops([(0, 0, 0)])
    acc = _vectors(rng, config, 4, -100, 100)
    made.input("acc", 4 * config.acc_bytes)
    made.output("out", 16 * config.out_bytes)
    pads = "y_pad_0=1 y_pad_1=1 x_pad_0=1 x_pad_1=1"
    made.emit(f"LOAD memory_type=ACC y_size=2 x_size=2 x_stride=2 {pads}", "acc")
    made.emit(f"ALU push_next {_MULTIPLY.format(rows=16)} alu_opcode=ADD use_imm imm=5")
    _store(made, 16)
    plane = np.full((4, 4, config.batch, config.block), 5, np.int64)
    plane[1:3, 1:3] += acc.reshape(2, 2, config.batch, config.block)
    launch = CaseLaunch({"acc": int32_bytes(acc)}, {"out": int8_bytes(plane)})
    meaning = 'padding of accumulator loads is ignored: write "ignores_acc_pads": true into the manifest'
    return Case("pads_accumulator", "zeros around a plane of accumulators", meaning, made.done(), (launch,))


def _strides(config: VTAConfig, rng: np.random.Generator) -> Case:
    """Every second pair of columns is loaded, and stored into every second pair."""
    made = CaseProgram("strides", config)
    made.micro_ops([(0, 0, 0)])
    acc = _vectors(rng, config, 16, -100, 100)
    made.input("acc", 16 * config.acc_bytes)
    made.output("out", 16 * config.out_bytes)
    made.emit("LOAD memory_type=ACC y_size=4 x_size=2 x_stride=4", "acc")
    made.emit(f"ALU push_next {_MULTIPLY.format(rows=8)} alu_opcode=ADD use_imm imm=1")
    made.emit("STORE pop_prev push_prev memory_type=OUT y_size=4 x_size=2 x_stride=4", "out")
    made.emit("FINISH pop_next")
    wanted = np.zeros((4, 4, config.batch, config.block), np.int64)
    wanted[:, :2] = acc.reshape(4, 4, config.batch, config.block)[:, :2] + 1
    launch = CaseLaunch({"acc": int32_bytes(acc)}, {"out": int8_bytes(wanted)})
    meaning = "rows of moves go astray: the processor's ports have not the design's widths; add the .hwh"
    return Case("strides", "rows apart in DRAM", meaning, made.done(), (launch,))


def _page_borders(config: VTAConfig, rng: np.random.Generator) -> Case:
    """A load and a store that begin three elements before a 4 KiB border, which no AXI burst may cross."""
    made = CaseProgram("page_borders", config)
    made.micro_ops([(0, 0, 0)])
    first_acc, first_out = (max(PAGE_BYTES // size - 3, 0) for size in (config.acc_bytes, config.out_bytes))
    acc = _vectors(rng, config, first_acc + ROWS, -100, 100)
    made.input("acc", acc.size * 4)
    made.output("out", (first_out + ROWS) * config.out_bytes)
    made.emit(f"LOAD memory_type=ACC dram_base={first_acc} y_size=1 x_size={ROWS} x_stride={ROWS}", "acc")
    made.emit(f"ALU push_next {_MULTIPLY.format(rows=ROWS)} alu_opcode=ADD use_imm imm=1")
    made.emit(
        f"STORE pop_prev push_prev memory_type=OUT dram_base={first_out} y_size=1 x_size={ROWS} x_stride={ROWS}", "out"
    )
    made.emit("FINISH pop_next")
    wanted = np.zeros((first_out + ROWS, config.batch, config.block), np.int64)
    wanted[first_out:] = acc[first_acc:] + 1
    launch = CaseLaunch({"acc": int32_bytes(acc)}, {"out": int8_bytes(wanted)})
    meaning = "bursts at a 4 KiB border go astray: the processor's ports have not the design's widths; add the .hwh"
    return Case("page_borders", "DMA over 4 KiB borders", meaning, made.done(), (launch,))


def _residual(config: VTAConfig, rng: np.random.Generator) -> Case:
    """Return a residual block of 1x1 layers: y = clip(relu((w x + bias) >> 8) + x)."""
    made = CaseProgram("residual", config)
    inp, wgt = _vectors(rng, config, ROWS, -128, 128), _weights(rng, config)
    bias = _vectors(rng, config, ROWS, -20_000, 20_000)
    # the block's input again, as accumulators behind the products
    made.micro_ops([(0, 0, 0), (0, ROWS, 0)])
    made.input("inp", ROWS * config.inp_bytes)
    made.input("skip", ROWS * config.acc_bytes)
    made.constant("wgt", int8_bytes(wgt))
    made.constant("bias", int32_bytes(bias))
    made.output("out", ROWS * config.out_bytes)
    made.emit(f"LOAD memory_type=INP y_size=1 x_size={ROWS} x_stride={ROWS}", "inp")
    made.emit("LOAD push_next memory_type=WGT y_size=1 x_size=1 x_stride=1", "wgt")
    made.emit(f"LOAD memory_type=ACC y_size=1 x_size={ROWS} x_stride={ROWS}", "bias")
    made.emit(f"LOAD memory_type=ACC sram_base={ROWS} y_size=1 x_size={ROWS} x_stride={ROWS}", "skip")
    loops = f"iter_out={ROWS} iter_in=1 dst_factor_out=1 src_factor_out=1"
    made.emit(f"GEMM pop_prev uop_end=1 {loops}")
    made.emit(f"ALU uop_end=1 {loops} alu_opcode=SHR use_imm imm=8")
    made.emit(f"ALU uop_end=1 {loops} alu_opcode=MAX use_imm imm=0")
    made.emit(f"ALU uop_bgn=1 uop_end=2 {loops} alu_opcode=ADD")
    made.emit(f"ALU uop_end=1 {loops} alu_opcode=MIN use_imm imm=127")
    made.emit(f"ALU push_next uop_end=1 {loops} alu_opcode=MAX use_imm imm=-128")
    _store(made)
    value = np.clip(np.maximum((_product(inp, wgt) + bias) >> 8, 0) + inp, -128, 127)
    launch = CaseLaunch({"inp": int8_bytes(inp), "skip": int32_bytes(inp)}, {"out": int8_bytes(value)})
    return Case("residual", "a whole residual block", _BUILD, made.done(), (launch,))


def _launched_twice(config: VTAConfig, rng: np.random.Generator) -> Case:
    """One small stage twice: the second launch must not take the first one's end for its own."""
    made = CaseProgram("launched_twice", config)
    made.micro_ops([(0, 0, 0)])
    wgt = _weights(rng, config)
    _matrices(made, wgt)
    loops = _MULTIPLY.format(rows=ROWS)
    made.emit(f"GEMM pop_prev reset {loops}")
    made.emit(f"GEMM {loops}")
    made.emit(f"ALU push_next {loops} alu_opcode=SHR use_imm imm=8")
    _store(made)
    launches = []
    for _ in range(3):
        inp = _vectors(rng, config, ROWS, -128, 128)
        launches.append(CaseLaunch({"inp": int8_bytes(inp)}, {"out": int8_bytes(_product(inp, wgt) >> 8)}))
    meaning = "a launch is taken for ended too early"
    return Case("launched_twice", "launches that follow each other", meaning, made.done(), tuple(launches))


def _loop(config: VTAConfig, rng: np.random.Generator, name: str, trips: int) -> Case:
    """Many products into the same accumulators; the difference of two such programs in time is VTA's clock alone."""
    made = CaseProgram(name, config)
    made.micro_ops([(row, row, 0) for row in range(ROWS)])
    inp, wgt = _vectors(rng, config, ROWS, -128, 128), _weights(rng, config)
    _matrices(made, wgt)
    made.emit(f"GEMM pop_prev reset uop_end={ROWS} iter_out=1 iter_in=1")
    made.emit(f"GEMM uop_end={ROWS} iter_out={trips} iter_in=1")
    made.emit(f"ALU push_next uop_end={ROWS} iter_out=1 iter_in=1 alu_opcode=ADD use_imm imm=1")
    _store(made)
    launch = CaseLaunch({"inp": int8_bytes(inp)}, {"out": int8_bytes(wrap_int32(trips * _product(inp, wgt)) + 1)})
    return Case(name, f"{trips * ROWS} products of elements in one instruction", _BUILD, made.done(), (launch,))
