"""The accumulator buffer: two banks, of the even and of the odd rows, so that two neighbours are written at once."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mpi_vta.gateware.buffers import Buffer, Elements, WritePort, loaded_element, loaded_lanes
from mpi_vta.hw.config import VTAConfig

_BANKS = 2


class Accumulator(wiring.Component):
    """Reads a row and writes one, or two neighbours with one content, in the same cycle; a loader writes lanes.

    Parameters
    ----------
    config : VTAConfig
        The build.
    kind : Elements
        How its elements travel.
    which : int
        Of the loader's buffers.

    Attributes
    ----------
    ask : In
        Row to read.
    even, odd, from_odd : Out
        What the banks hold at that row's place, and whether the odd one is meant; a cycle later.
    passed : Out(1)
        The row that was asked for is written in the cycle in which it is read: what was written counts.
    enable, row, element, pair : In
        Write a row, with the next one if `pair`.
    port : In(WritePort)
        From the loader.
    """

    def __init__(self, config: VTAConfig, kind: Elements, which: int) -> None:
        self.log_depth, self.kind, self.which = config.log_acc_depth, kind, which
        super().__init__(
            {
                "ask": In(self.log_depth),
                "even": Out(kind.bits),
                "odd": Out(kind.bits),
                "from_odd": Out(1),
                "passed": Out(1),
                "enable": In(1),
                "row": In(self.log_depth),
                "element": In(kind.bits),
                "pair": In(1),
                "port": In(WritePort(kind.bus_bits)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Return the logic."""
        m = Module()
        row, port, ask, enable = self.row, self.port, self.ask, self.enable
        log_depth = self.log_depth - 1
        loads, loaded = loaded_lanes(self.kind, port, self.which), loaded_element(m, self.kind, port)
        for number, found in zip(range(_BANKS), (self.even, self.odd), strict=True):
            m.submodules[f"bank{number}"] = bank = Buffer(self.kind, log_depth)
            mine = enable & (self.pair | (row[0] == number))
            # of a pair that begins with an odd row, the even one lies one further
            place: Any = (row[1:] + row[0])[:log_depth] if number == 0 else row[1:]
            m.d.comb += [
                bank.enable.eq(Mux(mine, -1, Mux(port.address[0] == number, loads, 0))),
                bank.write_address.eq(Mux(mine, Mux(self.pair, place, row[1:]), port.address[1:])),
                bank.write_element.eq(Mux(mine, self.element, loaded)),
                bank.read_address.eq(ask[1:]),
                found.eq(bank.element),
            ]
        follows = (row + 1)[: self.log_depth] == ask
        m.d.sync += [self.from_odd.eq(ask[0]), self.passed.eq(enable & ((row == ask) | (self.pair & follows)))]
        return m
