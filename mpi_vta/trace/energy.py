"""The energy of a run: of boards with a sensor as measured, of all else by the model that the planner uses too."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from mpi_vta.hw.board import Power
from mpi_vta.hw.energy import BoardEnergy, Energy, NetworkPower, Usage, board_energy, switch_energy_j
from mpi_vta.trace.run import Run
from mpi_vta.trace.schema import MEASURED, EventKind

NOT_STATED = NetworkPower(0.0, 0.0, 0.0, "the trace does not say; 0 W")


def run_energy(run: Run) -> Energy:
    """Return the energy from the first image's entry to the last one's end; its boards are in the order of the ranks.

    Modelled parts are those of `mpi_vta.hw.energy.job_energy`, so of a run in virtual time the whole is what its
    plan foretold. What a sensor measured holds the board's port too.
    """
    network = network_power(run)
    duration_ns = int(run.images["end_ns"].max()) - run.begin_ns
    boards = tuple(_board(run, rank, network, duration_ns) for rank in run.ranks)
    return Energy(boards, switch_energy_j(network, len(boards), duration_ns), duration_ns / 1e9)


def power_kinds(run: Run) -> str:
    """Return ``modelled``, ``measured``, or both if some boards have a sensor; the network is always modelled."""
    return " and ".join(sorted({record.power_kind for record in run.ranks.values()}))


def network_power(run: Run) -> NetworkPower:
    """Return the power of ports and switch that the trace states; 0 W for a trace without."""
    stated = run.trace.attributes.get("network_power")
    return NOT_STATED if stated is None else NetworkPower(**json.loads(str(stated)))


def _board(run: Run, rank: int, network: NetworkPower, duration_ns: int) -> BoardEnergy:
    record = run.ranks[rank]
    if record.power_kind == MEASURED:
        return BoardEnergy(*_sensor_joules(run, rank), 0.0)
    about = record.attributes
    power = Power(float(about["idle_watts"]), float(about["busy_watts"]), str(about["power_source"]))
    launches = run.events(rank, EventKind.LAUNCH)
    sizes = [run.events(rank, kind)["bytes"] for kind in (EventKind.SEND, EventKind.RECEIVE)]
    port_ns = sum(int(run.network.wire_ns(of_kind).sum()) for of_kind in sizes)
    vta_ns = int((launches["end_ns"] - launches["start_ns"]).sum())
    return board_energy(power, network, Usage(vta_ns, port_ns), duration_ns)


def _sensor_joules(run: Run, rank: int) -> tuple[float, float]:
    """Return what the sensor measured from the first image's entry on: while VTA idles, and while it runs."""
    steps = run.ranks[rank].power
    if not steps.size:
        return 0.0, 0.0
    spent = np.cumsum((steps["end_ns"] - steps["start_ns"]) / 1e9 * steps["watts"])
    before = np.concatenate([[0.0], spent[:-1]])
    times = np.column_stack([steps["start_ns"], steps["end_ns"]]).reshape(-1)
    energy = np.column_stack([before, spent]).reshape(-1)

    def until(at_ns: Any) -> Any:
        return np.interp(np.maximum(at_ns, run.begin_ns), times, energy)

    launches = run.events(rank, EventKind.LAUNCH)
    running = float((until(launches["end_ns"]) - until(launches["start_ns"])).sum())
    return float(until(run.end_ns) - until(run.begin_ns)) - running, running
