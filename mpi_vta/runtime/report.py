"""What a run achieved: the summary that scripts read, and the table that people read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from math import inf
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from mpi_vta.graph.ir import array_sha256
from mpi_vta.hw.cluster import Cluster
from mpi_vta.plans.plan import Plan, Stage
from mpi_vta.schedule.figures import Figures, measure
from mpi_vta.text_table import counted, print_lines, print_table
from mpi_vta.trace.energy import power_kinds, run_energy
from mpi_vta.trace.reader import RankRecord
from mpi_vta.trace.run import Run
from mpi_vta.trace.schema import MODELLED, EventKind

_RANK = re.compile(r"\brank \d")


def output_sha256(outputs: Mapping[str, NDArray[np.int8]], order: Sequence[str]) -> str:
    """Return the hash of the raw outputs: for each image, each graph output in the graph's order."""
    images = len(next(iter(outputs.values())))
    return array_sha256(outputs[name][image] for image in range(images) for name in order)


def run_figures(run: Run) -> Figures:
    """Return throughput and latency from the trace's image times; a modelled bound binds modelled times only."""
    plan, images = run.plan, run.images
    firsts = images[:: plan.group_images]
    bound = plan.predicted["bound_images_per_s"] if run.time_word == MODELLED else inf
    return measure(
        firsts["start_ns"].tolist(),
        firsts["end_ns"].tolist(),
        len(images),
        plan.group_images,
        plan.groups_per_round,
        bound,
    )


def summarize(
    run: Run,
    *,
    host_ops: Sequence[Mapping[str, Any]],
    outputs: Mapping[str, NDArray[np.int8]] | None,
    output_order: Sequence[str],
) -> dict[str, Any]:
    """Return the summary of a model that was run, JSON-able.

    Parameters
    ----------
    run : Run
        Its part of the trace; the figures come from there.
    host_ops : sequence of mapping
        What ran on a processor: ``name``, ``op``, ``why`` and whether the modelled times contain it, ``timed``.
    outputs : mapping of str to ndarray of int8, or None
        Raw outputs; None for a run without data, which has no hash.
    output_order : sequence of str
        Graph outputs in the graph's order.
    """
    figures, plan, about = run_figures(run), run.plan, run.trace.attributes
    return {
        "name": about["name"],
        "model": plan.model,
        "strategy": plan.strategy,
        "on_ranks": about["ranks"].tolist(),
        "images": figures.images,
        "throughput_images_per_s": figures.throughput_images_per_s,
        "steady_images_per_s": figures.steady_images_per_s,
        "latency_ms": {"p50": figures.latency_p50_ms, "p99": figures.latency_p99_ms},
        "predicted_latency_alone_ms": plan.predicted["latency_alone_ms"],
        "speedup": figures.throughput_images_per_s / plan.predicted["one_board_images_per_s"],
        "ideal_fraction": figures.throughput_images_per_s / plan.predicted["ideal_images_per_s"],
        "predicted_images_per_s": plan.predicted["throughput_images_per_s"],
        "energy": {**run_energy(run).figures(figures.images), "power": power_kinds(run)},
        "stages": [
            _stage_row(stage, replica, run.ranks[rank], figures.makespan_ns)
            for stage in plan.stages
            for replica, rank in enumerate(stage.ranks)
        ],
        "host_ops": [dict(entry) for entry in host_ops],
        "notes": [str(note) for note in plan.notes],
        "output_sha256": None if outputs is None else output_sha256(outputs, output_order),
    }


def _stage_row(stage: Stage, replica: int, record: RankRecord, makespan_ns: int) -> dict[str, Any]:
    index, events = stage.index, record.events
    cycles = dict(zip(record.attributes["stages"].tolist(), record.attributes["cycles"].tolist(), strict=True))
    launches = events[(events["kind"] == EventKind.LAUNCH) & (events["stage"] == index)]
    busy_ns = int((launches["end_ns"] - launches["start_ns"]).sum())
    return {
        "stage": index,
        "replica": replica,
        "rank": int(record.attributes["rank"]),
        "host": record.attributes["host"],
        "board": record.attributes["board"],
        "layers": list(stage.nodes),
        "part": _part_text(stage),
        "launches": len(launches),
        "cycles": cycles[index],
        "ms": busy_ns / max(len(launches), 1) / 1e6,
        "busy_percent": 100.0 * busy_ns / makespan_ns,
    }


def _part_text(stage: Stage) -> str | None:
    """Return which rows and channels a part owns of its last layer's result; None for whole layers."""
    if stage.share is None:
        return None
    (row, end_row), (channel, end_channel) = stage.share.rows, stage.share.channels
    return f"rows {row}..{end_row - 1}, channels {channel}..{end_channel - 1}"


def print_report(summary: Mapping[str, Any], time: str, stream: TextIO) -> None:
    """Print a model's table of stages and its figures; `time` says what times are, ``modelled`` or ``measured``."""
    title = f"{summary['model']}, {summary['strategy']}, {counted(len(summary['on_ranks']), 'rank')}: all times {time}"
    _print_stages(title, summary["stages"], stream)
    print_lines(figure_lines(summary, time), stream)


