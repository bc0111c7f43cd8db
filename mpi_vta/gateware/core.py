"""The whole core: registers, fetch, the three units, the queues between them, and the memory ports."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mpi_vta.errors import ConfigError
from mpi_vta.gateware.buffers import BURST_BEATS, Buffer, Elements, check_buffers, loaded_element, loaded_lanes
from mpi_vta.gateware.compute import Compute
from mpi_vta.gateware.decoder import INSTRUCTION_BITS, instruction_layout, is_nop
from mpi_vta.gateware.fetch import Fetch
from mpi_vta.gateware.gemm_array import GemmArray, check_array
from mpi_vta.gateware.loader import Loader
from mpi_vta.gateware.queues import InstructionQueue, TokenQueue
from mpi_vta.gateware.reader import Reader, Request, read_channel
from mpi_vta.gateware.registers import Registers, register_channel
from mpi_vta.gateware.store import Store, write_channel
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.multipliers import Multipliers, packed_multipliers
from mpi_vta.isa.table import FORMAT_OF, MemoryType, Opcode, Unit

QUEUE_DEPTH = 512
BUS_WIDTHS = (64, 128)
AXI3_BURST_BEATS = 16
"""Longest burst of AXI3, which the ports of Zynq-7000 are."""


def bus_width(config: VTAConfig, bus_bits: int | None) -> int:
    """Return the bits of the memory port, if not given those of the configuration's target; refuse what none has."""
    chosen = bus_bits or config.bus_bits
    if chosen not in BUS_WIDTHS:
        allowed = " or ".join(map(str, BUS_WIDTHS))
        raise ConfigError(f"a memory bus of {chosen} bits", where=config.name, allowed=allowed)
    return chosen


def check_core(config: VTAConfig, bus_bits: int | None, multipliers: Multipliers | None = None) -> int:
    """Return the bits of the memory port of a core; refuse one that cannot be made.

    Raises
    ------
    ConfigError
        If the bus is neither 64 nor 128 bits wide, or the GEMM core or a buffer cannot be made.
    """
    bits = bus_width(config, bus_bits)
    check_array(config, multipliers or packed_multipliers(config))
    check_buffers(config, bits)
    return bits


class Core(wiring.Component):
    """VTA for one configuration.

    Parameters
    ----------
    config : VTAConfig
        The build.
    bus_bits : int, optional
        Width of the memory port (default: that of the configuration's target).
    multipliers : Multipliers, optional
        How the GEMM core's products are made.
    burst_beats : int, optional
        Longest burst of the memory port: 256 of AXI4, or `AXI3_BURST_BEATS`.

    Attributes
    ----------
    s_axi_*, m_axi_*
        Registers (AXI4-Lite slave, `registers.register_channel`) and memory (AXI4 master, `reader.read_channel` and
        `store.write_channel`).

    Raises
    ------
    ConfigError
        If the bus is neither 64 nor 128 bits wide, or the GEMM core or a buffer cannot be made.
    """

    def __init__(
        self,
        config: VTAConfig,
        bus_bits: int | None = None,
        multipliers: Multipliers | None = None,
        burst_beats: int = BURST_BEATS,
    ) -> None:
        self.config, self.bus_bits = config, check_core(config, bus_bits, multipliers)
        self.burst_beats = burst_beats
        self.array = GemmArray(config, multipliers)
        super().__init__(
            {
                f"{prefix}_{name}": member
                for prefix, channels in self._channels().items()
                for channel in channels
                for name, member in channel.members.items()
            }
        )

    def _channels(self) -> dict[str, tuple[wiring.Signature, ...]]:
        memory = (read_channel(self.bus_bits), write_channel(self.bus_bits))
        return {"s_axi": (register_channel(),), "m_axi": memory}

    def elaborate(self, platform: Any) -> Module:
        """Return the logic."""
        m, config, bus_bits = Module(), self.config, self.bus_bits
        m.submodules.registers = registers = Registers(config, bus_bits)
        m.submodules.reader = reader = Reader(("fetch", "compute", "load"), bus_bits)
        m.submodules.fetch = fetch = Fetch(config, bus_bits, self.burst_beats)
        m.submodules.load = load = Load(config, bus_bits, self.burst_beats)
        m.submodules.compute = compute = Compute(config, bus_bits, self.burst_beats, self.array)
        m.submodules.store = store = Store(config, bus_bits, self.burst_beats)
        (register_port,), memory_ports = self._channels().values()
        self._connect(m, "s_axi", register_port, registers.axi)
        for channel, inner in zip(memory_ports, (reader.axi, store.axi), strict=True):
            self._connect(m, "m_axi", channel, inner)
        m.d.comb += [
            fetch.start.eq(registers.start),
            fetch.address.eq(registers.insn_address),
            fetch.count.eq(registers.insn_count),
            registers.fetching.eq(fetch.busy),
            registers.finish.eq(compute.finish),
            registers.fault.eq(fetch.fault),
            registers.fault_index.eq(fetch.fault_index),
            load.inp_base.eq(registers.inp_base),
            load.wgt_base.eq(registers.wgt_base),
            compute.uop_base.eq(registers.uop_base),
            compute.acc_base.eq(registers.acc_base),
            store.base.eq(registers.out_base),
            load.inp_address.eq(compute.inp_address),
            load.wgt_address.eq(compute.wgt_address),
            compute.inp.eq(load.inp),
            compute.wgt.eq(load.wgt),
            compute.out_address.eq(store.out_address),
            store.out.eq(compute.out),
        ]
        for name, unit in (("fetch", fetch), ("compute", compute), ("load", load)):
            m.d.comb += [
                getattr(reader, f"{name}_request").eq(unit.request),
                unit.grant.eq(getattr(reader, f"{name}_grant")),
                unit.beat.eq(getattr(reader, f"{name}_beat")),
                unit.word.eq(reader.word),
            ]
        units: dict[Unit, Any] = {Unit.LOAD: load, Unit.COMPUTE: compute, Unit.STORE: store}
        for number, unit in units.items():
            # compute's items say whether the next one belongs to their pass
            extra = number == Unit.COMPUTE
            queue = InstructionQueue(INSTRUCTION_BITS + extra, QUEUE_DEPTH)
            m.submodules[f"{number.name.lower()}_queue"] = queue
            m.d.comb += [
                queue.push.eq(fetch.give[number]),
                queue.item.eq(Cat(fetch.insn, fetch.insn_continues) if extra else fetch.insn),
                fetch.room[number].eq(queue.room),
                unit.head_valid.eq(queue.valid),
                unit.head.eq(queue.head[:INSTRUCTION_BITS]),
                queue.pop.eq(unit.pop),
            ]
            if extra:
                m.d.comb += compute.head_continues.eq(queue.head[-1])
        for name, push, ready, pop in (
            ("load_to_compute", load.push_token, compute.load_ready, compute.pop_load),
            ("compute_to_load", compute.push_load, load.ready, load.pop_token),
            ("compute_to_store", compute.push_store, store.ready, store.pop_token),
            ("store_to_compute", store.push_token, compute.store_ready, compute.pop_store),
        ):
            m.submodules[name] = tokens = TokenQueue()
            m.d.comb += [tokens.push.eq(push), tokens.pop.eq(pop), ready.eq(tokens.ready)]
        return m

    def _connect(self, m: Module, prefix: str, channel: wiring.Signature, inner: Any) -> None:
        """Join ports of the core, flat as tools infer AXI interfaces from their names, to a unit's."""
        for name, member in channel.members.items():
            outside, inside = getattr(self, f"{prefix}_{name}"), getattr(inner, name)
            m.d.comb += inside.eq(outside) if member.flow == In else outside.eq(inside)


