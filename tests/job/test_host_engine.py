"""A run names what computed behind the last layer, and both engines give one answer."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx_nets import Net
from summaries import only_model

from mpi_vta import pipeline
from mpi_vta.frontend.host_kernels import run_compiled
from mpi_vta.graph.reference import execute
from mpi_vta.job.ready_model import ready_model


@pytest.fixture
def path(tmp_path):
    net = Net((1, 3, 8, 8))
    net.add("Softmax", net.add("Flatten", net.conv("input", 3, 2, 3, name="c")), name="soft")
    file = tmp_path / "net.onnx"
    onnx.save(net.model("soft"), file)
    return str(file)


def test_the_summary_names_the_engine(path, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert pipeline.main(["--model", path, "--images", "2", "--output", str(tmp_path / "out")]) == 0
    line = "host        operators behind the last layer ran in kernels compiled by TVM"
    assert line in capsys.readouterr().out
    assert only_model((tmp_path / "out" / "summary.json").read_text())["host_engine"] == "kernels compiled by TVM"


def test_both_engines_finish_alike(path):
    model = ready_model(path, seed=0, weights=None).quantized
    images = np.random.default_rng(0).random((3, 3, 8, 8), np.float32)
    outputs = execute(model.graph, model.quantize_input(images))
    found, wanted = model.finish(outputs, run_compiled), model.finish(outputs)
    np.testing.assert_allclose(found["soft"], wanted["soft"], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found["soft"].sum(axis=1), 1, rtol=1e-5)
