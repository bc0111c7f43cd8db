"""Claims about components, proven by yosys' own SAT solver."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from amaranth import Module, Signal
from amaranth.back import rtlil
from amaranth.lib import wiring
from amaranth.lib.wiring import Out


class Claim(wiring.Component):
    """A component with free inputs, and `ok`, which must always hold.

    `build` takes a module and returns what must hold; every other signal is what it makes of its ports.
    """

    def __init__(self, ports: Mapping[str, wiring.Member], build: Callable[[Claim, Module], object]) -> None:
        self._build = build
        super().__init__({**ports, "ok": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.ok.eq(self._build(self, m))
        return m


def delayed(m, value, cycles):
    """Return a value as it was some cycles ago."""
    for _ in range(cycles):
        later = Signal(value.shape())
        m.d.sync += later.eq(value)
        value = later
    return value


def prove(claim: Claim, folder: Path, goals: Sequence[str]) -> str:
    """Run `sat` with each goal's options; return the log. A claim that is not proven is an error of yosys."""
    netlist = folder / "claim.il"
    netlist.write_text(rtlil.convert(claim, name="claim", emit_src=False))
    # everything before the solver once; the log names each proof
    script = ["hierarchy -top claim", "proc", "flatten", "opt -full", "memory_map", "opt", "check -assert"]
    script += [f"sat -verify -prove ok 1 -timeout 600 {goal}" for goal in goals]
    steps = folder / "prove.ys"
    steps.write_text("\n".join([f"read_rtlil {netlist}", *script]) + "\n")
    done = subprocess.run(["yosys", "-q", "-t", str(steps)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout[-2000:] + done.stderr[-2000:]
