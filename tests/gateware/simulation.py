"""Amaranth's own simulator around one component: a row of inputs in, a row of outputs out, a cycle each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from amaranth.sim import Simulator


def run_comb(component, inputs: Iterable[Mapping[str, int]], outputs: Sequence[str]) -> list[tuple[int, ...]]:
    """Return the outputs of a combinational component for each row of inputs."""
    found = []

    async def bench(ctx):
        for row in inputs:
            for name, value in row.items():
                ctx.set(getattr(component, name), value)
            await ctx.delay(1e-9)
            found.append(tuple(ctx.get(getattr(component, name)) for name in outputs))

    simulator = Simulator(component)
    simulator.add_testbench(bench)
    simulator.run()
    return found


def run_sync(component, inputs: Iterable[Mapping[str, int]], outputs: Sequence[str]) -> list[tuple[int, ...]]:
    """Return the outputs of a clocked component in each cycle, seen before the clock edge that ends it."""
    found = []

    async def bench(ctx):
        for row in inputs:
            for name, value in row.items():
                ctx.set(getattr(component, name), value)
            found.append(tuple(ctx.get(getattr(component, name)) for name in outputs))
            await ctx.tick()

    simulator = Simulator(component)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    return found
