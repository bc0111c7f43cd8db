"""Traces that earlier releases left, read as if they were of today."""

import json
from pathlib import Path

import pytest

from mpi_vta.trace.__main__ import main
from mpi_vta.trace.reader import read
from mpi_vta.trace.run import Run
from mpi_vta.trace.summary import summarize

EARLIER = Path(__file__).parents[1] / "data" / "earlier"


@pytest.mark.parametrize(
    ("name", "labels", "ranks"), [("one", ["digits"], [[0, 1]]), ("two", ["digits-1", "digits-2"], [[0], [1]])]
)
def test_trace_of_version_2_has_a_list_of_models(name, labels, ranks):
    trace = read(EARLIER / f"{name}.h5")
    assert trace.attributes["version"] == 2
    assert [model.attributes["name"] for model in trace.models] == labels
    assert [model.attributes["ranks"].tolist() for model in trace.models] == ranks
    told = json.loads((EARLIER / f"{name}.json").read_text())
    for number, model in enumerate(told.get("models", [told])):
        run = Run(trace, number)
        assert run.title == f"digits, pipeline, {'2 ranks' if name == 'one' else '1 rank'} (modelled)"
        figures = summarize(run).figures
        assert figures["images"] == model["images"] == 4
        assert figures["throughput, images/s"] == model["throughput_images_per_s"]
        assert figures["energy, J/image"] == model["energy"]["energy_j_per_image"]


def test_commands_take_a_trace_of_version_2(capsys, tmp_path):
    for arguments in (("summary", "two.h5", "--model", "1"), ("diff", "one.h5", "two.h5")):
        assert main([word if "." not in word else str(EARLIER / word) for word in arguments]) == 0
    assert main(["export", str(EARLIER / "one.h5"), "-o", str(tmp_path / "trace.json")]) == 0
    assert "digits, pipeline, 1 rank (modelled)" in capsys.readouterr().out
