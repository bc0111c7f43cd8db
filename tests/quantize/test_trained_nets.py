"""The networks with a truth, on their held-out examples: integers within a point of floats."""

from __future__ import annotations

import pytest

from mpi_vta.frontend.detection import decode_yolo
from mpi_vta.frontend.images import PicturePlacement
from mpi_vta.frontend.mean_precision import mean_average_precision
from mpi_vta.frontend.models import load_model
from mpi_vta.graph.reference import execute
from mpi_vta.quantize.quantizer import quantize


def score(loaded, outputs) -> float:
    heads, truth = [outputs[name] for name in loaded.graph.outputs], loaded.truth
    if truth.boxes is None:
        return float((heads[0].argmax(axis=1) == truth.labels).mean())
    placement, size = PicturePlacement(1.0, 0, 0), loaded.detector.input_hw
    found = [
        decode_yolo([head[i] for head in heads], size, placement, loaded.detector, score_threshold=0.02)
        for i in range(len(truth.images))
    ]
    return mean_average_precision(found, *truth.objects(), loaded.detector.class_names)


@pytest.mark.parametrize(
    ("name", "least"),
    [("digits", 0.98), ("residual", 0.95), ("depthwise", 0.95), pytest.param("shapes", 0.9, marks=pytest.mark.slow)],
)
def test_a_trained_net_loses_less_than_a_point(name, least):
    loaded = load_model(name)
    model = quantize(loaded.graph, loaded.calibration)
    in_float = score(loaded, execute(loaded.graph, {"input": loaded.truth.images}))
    integers = execute(model.graph, model.quantize_input(loaded.truth.images))
    on_vta = score(loaded, model.finish(integers))
    assert on_vta > least
    assert abs(in_float - on_vta) <= 0.01