class Load(wiring.Component):
    """The load unit with the input and weight buffers.

    Attributes
    ----------
    head, head_valid, pop
        The instruction queue.
    ready, pop_token, push_token
        Tokens from and to the compute unit.
    inp_base, wgt_base : In(32)
        Byte addresses that are added.
    request, grant, beat, word
        The reader's port.
    inp_address, inp, wgt_address, wgt
        Read ports of the buffers.
    """

    def __init__(self, config: VTAConfig, bus_bits: int, burst_beats: int) -> None:
        self.config, self.bus_bits = config, bus_bits
        buffers = (MemoryType.INP, MemoryType.WGT)
        self.kinds = tuple(Elements(config, memory, bus_bits, burst_beats) for memory in buffers)
        super().__init__(
            {
                "head": In(INSTRUCTION_BITS),
                "head_valid": In(1),
                "pop": Out(1),
                "ready": In(1),
                "pop_token": Out(1),
                "push_token": Out(1),
                "inp_base": In(32),
                "wgt_base": In(32),
                "request": Out(Request()),
                "grant": In(1),
                "beat": In(1),
                "word": In(bus_bits),
                "inp_address": In(config.log_inp_depth),
                "inp": Out(8 * config.inp_bytes),
                "wgt_address": In(config.log_wgt_depth),
                "wgt": Out(8 * config.wgt_bytes),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Return the logic."""
        m, config = Module(), self.config
        m.submodules.loader = loader = Loader(config, self.kinds)
        head = instruction_layout(FORMAT_OF[Opcode.LOAD], config)(self.head)
        pushes, ends, takes = Signal(), Signal(), Signal()
        m.d.comb += [
            loader.insn.eq(self.head),
            loader.base.eq(Mux(loader.memory == MemoryType.WGT, self.wgt_base, self.inp_base)),
            self.request.eq(loader.request),
            loader.grant.eq(self.grant),
            loader.beat.eq(self.beat),
            loader.word.eq(self.word),
            takes.eq(self.head_valid & ~loader.busy & ~ends & (~head.pop_next | self.ready)),
            self.pop.eq(takes),
            self.pop_token.eq(takes & head.pop_next),
            loader.start.eq(takes & ~is_nop(head)),
            self.push_token.eq(pushes & (loader.done | ends)),
        ]
        m.d.sync += ends.eq(takes & is_nop(head))
        with m.If(takes):
            m.d.sync += pushes.eq(head.push_next)
        ports = ((self.inp_address, self.inp), (self.wgt_address, self.wgt))
        for which, (kind, (address, element)) in enumerate(zip(self.kinds, ports, strict=True)):
            buffer = Buffer(kind)
            m.submodules[kind.memory.name.lower()] = buffer
            m.d.comb += [
                buffer.enable.eq(loaded_lanes(kind, loader.port, which)),
                buffer.write_address.eq(loader.port.address),
                buffer.write_element.eq(loaded_element(m, kind, loader.port)),
                buffer.read_address.eq(address),
                element.eq(buffer.element),
            ]
        return m
