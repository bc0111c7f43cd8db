"""What int8 costs in accuracy: ``python benchmarks/accuracy.py [--seeded]``.

The networks with a truth in float, quantised by us with several options, and by onnxruntime's static quantiser (QDQ,
symmetric int8, min-max, per tensor and per channel), all calibrated on the same inputs and measured on the same
held-out examples in this one run. With ``--seeded``: resnet18, yolo and mobilenet_v2 with seeded weights as well, of
which only the SQNR means anything. Ours runs as `mpi_vta.graph.reference` defines it, which VTA equals bit for bit.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.frontend.detection import decode_yolo
from mpi_vta.frontend.images import PicturePlacement, synthetic_images
from mpi_vta.frontend.mean_precision import mean_average_precision
from mpi_vta.frontend.models import DATA, TRAINED, LoadedModel, load_model, read_weights
from mpi_vta.frontend.zoo import BUILDERS
from mpi_vta.graph.reference import execute
from mpi_vta.quantize.options import QuantizeOptions
from mpi_vta.quantize.quantizer import Quantization, quantize_with_decisions, sqnr_db

Outputs = list[NDArray[np.float32]]

SEEDED = ("resnet18", "yolo", "mobilenet_v2")
SEEDED_PICTURES = 2
LEAST_COUNTED_SCORE = 0.02

OURS = {
    "ours: defaults": QuantizeOptions(),
    "ours: min-max, nothing else": QuantizeOptions("minmax", "never", "never", "off"),
    "ours: percentile, nothing else": QuantizeOptions("percentile", "never", "never", "off"),
    "ours: mse, nothing else": QuantizeOptions("mse", "never", "never", "off"),
    "ours: mse, bias correction": QuantizeOptions("mse", "never", "never", "on"),
    "ours: mse, equalised": QuantizeOptions("mse", "never", "always", "off"),
    "ours: mse, per channel": QuantizeOptions("mse", "always", "never", "off"),
    "ours: mse, all three": QuantizeOptions("mse", "always", "always", "on"),
}


def score_of(loaded: LoadedModel, outputs: Outputs) -> str:
    """Return accuracy, or mean average precision of a detector, in percent; a dash without a truth."""
    truth, detector = loaded.truth, loaded.detector
    if truth is None:
        return "-"
    if detector is None:
        share = (outputs[0].reshape(len(truth.labels), -1).argmax(axis=1) == truth.labels).mean()
        return f"{100 * float(share):.2f}"
    placement = PicturePlacement(1.0, 0, 0)
    found = [
        decode_yolo(
            [head[i] for head in outputs], detector.input_hw, placement, detector, score_threshold=LEAST_COUNTED_SCORE
        )
        for i in range(len(truth.images))
    ]
    return f"{100 * mean_average_precision(found, *truth.objects(), detector.class_names):.2f}"


def by_us(loaded: LoadedModel, images: NDArray[np.float32], options: QuantizeOptions) -> tuple[Outputs, Quantization]:
    """Return the outputs of our integers, one image at a time, and what was decided."""
    made = quantize_with_decisions(loaded.graph, loaded.calibration, options)
    runs = [made.model.finish(execute(made.model.graph, made.model.quantize_input(image[None]))) for image in images]
    return [np.concatenate([run[name] for run in runs]) for name in loaded.graph.outputs], made


class Reader:
    """Feeds onnxruntime's calibration with the inputs that we calibrate with."""

    def __init__(self, images: NDArray[np.float32]) -> None:
        self._feeds: Iterator[dict[str, Any]] = iter([{"input": image[None]} for image in images])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


def by_onnxruntime(
    loaded: LoadedModel, model: Path, images: NDArray[np.float32], folder: Path, *, per_channel: bool
) -> Outputs:
    """Return the outputs of onnxruntime's int8 on the processor."""
    import onnxruntime
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    path = folder / f"quantised-{per_channel}.onnx"
    # it advises to fold batch norm first, which has been done
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_static(
            str(model),
            str(path),
            Reader(loaded.calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=per_channel,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True},
        )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    runs = [session.run(None, {"input": image[None]}) for image in images]
    return [np.concatenate([run[i] for run in runs]) for i in range(len(runs[0]))]


def float_onnx(name: str, folder: Path) -> Path:
    """Write the zoo model with batch norm folded, as onnxruntime's own optimiser does it, and return its path."""
    import onnx
    import onnxruntime

    weights = read_weights(DATA / f"{name}_weights.npz") if name in TRAINED else None
    plain, folded = folder / f"{name}.onnx", folder / f"{name}-folded.onnx"
    onnx.save(BUILDERS[name](0, weights), plain)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    onnxruntime.InferenceSession(str(plain), options, providers=["CPUExecutionProvider"])
    return folded


def rows_of(name: str, folder: Path) -> Iterator[tuple[str, Outputs, str]]:
    """Yield how a network was run, its outputs and a note; floats first."""
    loaded = load_model(name)
    images = _images(loaded)
    runs = [execute(loaded.graph, {"input": image[None]}) for image in images]
    yield "float", [np.concatenate([run[output] for run in runs]) for output in loaded.graph.outputs], ""
    for label, options in OURS.items():
        outputs, made = by_us(loaded, images, options)
        yield label, outputs, _note(made)
    model = float_onnx(name, folder)
    for per_channel in (False, True):
        label = f"onnxruntime: per {'channel' if per_channel else 'tensor'}"
        yield label, by_onnxruntime(loaded, model, images, folder, per_channel=per_channel), "scales are any floats"


def _images(loaded: LoadedModel) -> NDArray[np.float32]:
    if loaded.truth is not None:
        return loaded.truth.images
    return synthetic_images(SEEDED_PICTURES, loaded.preprocess, seed=11).inputs


def _note(made: Quantization) -> str:
    shifted = [node.name for node in made.model.graph.nodes if "channel_shift" in node.params]
    notes = [f"{len(shifted)} layer{'s' * (len(shifted) > 1)} per channel"] if shifted else []
    if made.is_equalized:
        notes.append("equalised")
    return ", ".join(notes)


def print_rows(name: str, rows: Iterator[tuple[str, Outputs, str]], loaded: LoadedModel) -> Mapping[str, Outputs]:
    """Print one line of the table per way of running."""
    seen: dict[str, Outputs] = {}
    for label, outputs, note in rows:
        seen[label] = outputs
        levels = [sqnr_db(exact, found) for exact, found in zip(seen["float"], outputs, strict=True)]
        noise = "-" if label == "float" else ", ".join(f"{level:.1f}" for level in levels)
        print(f"| {name} | {label} | {score_of(loaded, outputs)} | {noise} | {note} |", flush=True)
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeded", action="store_true", help="the large networks with seeded weights as well")
    parser.add_argument("--model", nargs="+", help="these networks alone")
    options = parser.parse_args()
    names = options.model or (*TRAINED, *(SEEDED if options.seeded else ()))
    print("| network | run | accuracy or mAP(0.5), % | SQNR of the outputs, dB | |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            print_rows(name, rows_of(name, Path(folder)), load_model(name))


if __name__ == "__main__":
    main()
