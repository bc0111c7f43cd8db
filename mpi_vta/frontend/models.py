"""Models by name or file, each with how to feed it, what to calibrate on and what its answers are worth."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import ModelError
from mpi_vta.frontend.darknet import read_darknet
from mpi_vta.frontend.images import IMAGENET_MEAN, IMAGENET_STD, Preprocess, synthetic_images
from mpi_vta.frontend.onnx_fold import read_initializers
from mpi_vta.frontend.onnx_import import import_file, import_model
from mpi_vta.frontend.onnx_net import read_model
from mpi_vta.frontend.zoo import BUILDERS
from mpi_vta.graph.ir import Graph

DATA = Path(__file__).parent / "data"
CALIBRATION_IMAGES = 4
CALIBRATION_SEED = 1_000_003  # far from the seeds of the pictures that are run
DIGIT_LEVELS = 16

DETECT, CLASSIFY, PLAIN = "detect", "classify", "plain"


@dataclass(frozen=True)
class Truth:
    """Held-out examples with known answers.

    Attributes
    ----------
    images : ndarray of float32, shape (n, C, H, W)
        Preprocessed inputs, never seen in training or calibration.
    labels : ndarray of int64, shape (n,)
        Class of each.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class LoadedModel:
    """A float model and everything about it that is not in the graph.

    Attributes
    ----------
    name : str
        Zoo name, or the stem of the file.
    graph : Graph
        Verified float graph.
    preprocess : Preprocess
        How a picture becomes an input.
    calibration : ndarray of float32, shape (n, C, H, W)
        Inputs to quantise with.
    truth : Truth or None
        Held-out examples, for models that have them.
    task : str
        ``detect`` (YOLO heads), ``classify`` (logits) or ``plain``.
    weights_note : str
        Where the weights come from, to be shown with every result.
    has_meaning : bool
        False when the weights are synthetic, so that answers mean nothing.
    """

    name: str
    graph: Graph
    preprocess: Preprocess
    calibration: NDArray[np.float32]
    truth: Truth | None
    task: str
    weights_note: str
    has_meaning: bool


def load_model(name_or_path: str, *, seed: int = 0, weights: Path | None = None) -> LoadedModel:
    """Load a zoo model by name, or any ONNX file.

    Parameters
    ----------
    name_or_path : str
        A name of the zoo (`mpi_vta.frontend.zoo`) or the path of an ONNX file.
    seed : int
        Seed of synthetic weights; the same seed gives the same model everywhere.
    weights : Path or None
        ``.npz``, ``.onnx`` or darknet's ``.weights``; its arrays replace a zoo model's weights by name.

    Raises
    ------
    ModelError
        If there is no such model, the file cannot be used, or the weights do not fit.
    """
    if name_or_path in BUILDERS:
        return _load_zoo(name_or_path, seed, weights)
    path = Path(name_or_path)
    if not path.exists():
        raise ModelError(
            "no such model", where=name_or_path, allowed=f"{', '.join(BUILDERS)} or the path of an ONNX file"
        )
    if weights is not None:
        raise ModelError("an ONNX file brings its own weights", where="--weights", allowed="a zoo model")
    graph = import_file(path)
    preprocess = _plain_preprocess(graph)
    calibration = _synthetic_calibration(preprocess)
    return LoadedModel(path.stem, graph, preprocess, calibration, None, PLAIN, f"weights of {path.name}", True)


def _load_zoo(name: str, seed: int, weights: Path | None) -> LoadedModel:
    shipped = name == "digits" and weights is None
    arrays = (
        read_weights(DATA / "digits_weights.npz") if shipped else None if weights is None else read_weights(weights)
    )
    graph = import_model(BUILDERS[name](seed, arrays), name, f"zoo model {name}")
    if shipped:
        note = "weights trained on scikit-learn's handwritten digits"
    elif weights is not None:
        note = f"weights of {weights.name}"
    else:
        note = f"synthetic weights (seed {seed}): results mean nothing"
    if name == "digits":
        preprocess = Preprocess(1, 8, 8, "crop", (0.0,), (1.0,))
        digits = read_weights(DATA / "digits_data.npz")
        truth = Truth(_digit_inputs(digits["held_out_images"]), digits["held_out_labels"])
        return LoadedModel(
            name, graph, preprocess, _digit_inputs(digits["calibration_images"]), truth, CLASSIFY, note, True
        )
    if name == "yolo":
        preprocess, task = Preprocess(3, 416, 416, "letterbox", (0.0,) * 3, (1.0,) * 3), DETECT
    else:
        preprocess, task = Preprocess(3, 224, 224, "crop", IMAGENET_MEAN, IMAGENET_STD), CLASSIFY
    calibration = _synthetic_calibration(preprocess)
    return LoadedModel(name, graph, preprocess, calibration, None, task, note, weights is not None)


def read_weights(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an ``.npz``, the initialisers of an ``.onnx`` or YOLOv3-tiny's ``.weights``, by name.

    Raises
    ------
    ModelError
        If the file is missing, of another kind or damaged.
    """
    if path.suffix == ".onnx":
        return read_initializers(read_model(path), str(path))
    if path.suffix == ".weights":
        return read_darknet(path)
    if path.suffix != ".npz":
        kind = path.suffix or "nameless"
        raise ModelError(f"weights in a {kind} file", where=str(path), allowed=".npz, .onnx, darknet's .weights")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as fault:
        raise ModelError("no such file of weights", where=str(path)) from fault
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as fault:
        raise ModelError(f"cannot read the weights ({fault})", where=str(path), allowed="arrays by name") from fault


def _digit_inputs(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (n, 8, 8) levels in 0..16 as inputs (n, 1, 8, 8) in 0..1."""
    return images[:, None].astype(np.float32) / np.float32(DIGIT_LEVELS)


def _plain_preprocess(graph: Graph) -> Preprocess:
    """Return the preprocessing of a model that does not state one: pixels in 0..1."""
    _, channels, height, width = graph.values[graph.inputs[0]].shape
    return Preprocess(channels, height, width, "crop", (0.0,) * channels, (1.0,) * channels)


def _synthetic_calibration(preprocess: Preprocess) -> NDArray[np.float32]:
    return synthetic_images(CALIBRATION_IMAGES, preprocess, CALIBRATION_SEED).inputs
