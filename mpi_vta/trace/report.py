"""A run as one page of HTML that needs no network: zoomable time line, tables, pictures."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from mpi_vta.disk import write_atomically
from mpi_vta.plans.plan import SINK
from mpi_vta.trace.activity import NO_MORE_WORK
from mpi_vta.trace.figures import QUESTIONS, draw_if_whole
from mpi_vta.trace.run import Run
from mpi_vta.trace.schema import MODELLED, EventKind
from mpi_vta.trace.summary import ALONE, KINDS, STEADY, Summary, bottleneck_sentences, summarize, warning_lines

MOST_EVENTS = 30_000
SHOWN_KINDS = (EventKind.LAUNCH, EventKind.HOST, EventKind.SEND, EventKind.RECEIVE)
CARDS = ("throughput, images/s", STEADY, "latency p50, ms", ALONE, "latency p99, ms", "energy, J/image")
PICTURE_DPI = 100
# the time line of the page is the better Gantt
PICTURES = tuple(name for name in QUESTIONS if name != "gantt")
PROVENANCE = ("argv", "commit", "mpi_vta_version", "cluster", "device", "seed", "graph_sha256", "output_sha256")
CAUSES_SHOWN = 3


def write_report(run: Run, path: Path, pictures: Sequence[str] = PICTURES) -> None:
    """Write the page.

    Parameters
    ----------
    run : Run
        What it shows.
    path : Path
        HTML file to write.
    pictures : sequence of str
        Names of figures to put in; see `mpi_vta.trace.figures`.
    """
    write_atomically(path, report_html(run, pictures).encode())


def report_html(run: Run, pictures: Sequence[str] = PICTURES) -> str:
    """Return the page; see `write_report`."""
    found = summarize(run)
    data, shown = timeline_data(run)
    page = files("mpi_vta.trace") / "page"
    warnings = "".join(f'<p class="warning">{html.escape(line)}</p>' for line in warning_lines(run))
    return Template((page / "page.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(run.title),
        style=(page / "page.css").read_text(encoding="utf-8"),
        script=(page / "timeline.js").read_text(encoding="utf-8"),
        warnings=warnings,
        cards="".join(_cards(run, found)),
        bottleneck="".join(f"<p>{html.escape(line)}.</p>" for line in bottleneck_sentences(run, found.bottleneck)),
        shown=shown,
        figures=_figure_table(found),
        ranks=_rank_table(run, found),
        stages=_stage_table(run),
        links=_link_table(run),
        pictures="".join(_picture(run, name) for name in pictures),
        provenance=_table(
            ("attribute", "value"),
            [(name, run.trace.attributes[name]) for name in PROVENANCE if name in run.trace.attributes],
            text_columns=(0, 1),
        ),
        # to HTML a script ends at "</script", and after "<!--<script" does not
        data=json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
    )


def timeline_data(run: Run) -> tuple[dict[str, Any], str]:
    """Return what the time line shows, JSON-able, and a sentence if it is not all of the run."""
    from mpi_vta.trace.figures.time_lines import default_window

    rows = {
        rank: sorted(
            event
            for kind in SHOWN_KINDS
            for event in run.events(rank, kind)[
                ["start_ns", "end_ns", "kind", "stage", "image", "peer", "bytes"]
            ].tolist()
        )
        for rank in run.ranks
    }
    starts = sorted(event[0] for events in rows.values() for event in events)
    end_ns, sentence = run.end_ns, ""
    if len(starts) > MOST_EVENTS:
        end_ns = starts[MOST_EVENTS]
        sentence = f"It holds the first {end_ns / 1e9:.6g} s of {run.end_ns / 1e9:.6g} s."
    low, high = default_window(run)
    ranks = []
    for rank, events in rows.items():
        kept = [event for event in events if event[0] < end_ns]
        ranks.append(
            {
                "rank": rank,
                "longest_ns": max((end - start for start, end, *_ in kept), default=0),
                "events": [(kind, start, end, *rest) for start, end, kind, *rest in kept],
            }
        )
    place = {rank: row for row, rank in enumerate(run.ranks)}
    messages = run.messages.matched[["send_start_ns", "receive_end_ns", "source", "target"]].tolist()
    stages = {str(place): run.stage_name(place) for place in range(SINK, len(run.plan.stages))}
    return {
        "time": run.time_word,
        "begin_ns": run.begin_ns,
        "end_ns": end_ns,
        "window_ns": [low, high] if high <= end_ns else [run.begin_ns, end_ns],
        "stages": stages,
        "ranks": ranks,
        "messages": [(sent, usable, place[a], place[b]) for sent, usable, a, b in messages if sent < end_ns],
    }, sentence


def _cards(run: Run, found: Summary) -> Iterable[str]:
    for name in CARDS:
        value = found.predicted.get(name) if name == ALONE else found.figures.get(name)
        if value is not None:
            label, _, unit = name.partition(", ")
            if name == ALONE and run.time_word != MODELLED:
                label += f" ({MODELLED})"
            yield f'<div class="card"><b>{value:.4g} {html.escape(unit)}</b><span>{html.escape(label)}</span></div>'


def _figure_table(found: Summary) -> str:
    rows = []
    for name, value in found.figures.items():
        foretold = found.predicted.get(name)
        beside = (
            ("", "") if not foretold else (f"{foretold:.6g}", f"{round(100 * (value / foretold - 1), 2) + 0.0:+.2f} %")
        )
        rows.append((name, f"{value:.6g}", *beside))
        if name == "latency p50, ms" and ALONE in found.predicted:
            rows.append((ALONE, "", f"{found.predicted[ALONE]:.6g}", ""))
    return _table(("figure", "run", "plan", "difference"), rows)


def _rank_table(run: Run, found: Summary) -> str:
    rows = []
    for rank, record in run.ranks.items():
        causes = [(cause, ns) for cause, ns in found.activity.causes(rank) if cause != NO_MORE_WORK][:CAUSES_SHOWN]
        rows.append(
            (
                rank,
                record.attributes["host"],
                record.attributes["board"],
                *(f"{100 * found.activity.share(rank, kind):.1f} %" for kind in KINDS),
                ", ".join(f"{cause} ({ns / 1e6:.3g} ms)" for cause, ns in causes),
            )
        )
    return _table(("rank", "host", "board", *KINDS, "waits longest for"), rows, text_columns=(1, 2, 7))


def _stage_table(run: Run) -> str:
    rows = []
    for stage in run.plan.stages:
        for rank in stage.ranks:
            if rank not in run.ranks:
                continue
            launches = run.events(rank, EventKind.LAUNCH)
            mine = launches[launches["stage"] == stage.index]
            busy_ns = int((mine["end_ns"] - mine["start_ns"]).sum())
            mean = f"{busy_ns / len(mine) / 1e6:.4g}" if len(mine) else ""
            rows.append((run.stage_name(stage.index), len(stage.nodes), rank, len(mine), mean))
    return _table(("stage", "layers", "rank", "launches", "ms per launch"), rows)


def _link_table(run: Run) -> str:
    rows = []
    for link in run.links:
        messages = int(link["messages"])
        mean = f"{int(link['message_ns']) / messages / 1e6:.4g}" if messages else ""
        name = f"{link['source']} to {link['target']}"
        rows.append((name, messages, f"{int(link['bytes']):,}", mean, int(link["unmatched"]), int(link["backward"])))
    return _table(("link", "messages", "bytes", "ms per message", "one end only", "backward"), rows)


def _picture(run: Run, name: str) -> str:
    drawn = draw_if_whole(name, run)
    if isinstance(drawn, str):
        return f'<p class="warning">{html.escape(drawn)}.</p>\n'
    target = io.BytesIO()
    drawn.savefig(target, format="png", dpi=PICTURE_DPI)
    code = base64.b64encode(target.getvalue()).decode()
    question = html.escape(QUESTIONS[name])
    return (
        f'<figure id="{name}"><figcaption>{question[0].upper()}{question[1:]}</figcaption>'
        f'<img alt="{question}" src="data:image/png;base64,{code}"></figure>\n'
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]], text_columns: Sequence[int] = ()) -> str:
    def cell(tag: str, column: int, value: Any) -> str:
        kind = ' class="text"' if column in text_columns else ""
        return f"<{tag}{kind}>{html.escape(str(value))}</{tag}>"

    lines = ["".join(cell("th", column, name) for column, name in enumerate(head))]
    lines += ["".join(cell("td", column, value) for column, value in enumerate(row)) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
