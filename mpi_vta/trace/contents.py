"""Whether what a trace says hangs together, so that no analysis of it can stumble: checked before the first one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from mpi_vta.errors import ArtifactError, PlanError
from mpi_vta.hw.energy import NetworkPower
from mpi_vta.plans.faults import number_faults
from mpi_vta.plans.network import NetworkModel
from mpi_vta.plans.plan import SINK, Plan
from mpi_vta.trace.reader import ModelTrace, RankRecord
from mpi_vta.trace.schema import MEASURED, MODELLED, NO_EDGE, EventKind

_TEXTS = ("model", "strategy", "network")
_MOST_NS = 1 << 62


def checked_plan(trace: ModelTrace) -> Plan:
    """Return the plan of a trace, after comparing everything else with it.

    Raises
    ------
    ArtifactError
        With the first thing that does not hang together.
    """
    try:
        plan = Plan.from_json(trace.plan_json)
        fault = next(_faults(trace, plan), None)
    except PlanError as broken:
        fault = f"its plan is {broken.what}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as broken:
        fault = f"the network in it is not readable ({type(broken).__name__}: {broken})"
    if fault is not None:
        raise ArtifactError(fault, where=trace.where, allowed="what the pipeline writes", remedy="run the job again")
    return plan


def _faults(trace: ModelTrace, plan: Plan) -> Iterator[str]:
    yield from _plan_faults(plan)
    about = trace.attributes
    if about.get("time") not in (MODELLED, MEASURED):
        yield f"its time is {about.get('time')!r}, neither {MODELLED} nor {MEASURED}"
    for name in _TEXTS:
        if not isinstance(about.get(name), str):
            yield f"its attribute {name} is missing or no text"
    power = json.loads(about.get("network_power", "{}"))
    if power and power.keys() != NetworkPower.__dataclass_fields__.keys():
        yield "the network's power is not whole"
    if not all(isinstance(value, str) or _is_number(value) for value in power.values()):
        yield "the network's power is no number"
    NetworkModel.from_json(about["network"])
    if not np.array_equal(np.unique(trace.images["image"]), trace.images["image"]):
        yield "its images are double or out of order"
    yield from _time_faults("images", trace.images["start_ns"], trace.images["end_ns"])
    if not trace.ranks:
        yield "it holds no rank"
    for rank, record in trace.ranks.items():
        yield from _rank_faults(rank, record, len(plan.stages), len(plan.edges))


def _plan_faults(plan: Plan) -> Iterator[str]:
    yield from (f"its plan: {fault}" for fault in number_faults(plan))
    if any(not stage.nodes for stage in plan.stages):
        yield "a stage of the plan has no layers"
    if any(end >= len(plan.stages) for edge in plan.edges for end in (edge.producer, edge.consumer)):
        yield "an edge of the plan is between stages that do not exist"


def _rank_faults(rank: int, record: RankRecord, stages: int, edges: int) -> Iterator[str]:
    events, where = record.events, f"of rank {rank}"
    messages = events[np.isin(events["kind"], (EventKind.SEND, EventKind.RECEIVE))]
    yield from _time_faults(f"events {where}", events["start_ns"], events["end_ns"])
    yield from _time_faults(f"power {where}", record.power["start_ns"], record.power["end_ns"])
    limits = {
        "kinds of events": (events["kind"], 0, max(EventKind)),
        "stages of events": (events["stage"], SINK, stages - 1),
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
