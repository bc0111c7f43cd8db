"""Whether a model seems to expect other inputs than pixels in 0..1, as far as its first layer tells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpi_vta.graph.ir import Graph

# means of photographs in 0..1 are about 0.3 to 0.6; normalised they lie in -1..1, in 0..255 about 110
LEAST_MEAN = 0.2
MOST_MEAN = 10.0
_FEWEST_FILTERS = 8
_SAY = "say how pictures become inputs: --mean, --std, --channels, --range, --resize, or a file beside the model"


def doubt(graph: Graph) -> str:
    """Return what looks wrong with pixels in 0..1 for a model of pictures of which nothing was said; else nothing.

    Parameters
    ----------
    graph : Graph
        Float graph, batch norm folded.
    """
    centre = first_layer_centre(graph)
    if centre is None:
        return ""
    if np.abs(centre).max() <= MOST_MEAN and centre.min() < LEAST_MEAN:
        return f"the model looks as if it expects normalised pictures, and gets pixels in 0..1; {_SAY}"
    if centre.min() > MOST_MEAN:
        return f"the model looks as if it expects pixels in 0..255, and gets pixels in 0..1; {_SAY}"
    return ""


def first_layer_centre(graph: Graph) -> NDArray[np.float64] | None:
    """Return the pixel, per channel, at which the sums of the first layer are nearest to 0 in the least squares' sense.

    Training brings the sums of a first layer near 0 by its batch norm: folded, that is the bias that the mean of the
    inputs calls for. So the mean of what a model was trained on is found without a picture. None where the first
    layer is no plain convolution of a picture in colours, has few filters, or no bias.
    """
    (source,) = graph.inputs
    readers = graph.consumers.get(source, ())
    if len(readers) != 1 or readers[0].op != "conv2d" or graph.values[source].shape[1] != 3:
        return None
    node = readers[0]
    weight, bias = graph.constants[node.params["weight"]], graph.param(node, "bias")
    if bias is None or not np.any(bias) or node.attrs["groups"] != 1 or len(weight) < _FEWEST_FILTERS:
        return None
    taps = weight.astype(np.float64).sum(axis=(2, 3))
    centre, *_ = np.linalg.lstsq(taps, -bias.astype(np.float64), rcond=None)
    return np.asarray(centre)
