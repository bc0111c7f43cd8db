from __future__ import annotations

import io
import json

import pytest

from codegen.execution import config_named
from codegen.test_bound import convolution
from mpi_vta.codegen import parallel, search
from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.frontend.models import load_model
from mpi_vta.quantize.quantizer import quantize


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_known", {})


def test_workers_do_not_change_the_program(forgetful: None, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model("digits", seed=0, weights=None)
    graph = quantize(model.graph, model.calibration).graph
    config = config_named("pynq_1x16")
    alone = compile_graph(graph, config)
    monkeypatch.setattr(search, "_known", {})
    told: list[tuple[str, int, int]] = []
    together = compile_graph(graph, config, workers=3, progress=lambda *step: told.append(step))
    assert together.sha256 == alone.sha256
    assert {total for _, _, total in told} == {told[0][2]}
    done = [step for _, step, _ in told]
    assert done == sorted(done)
    assert done[-1] == told[0][2] - 1


def test_a_worker_that_dies_leaves_its_share_to_us(forgetful: None, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model("digits", seed=0, weights=None)
    graph = quantize(model.graph, model.calibration).graph
    config = config_named("pynq_1x16")
    alone = compile_graph(graph, config)
    monkeypatch.setattr(search, "_known", {})
    monkeypatch.setattr(parallel.sys, "executable", "/bin/false")
    assert compile_graph(graph, config, workers=2).sha256 == alone.sha256


def test_a_worker_answers_its_share(forgetful: None) -> None:
    graph, config = convolution(16, 8, 3), config_named("pynq_1x16")
    request = json.dumps({"config": config.to_dict(), "indices": [0]}).encode()
    answer = io.StringIO()
    assert parallel.work(io.BytesIO(request + b"\n" + graph.to_bytes()), answer) == 0
    (tiling,) = json.loads(answer.getvalue())
    program = compile_graph(graph, config)
    assert program.layers[0].schedule == str(parallel.Tiling(**tiling))
