"""Whether what a trace says hangs together, so that no analysis of it can stumble: checked before the first one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mpi_vta.errors import ArtifactError
from mpi_vta.trace.reader import RankRecord, Trace
from mpi_vta.trace.schema import MEASURED, MODELLED, NO_EDGE, EventKind

_PLACES = (-2, -1)
_TEXTS = ("model", "strategy", "network")
_NETWORK = ("bytes_per_s", "latency_ns", "per_message_ns", "per_byte_ps")
_MOST_NS = 1 << 62


def checked_plan(trace: Trace) -> Mapping[str, Any]:
    """Return the plan of a trace, after comparing everything else with it.

    Raises
    ------
    ArtifactError
        With the first thing that does not hang together.
    """
    try:
        plan = json.loads(trace.plan_json)
        fault = next(_faults(trace, plan), None)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as broken:
        fault = f"the plan or the network in it is not readable ({type(broken).__name__}: {broken})"
    if fault is not None:
        raise ArtifactError(fault, where="trace", allowed="what the pipeline writes", remedy="run the job again")
    checked: Mapping[str, Any] = plan
    return checked


def _faults(trace: Trace, plan: Any) -> Iterator[str]:
    yield from _plan_faults(plan)
    about = trace.attributes
    if about.get("time") not in (MODELLED, MEASURED):
        yield f"its time is {about.get('time')!r}, neither {MODELLED} nor {MEASURED}"
    for name in _TEXTS:
        if not isinstance(about.get(name), str):
            yield f"its attribute {name} is missing or no text"
    power = json.loads(about.get("network_power", "{}"))
    if not all(isinstance(value, str) or _is_number(value) for value in power.values()):
        yield "the network's power is no number"
    network = json.loads(about["network"])
    for name in _NETWORK:
        if not (_is_number(network[name]) and network[name] >= (1 if name == "bytes_per_s" else 0)):
            yield f"the network's {name} is {network[name]!r}"
    if not np.array_equal(np.unique(trace.images["image"]), trace.images["image"]):
        yield "its images are double or out of order"
    yield from _time_faults("images", trace.images["start_ns"], trace.images["end_ns"])
    if not trace.ranks:
        yield "it holds no rank"
    for rank, record in trace.ranks.items():
        yield from _rank_faults(rank, record, len(plan["stages"]), len(plan["edges"]))


def _plan_faults(plan: Any) -> Iterator[str]:
    for name in ("group_images", "in_flight_groups"):
        if not _is_whole(plan[name], 1):
            yield f"the plan's {name} is {plan[name]!r}"
    for stage in plan["stages"]:
        if not stage["nodes"] or not all(isinstance(name, str) for name in stage["nodes"]):
            yield "a stage of the plan has no layers"
        if not all(_is_whole(number, 0) for number in (*stage["ranks"], *stage["compute_ns"], *stage["host_ns"])):
            yield "a stage of the plan has ranks or times that are no whole numbers"
    for edge in plan["edges"]:
        ends = (edge["producer"], edge["consumer"])
        if not all(_is_whole(end, -2) and end < len(plan["stages"]) for end in ends):
            yield "an edge of the plan is between stages that do not exist"
        if not isinstance(edge["value"], str) or not _is_whole(edge["size_bytes"], 0):
            yield "an edge of the plan has no value or no size"
    if not all(isinstance(value, int | float) for value in plan["predicted"].values()):
        yield "a predicted figure is no number"


def _rank_faults(rank: int, record: RankRecord, stages: int, edges: int) -> Iterator[str]:
    events, where = record.events, f"of rank {rank}"
    messages = events[np.isin(events["kind"], (EventKind.SEND, EventKind.RECEIVE))]
    yield from _time_faults(f"events {where}", events["start_ns"], events["end_ns"])
    yield from _time_faults(f"power {where}", record.power["start_ns"], record.power["end_ns"])
    limits = {
        "kinds of events": (events["kind"], 0, max(EventKind)),
        "stages of events": (events["stage"], min(_PLACES), stages - 1),
        "replicas of events": (events["replica"], 0, np.inf),
        "images of events": (events["image"], 0, np.inf),
        "sizes of messages": (messages["bytes"], 0, np.inf),
        "peers of messages": (messages["peer"], 0, np.inf),
        "edges of messages": (messages["edge"], 0, edges - 1),
        "edges of events": (events["edge"], NO_EDGE, edges - 1),
        "stages of the profile": (record.profile["stage"], 0, stages - 1),
        "layers of the profile": (record.profile["layer"], 0, len(record.layers) - 1),
    }
    for what, (found, least, most) in limits.items():
        if found.size and not least <= int(found.min()) <= int(found.max()) <= most:
            yield f"{what} {where} are not in {least}..{most}"
    if not np.isfinite(record.power["watts"]).all():
        yield f"power {where} is not a number"
    counts = [record.profile[name] for name in record.profile.dtype.names or () if name not in ("stage", "layer")]
    if any(column.size and int(column.min()) < 0 for column in counts):
        yield f"cycles of the profile {where} are negative"


def _time_faults(what: str, start_ns: Any, end_ns: Any) -> Iterator[str]:
    if start_ns.size and not (abs(int(start_ns.min())) < _MOST_NS and abs(int(end_ns.max())) < _MOST_NS):
        yield f"times of {what} are out of range"
    if (start_ns > end_ns).any():
        yield f"{what} end before they start"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST_NS


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < _MOST_NS