def print_plan(plan: Plan, cluster: Cluster, stream: TextIO, ranks: Sequence[int]) -> None:
    """Print the stages of a plan by the job's `ranks`, and its predicted figures."""
    rows = [
        {
            "stage": stage.index,
            "replica": replica,
            "rank": ranks[rank],
            "host": "",
            "board": cluster.boards[rank].name,
            "layers": list(stage.nodes),
            "part": _part_text(stage),
            "cycles": _cycles(cluster, stage, replica),
            "ms": stage.compute_ns[replica] / 1e6,
            "busy_percent": None,
        }
        for stage in plan.stages
        for replica, rank in enumerate(stage.ranks)
    ]
    _print_stages(f"plan of {plan.model}, {plan.strategy}: all times modelled", rows, stream)
    lines = [f"predicted   {name} {value:.4g} (modelled)" for name, value in plan.predicted.items()]
    notes = [str(note) for note in plan.notes]
    print_lines([*lines, *(f"note        {note}" for note in (*notes, *own_ranks(notes, ranks)))], stream)


def own_ranks(notes: Iterable[str], ranks: Sequence[int]) -> tuple[str, ...]:
    """Return how the notes on a model number its ranks, if any of them names one and the job numbers them otherwise."""
    if tuple(ranks) == tuple(range(len(ranks))) or not any(_RANK.search(note) for note in notes):
        return ()
    return (f"ranks in the notes are the model's own: its rank 0 is rank {ranks[0]} of the job",)


def _cycles(cluster: Cluster, stage: Stage, replica: int) -> int:
    """Return a replica's cycles: the plan states the first one's, and of other builds the time."""
    first, board = (cluster.boards[rank] for rank in (stage.ranks[0], stage.ranks[replica]))
    if board.config == first.config:
        return stage.cycles
    # a nanosecond is less than a cycle, so one number of cycles takes so long
    return round((stage.compute_ns[replica] - board.launch_overhead_ns) * board.clock_mhz / 1000)


def figure_lines(summary: Mapping[str, Any], time: str) -> list[str]:
    """Return a model's figures as lines of text; see `print_report`."""
    latency = summary["latency_ms"]
    against = MODELLED if time == MODELLED else f"{time} against {MODELLED}"
    predicted = "" if time == MODELLED else f"; predicted {summary['predicted_images_per_s']:.3f}, {MODELLED}"
    steady = "" if summary["steady_images_per_s"] is None else f"steady {summary['steady_images_per_s']:.3f}, "
    lines = [
        f"throughput  {summary['throughput_images_per_s']:.3f} images/s over {counted(summary['images'], 'image')} "
        f"({steady}{time}{predicted})",
        f"latency     p50 {latency['p50']:.3f} ms, p99 {latency['p99']:.3f} ms ({time}); "
        f"one image alone {summary['predicted_latency_alone_ms']:.3f} ms ({MODELLED})",
        f"speed-up    {summary['speedup']:.2f} against one board, {100 * summary['ideal_fraction']:.1f} % of the "
        f"ideal of {counted(len(summary['on_ranks']), 'board')} ({against})",
        _energy_line(summary["energy"]),
    ]
    for entry in summary["host_ops"]:
        untimed = "" if entry["timed"] else "; not in the modelled time"
        lines.append(f"on the host {entry['name']} ({entry['op']}): {entry['why']}{untimed}")
    notes = (*summary["notes"], *own_ranks(summary["notes"], summary["on_ranks"]))
    lines += [f"note        {note}" for note in notes]
    if summary["output_sha256"] is None:
        lines.append("outputs     none: this device models time only")
    else:
        lines.append(f"outputs     sha256 {summary['output_sha256']}")
    return lines


def _energy_line(energy: Mapping[str, Any]) -> str:
    network = 100 * energy["network_j_per_image"] / energy["energy_j_per_image"]
    kinds = MODELLED if energy["power"] == MODELLED else f"boards {energy['power']}, network {MODELLED}"
    return (
        f"energy      {energy['energy_j_per_image']:.4g} J an image, {network:.1f} % of it the network's; "
        f"{energy['average_power_w']:.1f} W, {energy['images_per_s_per_w']:.3f} images/s per W ({kinds})"
    )


def _print_stages(title: str, rows: Sequence[Mapping[str, Any]], stream: TextIO) -> None:
    heads = ("stage", "rank", "host", "board", "layers", "cycles", "ms", "busy %")
    cells: list[tuple[str, ...]] = []
    for _, same in groupby(rows, key=lambda row: (row["layers"], None if row["part"] else row["stage"])):
        parts = list(same)
        cells += [_split_cells(parts)] if parts[0]["part"] else [_cells(row) for row in parts]
    print_table(title, heads, cells, stream, left=("host", "board", "layers"))


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"{row['stage']}.{row['replica']}" if row["replica"] else str(row["stage"]),
        str(row["rank"]),
        row["host"],
        row["board"],
        _layers_text(row["layers"]),
        "" if row["cycles"] is None else f"{row['cycles']:,}",
        f"{row['ms']:.3f}",
        "" if row["busy_percent"] is None else f"{row['busy_percent']:.1f}",
    )


def _split_cells(parts: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return one line for all parts of some layers: the slowest one's time, and how busy they are on average."""
    slowest = max(parts, key=lambda row: row["ms"])
    busy = [row["busy_percent"] for row in parts if row["busy_percent"] is not None]
    kinds = dict.fromkeys(row["board"] for row in parts)
    return (
        f"{parts[0]['stage']}-{parts[-1]['stage']}",
        ",".join(str(rank) for rank in sorted(row["rank"] for row in parts)),
        "",
        ", ".join(kinds),
        f"{_layers_text(slowest['layers'])} in {len(parts)} parts, the slowest {slowest['part']}",
        f"{slowest['cycles']:,}",
        f"{slowest['ms']:.3f}",
        f"{sum(busy) / len(busy):.1f}" if busy else "",
    )


def _layers_text(layers: Sequence[str]) -> str:
    return layers[0] if len(layers) == 1 else f"{len(layers)}: {layers[0]} .. {layers[-1]}"
