"""Every node of a file has one place: a layer on VTA, the host, or nowhere with a reason."""

from __future__ import annotations

import io
import json

import numpy as np
import onnx
import pytest
from onnx_nets import Net

from mpi_vta import compile as compile_command
from mpi_vta import pipeline
from mpi_vta.job.explain import print_places
from mpi_vta.job.ready_model import ready_model


@pytest.fixture
def path(tmp_path):
    net = Net((1, 3, 8, 8))
    x = net.add("Dropout", net.batch_norm(net.conv("input", 3, 4, pads=[1] * 4, name="a"), 4, name="bn"), name="drop")
    x = net.add("Add", net.conv(net.add("Relu", x, name="relu"), 4, 4, pads=[1] * 4, name="b"), x, name="sum")
    x = net.add("Pad", x, net.constant("p", np.array([0, 0, 1, 1] * 2)), name="pad")
    net.conv(net.add("LeakyRelu", net.conv(x, 4, 4, 3, name="c"), alpha=0.1, name="leaky"), 4, 2, 1, name="d")
    net.add("Softmax", net.add("Flatten", "d", name="flat"), name="soft")
    net.add("Relu", "a", name="dead")
    file = tmp_path / "net.onnx"
    onnx.save(net.model("soft"), file)
    return str(file)


def test_each_node_of_the_file_is_placed(path):
    model = ready_model(path, seed=0, weights=None)
    found = {place.name: place for place in model.places}
    assert list(found) == ["a", "bn", "drop", "relu", "b", "sum", "pad", "c", "leaky", "d", "flat", "soft", "dead"]
    where = {name: (place.where, place.layer) for name, place in found.items()}
    assert where["a"] == ("VTA", "a")
    assert where["bn"] == ("VTA", "a")
    assert where["b"] == where["sum"] == ("VTA", "b")
    assert where["pad"] == where["c"] == where["leaky"] == ("VTA", "c")
    assert where["flat"] == ("host", "flat")
    assert where["soft"] == ("host", "soft")
    assert where["drop"] == where["dead"] == ("import", "")
    assert found["bn"].why == "folded into its weights (a)"
    assert found["pad"].why == "folded into its padding (c)"
    assert found["soft"].why == "needs exponentials, which VTA's ALU lacks"
    assert found["dead"].why == "no output needs it"
    assert found["leaky"].why == "fused into c"
    layers = {node.name for node in model.graph.nodes}
    assert {place.layer for place in model.places if place.where == "VTA"} == layers


def test_the_zoo_s_nodes_all_reach_a_layer():
    places = ready_model("digits", seed=0, weights=None).places
    assert {place.where for place in places} == {"VTA"}
    assert next(place for place in places if place.name == "flatten").why == "only renames elements, read as they lie"


def test_the_table_counts(path):
    model, out = ready_model(path, seed=0, weights=None), io.StringIO()
    print_places(model.name, model.places, out)
    assert "nodes       9 on VTA, 2 on the host, 2 gone at import" in out.getvalue()
    assert "fused into c" in out.getvalue()


def test_compile_explains_and_stops(path, capsys):
    assert compile_command.main(["--model", path, "--explain", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["model"] == "net"
    assert shown["nodes"][1] == {
        "name": "bn",
        "op": "BatchNormalization",
        "where": "VTA",
        "layer": "a",
        "why": "folded into its weights (a)",
    }
    assert compile_command.main(["--model", path, "--explain"]) == 0
    assert "one launch" not in capsys.readouterr().out


def test_pipeline_explains_one_model_or_several(path, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert pipeline.main(["--model", path, "--explain"]) == 0
    assert "net: where each node goes" in capsys.readouterr().out
    assert pipeline.main(["--model", path, "--model", "digits", "--explain", "--json"]) == 0
    assert [entry["model"] for entry in json.loads(capsys.readouterr().out)["models"]] == ["net", "digits"]
    assert not (tmp_path / "out").exists()
