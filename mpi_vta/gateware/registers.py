"""The registers: those that VTA's driver knows, four blocks of 4 KiB, and the core's own in fetch's block."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mpi_vta.hw.config import VTAConfig

ADDRESS_BITS = 14
FETCH, LOAD, COMPUTE, STORE = 0x0000, 0x1000, 0x2000, 0x3000

MAGIC = 0x41545643
"""``CVTA`` in memory order: this core."""
VERSION = 1
START, BUSY_BIT, DONE_BIT, IDLE_BIT = 1, 0, 1, 2

CONTROL = 0x00
INSN_COUNT, INSN_ADDRESS = FETCH + 0x10, FETCH + 0x18
INP_BASE, WGT_BASE = LOAD + 0x10, LOAD + 0x18
COMPUTE_DONE, UOP_BASE, ACC_BASE = COMPUTE + 0x18, COMPUTE + 0x20, COMPUTE + 0x28
OUT_BASE = STORE + 0x10
IDENTITY, VERSION_REGISTER, CONFIGURATION, BUS_BITS = FETCH + 0x40, FETCH + 0x44, FETCH + 0x48, FETCH + 0x4C
CYCLES_LOW, CYCLES_HIGH, FAULT, FAULT_INDEX = FETCH + 0x50, FETCH + 0x54, FETCH + 0x58, FETCH + 0x5C

_WRITABLE = (INSN_COUNT, INSN_ADDRESS, INP_BASE, WGT_BASE, UOP_BASE, ACC_BASE, OUT_BASE)
_UNIT_CONTROLS = (LOAD + CONTROL, COMPUTE + CONTROL, STORE + CONTROL)


def configuration_word(config: VTAConfig) -> int:
    """Return what the register `CONFIGURATION` holds: logarithms of batch, block and of the four buffers' depths."""
    fields = (
        (config.log_batch, 4),
        (config.log_block, 4),
        (config.log_uop_depth, 5),
        (config.log_inp_depth, 5),
        (config.log_wgt_depth, 5),
        (config.log_acc_depth, 5),
    )
    word, at = 0, 0
    for value, bits in fields:
        word |= value << at
        at += bits
    return word


def register_channel() -> wiring.Signature:
    """Return the AXI4-Lite channels of a slave."""
    return wiring.Signature(
        {
            "awaddr": In(ADDRESS_BITS),
            "awprot": In(3),
            "awvalid": In(1),
            "awready": Out(1),
            "wdata": In(32),
            "wstrb": In(4),
            "wvalid": In(1),
            "wready": Out(1),
            "bresp": Out(2),
            "bvalid": Out(1),
            "bready": In(1),
            "araddr": In(ADDRESS_BITS),
            "arprot": In(3),
            "arvalid": In(1),
            "arready": Out(1),
            "rdata": Out(32),
            "rresp": Out(2),
            "rvalid": Out(1),
            "rready": In(1),
        }
    )


class Registers(wiring.Component):
    """The registers behind an AXI4-Lite slave that answers one access after another; writes take whole words.

    Attributes
    ----------
    axi : Out
        `register_channel`.
    start : Out(1)
        Begin a program.
    fetching, finish : In(1)
        Whether fetch has instructions left to hand out; FINISH has been executed.
    fault, fault_index : In
        From fetch.
    insn_count, insn_address, inp_base, wgt_base, uop_base, acc_base, out_base : Out(32)
        What the driver has written.
    """

    def __init__(self, config: VTAConfig, bus_bits: int) -> None:
        self.config, self.bus_bits = config, bus_bits
        super().__init__(
            {
                "axi": Out(register_channel()),
                "start": Out(1),
                "fetching": In(1),
                "finish": In(1),
                "fault": In(4),
                "fault_index": In(32),
                "insn_count": Out(32),
                "insn_address": Out(32),
                "inp_base": Out(32),
                "wgt_base": Out(32),
                "uop_base": Out(32),
                "acc_base": Out(32),
                "out_base": Out(32),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Return the logic."""
        m, axi = Module(), self.axi
        writes, controls = Signal(), [Signal(8, name=f"control{index}") for index in range(len(_UNIT_CONTROLS))]
        values: dict[int, Value] = dict(
            zip(
                _WRITABLE,
                (
                    self.insn_count,
                    self.insn_address,
                    self.inp_base,
                    self.wgt_base,
                    self.uop_base,
                    self.acc_base,
                    self.out_base,
                ),
                strict=True,
            )
        )
        running, done, cycles = Signal(), Signal(), Signal(64)
        m.d.comb += [
            writes.eq(axi.awvalid & axi.wvalid & ~axi.bvalid),
            axi.awready.eq(writes),
            axi.wready.eq(writes),
            axi.arready.eq(axi.arvalid & ~axi.rvalid),
            self.start.eq(writes & (axi.awaddr == FETCH + CONTROL) & axi.wdata[0]),
        ]
        with m.If(writes):
            m.d.sync += axi.bvalid.eq(1)
            with m.Switch(axi.awaddr):
                for address, value in values.items():
                    with m.Case(address):
                        m.d.sync += value.eq(axi.wdata)
                for address, value in zip(_UNIT_CONTROLS, controls, strict=True):
                    with m.Case(address):
                        m.d.sync += value.eq(axi.wdata)
        with m.Elif(axi.bready):
            m.d.sync += axi.bvalid.eq(0)

        fetched = running & ~self.fetching
        readable = {
            FETCH + CONTROL: Cat(running & self.fetching, done | fetched, ~running),
            COMPUTE_DONE: done,
            IDENTITY: MAGIC,
            VERSION_REGISTER: VERSION,
            CONFIGURATION: configuration_word(self.config),
            BUS_BITS: self.bus_bits,
            CYCLES_LOW: cycles[:32],
            CYCLES_HIGH: cycles[32:],
            FAULT: self.fault,
            FAULT_INDEX: Mux(self.fault.any(), self.fault_index, 0),
            **values,
            **dict(zip(_UNIT_CONTROLS, controls, strict=True)),
        }
        with m.If(axi.arvalid & ~axi.rvalid):
            m.d.sync += [axi.rvalid.eq(1), axi.rdata.eq(0)]
            with m.Switch(axi.araddr):
                for address, value in readable.items():
                    with m.Case(address):
                        m.d.sync += axi.rdata.eq(value)
        with m.Elif(axi.rready):
            m.d.sync += axi.rvalid.eq(0)

        with m.If(self.start):
            m.d.sync += [running.eq(1), done.eq(0), cycles.eq(1)]
        with m.Elif(running):
            with m.If(self.finish):
                m.d.sync += [running.eq(0), done.eq(1)]
            with m.Else():
                m.d.sync += cycles.eq(cycles + 1)
        return m
