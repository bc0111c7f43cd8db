"""The exported Chrome trace: by its schema, and by the rules that a schema cannot say."""

import json
from collections import defaultdict
from itertools import pairwise

import jsonschema
import pytest
from trace_cases import IMAGES, US, write_run

from mpi_vta.trace.__main__ import main
from mpi_vta.trace.chrome_trace import QUEUE_PROCESS, chrome_trace
from mpi_vta.trace.reader import read
from mpi_vta.trace.run import Run
from mpi_vta.trace.schema import EventKind

BASE = {"ph": {}, "pid": {"type": "integer"}, "tid": {"type": "integer"}, "name": {"type": "string", "minLength": 1}}
TIME = {"ts": {"type": "number", "minimum": 0}}


def kind_of_event(phases, more, required):
    properties = {**BASE, **more, "ph": {"enum": phases}}
    return {
        "type": "object",
        "properties": properties,
        "required": ["ph", "pid", "tid", "name", *required],
        "additionalProperties": False,
    }


SCHEMA = {
    "type": "object",
    "required": ["traceEvents", "displayTimeUnit"],
    "properties": {
        "displayTimeUnit": {"enum": ["ms", "ns"]},
        "traceEvents": {
            "type": "array",
            "items": {
                "oneOf": [
                    kind_of_event(["M"], {"args": {"type": "object", "minProperties": 1}}, ["args"]),
                    kind_of_event(
                        ["X"],
                        {
                            **TIME,
                            "dur": {"type": "number", "minimum": 0},
                            "cat": {"type": "string"},
                            "args": {"type": "object"},
                        },
                        ["ts", "dur", "cat"],
                    ),
                    kind_of_event(
                        ["s", "t", "f"],
                        {**TIME, "id": {"type": "integer"}, "cat": {"type": "string"}, "bp": {"const": "e"}},
                        ["ts", "id", "cat"],
                    ),
                    kind_of_event(
                        ["C"],
                        {**TIME, "args": {"type": "object", "additionalProperties": {"type": "number"}}},
                        ["ts", "args"],
                    ),
                ]
            },
        },
    },
}


@pytest.fixture
def run(tmp_path):
    return Run(read(write_run(tmp_path)))


@pytest.fixture
def events(run):
    return chrome_trace(run)["traceEvents"]


def of_phase(events, *phases):
    return [event for event in events if event["ph"] in phases]


def test_file_keeps_the_schema(tmp_path, capsys):
    path = write_run(tmp_path)
    assert main(["export", str(path)]) == 0
    assert capsys.readouterr().out == f"written     {tmp_path / 'trace.json'}\n"
    data = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))
    jsonschema.validate(data, SCHEMA)


def test_schema_refuses_a_slice_without_duration(run):
    data = chrome_trace(run)
    del of_phase(data["traceEvents"], "X")[0]["dur"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, SCHEMA)


def test_every_event_is_a_slice(run, events):
    recorded = sum(len(run.events(rank, kind)) for rank in run.ranks for kind in range(EventKind.START))
    assert len(of_phase(events, "X")) == recorded
    first = of_phase(events, "X")[0]
    assert (first["pid"], first["ts"], first["dur"], first["args"]) == (0, 2.0, 10.0, {"image": 0, "stage": "0: a"})


def test_slices_of_a_thread_never_overlap(run):
    # sends that overlap, as ports let packets of several messages through
    rows = run.ranks[0].events
    rows["end_ns"][rows["kind"] == EventKind.SEND] += 30 * US
    slices = defaultdict(list)
    for event in of_phase(chrome_trace(run)["traceEvents"], "X"):
        slices[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    assert len([thread for rank, thread in slices if rank == 0 and 200 <= thread < 300]) == 3
    for spans in slices.values():
        spans.sort()
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_every_thread_and_process_has_a_name(events):
    named = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    assert {(event["pid"], event["tid"]) for event in of_phase(events, "X")} <= named
    processes = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert processes == {0: "rank 0: pynq_z1", 1: "rank 1: pynq_z1", QUEUE_PROCESS: "images"}


def test_flow_of_an_image_begins_and_ends_in_its_launches(events):
    flows = defaultdict(list)
    for event in of_phase(events, "s", "t", "f"):
        flows[event["id"]].append(event)
    assert len(flows) == IMAGES
    launches = {
        (event["pid"], event["tid"], event["ts"]): event for event in of_phase(events, "X") if event["cat"] == "launch"
    }
    for image, steps in flows.items():
        assert [step["ph"] for step in steps] == ["s", "f"]
        for step in steps:
            assert launches[step["pid"], step["tid"], step["ts"]]["args"]["image"] == image


def test_counters_show_images_under_way_and_watts(events):
    queue = [event["args"]["images"] for event in of_phase(events, "C") if event["name"] == "under way"]
    assert queue == [4, 3, 2, 1, 0]
    watts = [event["args"]["watts"] for event in of_phase(events, "C") if event["pid"] == 1]
    assert watts == [1.5, 2.5, 2.5, 2.5, 2.5, 1.5]
