"""Traces as pandas data frames, for notebooks; needs the extra ``analysis``.

Each takes ``read(path)``, or of a run of several models ``Run(read(path), number)``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mpi_vta.trace.activity import activity
from mpi_vta.trace.energy import run_energy
from mpi_vta.trace.reader import Trace, read
from mpi_vta.trace.run import Run
from mpi_vta.trace.schema import CYCLE_KINDS, EventKind
from mpi_vta.trace.summary import summarize

if TYPE_CHECKING:
    import pandas as pd


def events_frame(run: Run | Trace) -> pd.DataFrame:
    """Return all events with their rank; ``kind`` by name, times in nanoseconds."""
    import pandas as pd

    run = _run_of(run)
    parts = [pd.DataFrame(record.events).assign(rank=rank) for rank, record in run.ranks.items()]
    frame = pd.concat(parts, ignore_index=True)
    frame["kind"] = frame["kind"].map({kind.value: kind.name.lower() for kind in EventKind})
    return frame


def images_frame(run: Run | Trace) -> pd.DataFrame:
    """Return ``start_ns``, ``end_ns`` and ``latency_ns`` by image."""
    import pandas as pd

    return pd.DataFrame(_run_of(run).images).set_index("image")


def messages_frame(run: Run | Trace) -> pd.DataFrame:
    """Return every message with both of its ends."""
    import pandas as pd

    return pd.DataFrame(_run_of(run).messages.matched)


def activity_frame(run: Run | Trace) -> pd.DataFrame:
    """Return milliseconds per rank, kind of activity and cause of waiting."""
    import pandas as pd

    rows = [
        (rank, kind, cause, ns / 1e6)
        for rank, totals in activity(_run_of(run)).totals_ns.items()
        for (kind, cause), ns in totals.items()
    ]
    return pd.DataFrame(rows, columns=["rank", "kind", "cause", "ms"])


def energy_frame(run: Run | Trace) -> pd.DataFrame:
    """Return joules per image by rank: with VTA idle, with VTA running, of its port beyond that, and of the switch.

    The switch is shared out evenly among the ranks; see `mpi_vta.trace.energy.run_energy` for what is measured.
    """
    import pandas as pd

    run = _run_of(run)
    images = len(run.images)
    energy = run_energy(run)
    rows = {
        rank: (
            board.idle_j / images,
            board.running_j / images,
            board.port_j / images,
            energy.switch_j / images / len(run.ranks),
        )
        for rank, board in zip(run.ranks, energy.boards, strict=True)
    }
    columns = ["idle", "running", "port", "switch"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("rank")


def layers_frame(run: Run | Trace) -> pd.DataFrame:
    """Return every layer of every stage with its cycles, work and place under the roofline (modelled).

    ``operations`` and ``bytes`` are per launch, ``intensity`` is their ratio, ``gops`` what is attained,
    ``peak_gops`` and ``bus_gb_s`` the roofs of the rank's VTA.
    """
    import pandas as pd

    run, parts = _run_of(run), []
    for rank, record in run.ranks.items():
        part = pd.DataFrame(record.profile)
        about = record.attributes
        part["name"] = [record.layers[index] for index in part["layer"]]
        part["rank"] = rank
        part["cycles"] = part[list(CYCLE_KINDS)].sum(axis=1)
        part["operations"] = part["gemm_uops"] * int(about["operations_per_uop"])
        part["bytes"] = part["load_bytes"] + part["store_bytes"]
        part["intensity"] = part["operations"] / part["bytes"].clip(lower=1)
        part["gops"] = part["operations"] * float(about["clock_mhz"]) / 1e3 / part["cycles"].clip(lower=1)
        part["peak_gops"] = float(about["operations_per_uop"]) * float(about["clock_mhz"]) / 1e3
        part["bus_gb_s"] = float(about["bus_bytes"]) * float(about["clock_mhz"]) / 1e3
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def runs_frame(paths: Iterable[Path]) -> pd.DataFrame:
    """Return the figures of several runs, a row each, with ``model``, ``strategy``, ``ranks`` and ``path``."""
    import pandas as pd

    rows = []
    for path in paths:
        run = Run(read(path))
        attributes = run.trace.attributes
        about = {"model": attributes["model"], "strategy": attributes["strategy"], "ranks": len(run.ranks)}
        rows.append({**about, **summarize(run).figures, "path": str(path)})
    return pd.DataFrame(rows).sort_values(["strategy", "ranks"], ignore_index=True)


def _run_of(given: Run | Trace) -> Run:
    return Run(given) if isinstance(given, Trace) else given
