"""Queues of the core: instructions that wait for a unit, and the tokens between units."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

MOST_TOKENS = 255


class InstructionQueue(wiring.Component):
    """First in, first out, in a block memory; an item is at the head two cycles after it was put in.

    Parameters
    ----------
    width : int
        Bits of an item.
    depth : int
        Items; a power of two.

    Attributes
    ----------
    push, item : In
        Put an item in; only while `room`.
    room : Out(1)
        Whether there is room, pops of this cycle not counted.
    valid, head : Out
        The oldest item.
    pop : In(1)
        Take it; only while `valid`.
    """

    def __init__(self, width: int, depth: int) -> None:
        self.width, self.depth = width, depth
        super().__init__(
            {
                "push": In(1),
                "item": In(width),
                "room": Out(1),
                "valid": Out(1),
                "head": Out(width),
                "pop": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Return the logic."""
        m = Module()
        m.submodules.memory = memory = Memory(shape=self.width, depth=self.depth, init=[])
        write, read = memory.write_port(), memory.read_port()
        put, get = Signal(range(self.depth)), Signal(range(self.depth))
        level = Signal(range(self.depth + 1))
        m.d.comb += [
            self.room.eq(level != self.depth),
            write.en.eq(self.push),
            write.addr.eq(put),
            write.data.eq(self.item),
            # read ahead: the item that is at the head in the next cycle
            read.addr.eq(get + self.pop),
            self.head.eq(read.data),
        ]
        m.d.sync += [
            put.eq(put + self.push),
            get.eq(get + self.pop),
            level.eq(level + self.push - self.pop),
            self.valid.eq(level > self.pop),
        ]
        return m


class TokenQueue(wiring.Component):
    """Tokens from one unit to another: a counter; a token can be taken one cycle after it was given.

    Attributes
    ----------
    push, pop : In(1)
        Give a token; take one, only while `ready`.
    ready : Out(1)
        Whether there is a token.
    overflow : Out(1)
        A token is given that finds no room; it is lost.
    """

    def __init__(self, most: int = MOST_TOKENS) -> None:
        self.most = most
        super().__init__({"push": In(1), "pop": In(1), "ready": Out(1), "overflow": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        """Return the logic."""
        m = Module()
        count = Signal(range(self.most + 1))
        m.d.comb += [
            self.ready.eq(count != 0),
            self.overflow.eq(self.push & ~self.pop & (count == self.most)),
        ]
        m.d.sync += count.eq(count + (self.push & ~self.overflow) - self.pop)
        return m
