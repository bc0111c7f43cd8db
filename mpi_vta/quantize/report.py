"""Where a quantised model loses accuracy: signal over noise of every layer, its own and with all before it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.disk import write_picture
from mpi_vta.graph.reference import execute, execute_all
from mpi_vta.printable import picture_text
from mpi_vta.quantize.fusion import FusedLayer
from mpi_vta.quantize.model import dequantize
from mpi_vta.quantize.quantizer import Quantization, decibels

Array = NDArray[Any]

BLOCK = 16  # lanes of the vectors that costs are counted in: those of the shipped Pynq build


@dataclass(frozen=True)
class LayerError:
    """One layer's error against floats.

    Attributes
    ----------
    name, op : str
        Of the float node that names the layer, and of the int8 operator.
    own_db : float
        SQNR of the layer given its int8 inputs: what this layer itself loses; infinite if it is exact.
    accumulated_db : float
        SQNR of its result with everything lost before.
    scale_log2 : int
        Scale of its result.
    is_per_channel : bool
        Whether its weights have a scale per output channel.
    channel_gain_db : float or None
        What that gains, or would; None where all channels want one scale.
    shift_cycles : int
        ALU cycles of the register shifts per image (modelled: two cycles a vector of 16 lanes).
    slope_cycles : int
        ALU cycles of its slope per image (modelled: three a bit of the ratio, and three more, for each vector);
        what a pooling fused behind it saves is not taken off.
    """

    name: str
    op: str
    own_db: float
    accumulated_db: float
    scale_log2: int
    is_per_channel: bool
    channel_gain_db: float | None
    shift_cycles: int
    slope_cycles: int = 0


def layer_errors(made: Quantization, images: NDArray[np.float32]) -> tuple[LayerError, ...]:
    """Return the error of every layer, in order, measured over images.

    Parameters
    ----------
    made : Quantization
    images : ndarray of float32, shape (n, C, H, W)
        Preprocessed; not the ones that were calibrated with, if the figures are to say what new pictures lose.
    """
    int8, body = made.model.graph, made.body
    names = [layer.output for layer in made.layers]
    power = {name: np.zeros(4) for name in names}  # signal and noise: own, accumulated
    for image in images:
        exact = execute_all(body, {body.inputs[0]: image[None]})
        integers = execute_all(int8, made.model.quantize_input(image[None]))
        real = {name: dequantize(array, int8.values[name].scale_log2 or 0) for name, array in integers.items()}
        for layer in made.layers:
            own = _alone(made, layer, real)
            result = real[layer.output]
            power[layer.output] += [*_powers(own, result), *_powers(exact[layer.output], result)]
    return tuple(_row(made, layer, power[layer.output]) for layer in made.layers)


def _alone(made: Quantization, layer: FusedLayer, real: Mapping[str, Array]) -> Array:
    """Return what the float layer makes of the int8 layer's inputs."""
    part = made.body.subgraph(layer.fused)
    shapes = {name: (-1, *made.body.values[name].shape[1:]) for name in part.inputs}
    inputs = {name: real[made.alias.get(name, name)].reshape(shape) for name, shape in shapes.items()}
    return execute(part, inputs)[layer.output]


def _powers(exact: Array, result: Array) -> tuple[float, float]:
    wanted = exact.astype(np.float64)
    return float(np.square(wanted).sum()), float(np.square(wanted - result.reshape(exact.shape)).sum())


def _row(made: Quantization, layer: FusedLayer, power: Array) -> LayerError:
    graph = made.model.graph
    node = graph.producer[layer.output]
    shifted = graph.param(node, "channel_shift") is not None
    _, channels, height, width = graph.values[layer.output].shape
    vectors, ratio = height * width * math.ceil(channels / BLOCK), node.attrs.get("leaky")
    return LayerError(
        layer.node.name,
        node.op,
        decibels(power[0], power[1]),
        decibels(power[2], power[3]),
        int(graph.values[layer.output].scale_log2 or 0),
        shifted,
        made.channel_gains_db.get(layer.node.name),
        2 * vectors if shifted else 0,
        0 if ratio is None else (3 * ratio[0].bit_count() + 3) * vectors,
    )


def as_json(
    name: str, made: Quantization, errors: tuple[LayerError, ...], options: Mapping[str, str]
) -> dict[str, Any]:
    """Return the report as JSON-able values; an exact layer's SQNR is None."""
    rows = [
        {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(e).items()
        }
        for e in errors
    ]
    return {
        "model": name,
        "options": dict(options),
        "equalized": made.is_equalized,
        "equalized_gain_db": made.equalized_gain_db,
        "layers": rows,
    }


def draw_errors(name: str, errors: tuple[LayerError, ...], path: Path) -> None:
    """Draw own and accumulated SQNR over the layers; the suffix of `path` chooses the format."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(6.0, 0.32 * len(errors) + 3), 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    places = np.arange(len(errors))
    for key, label, colour, mark in (
        ("own_db", "own: of this layer alone", "#56b4e9", "o"),
        ("accumulated_db", "accumulated: with all layers before", "#d55e00", "s"),
    ):
        levels = [getattr(entry, key) for entry in errors]
        shown = [level if math.isfinite(level) else math.nan for level in levels]
        axes.plot(places, shown, marker=mark, color=colour, label=label, linewidth=1)
    axes.set_xticks(places, [picture_text(entry.name, 30) for entry in errors], rotation=90, fontsize=7)
    axes.set_ylabel("signal over quantisation noise, dB")
    axes.set_title(
        f"{picture_text(name)}: what int8 loses, layer by layer (layers without a mark are exact)", fontsize=10
    )
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="lower left")
    write_picture(figure, path)
