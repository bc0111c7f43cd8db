"""The AXI4 read master that fetch, compute and load share: requests by priority, data in request order."""

from __future__ import annotations

from typing import Any

from amaranth import Array, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mpi_vta.gateware.bursts import BYTE_ADDRESS_BITS, LENGTH_BITS

READS_IN_FLIGHT = 16
INCREMENTING = 1
CACHED = 0b1111  # write-back, allocate: what the coherent ports of Zynq want


class Request(data.StructLayout):
    """A burst that is asked for: whether there is one, its first byte, its beats, the logarithm of a beat's bytes."""

    def __init__(self) -> None:
        super().__init__({"valid": 1, "address": BYTE_ADDRESS_BITS, "length": LENGTH_BITS, "size": 3})


def read_channel(bus_bits: int) -> wiring.Signature:
    """Return the AXI4 read channels of a master."""
    return wiring.Signature(
        {
            "araddr": Out(BYTE_ADDRESS_BITS),
            "arlen": Out(8),
            "arsize": Out(3),
            "arburst": Out(2, init=INCREMENTING),
            "arcache": Out(4, init=CACHED),
            "arprot": Out(3),
            "aruser": Out(5, init=1),
            "arvalid": Out(1),
            "arready": In(1),
            "rdata": In(bus_bits),
            "rresp": In(2),
            "rlast": In(1),
            "rvalid": In(1),
            "rready": Out(1, init=1),
        }
    )


class Reader(wiring.Component):
    """Grants one request a cycle, the first of `clients` before the others, up to `READS_IN_FLIGHT` at once.

    Parameters
    ----------
    clients : sequence of str
        Who asks, the most urgent first. Each has a port ``<name>_request`` (In), ``<name>_grant`` (Out: taken in
        this cycle) and ``<name>_beat`` (Out: `word` is its next one).
    bus_bits : int
        Width of the bus.

    Attributes
    ----------
    axi : Out
        `read_channel`.
    word : Out(bus_bits)
        Data of the beat.
    """

    def __init__(self, clients: tuple[str, ...], bus_bits: int) -> None:
        self.clients = clients
        ports: dict[str, Any] = {"axi": Out(read_channel(bus_bits)), "word": Out(bus_bits)}
        for name in clients:
            ports |= {f"{name}_request": In(Request()), f"{name}_grant": Out(1), f"{name}_beat": Out(1)}
        super().__init__(ports)

    def elaborate(self, platform: Any) -> Module:
        """Return the logic."""
        m = Module()
        axi = self.axi
        count = Signal(range(READS_IN_FLIGHT + 1))
        put, get = Signal(range(READS_IN_FLIGHT)), Signal(range(READS_IN_FLIGHT))
        owners = Array(Signal(range(len(self.clients)), name=f"owner{index}") for index in range(READS_IN_FLIGHT))
        free, granted, ended = Signal(), Signal(), Signal()
        m.d.comb += [
            free.eq((~axi.arvalid | axi.arready) & (count != READS_IN_FLIGHT)),
            ended.eq(axi.rvalid & axi.rlast),
        ]
        m.d.comb += [axi.rready.eq(1), axi.arburst.eq(INCREMENTING), axi.arcache.eq(CACHED), axi.aruser.eq(1)]
        with m.If(axi.arready):
            m.d.sync += axi.arvalid.eq(0)
        with m.If(free):
            branch = m.If
            for number, name in enumerate(self.clients):
                request = getattr(self, f"{name}_request")
                with branch(request.valid):
                    m.d.comb += [getattr(self, f"{name}_grant").eq(1), granted.eq(1)]
                    m.d.sync += [
                        axi.arvalid.eq(1),
                        axi.araddr.eq(request.address),
                        axi.arlen.eq(request.length - 1),
                        axi.arsize.eq(request.size),
                        owners[put].eq(number),
                        put.eq(put + 1),
                    ]
                branch = m.Elif
        m.d.sync += [count.eq(count + granted - ended), get.eq(get + ended), self.word.eq(axi.rdata)]
        for number, name in enumerate(self.clients):
            m.d.sync += getattr(self, f"{name}_beat").eq(axi.rvalid & (owners[get] == number))
        return m
