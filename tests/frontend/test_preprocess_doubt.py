import numpy as np
import pytest
from graph_strategies import GraphBuilder

from mpi_vta.frontend.models import load_model
from mpi_vta.frontend.preprocess_doubt import doubt, first_layer_centre

WINDOW = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "groups": 1}


def net(mean, filters=16, bias=True):
    """A layer whose sums are centred for inputs of a mean, as batch norm leaves it, with shifts of its own."""
    builder = GraphBuilder("float32", np.random.default_rng(0))
    source = builder.input((1, len(mean), 8, 8))
    weight = builder.rng.normal(size=(filters, len(mean), 3, 3)).astype(np.float32)
    shift = builder.rng.normal(0, 0.05, filters) - weight.sum(axis=(2, 3)) @ np.array(mean)
    parameters = {"weight": weight} | ({"bias": shift.astype(np.float32)} if bias else {})
    builder.add("conv2d", (source,), WINDOW, parameters)
    return builder.build()


@pytest.mark.parametrize(
    ("mean", "word"),
    [
        ((0.0, 0.0, 0.0), "normalised"),
        ((-0.4, 0.3, 0.1), "normalised"),
        ((0.45, 0.4, 0.35), ""),
        ((120.0, 110.0, 100.0), "0..255"),
    ],
)
def test_first_layer_tells_what_was_trained_on(mean, word):
    graph = net(mean)
    assert first_layer_centre(graph) == pytest.approx(mean, abs=0.05)
    assert (word in doubt(graph)) if word else doubt(graph) == ""


def test_nothing_is_said_where_nothing_tells():
    assert doubt(net((0.0,) * 3, bias=False)) == doubt(net((0.0,) * 3, filters=4)) == doubt(net((0.0,))) == ""


@pytest.mark.parametrize("name", ["shapes", "residual", "depthwise"])
def test_shipped_nets_take_pixels_from_0_to_1(name):
    assert doubt(load_model(name).graph) == ""
