"""A model imported and quantised, kept on disk by content, so that a second start needs no TVM."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta import artifact
from mpi_vta.disk import cache_directory, read_bytes, sources_hash
from mpi_vta.errors import ArtifactError, about
from mpi_vta.frontend.detection import Detector
from mpi_vta.frontend.images import Preprocess
from mpi_vta.frontend.models import DATA, LoadedModel, load_model
from mpi_vta.frontend.photographs import CALIBRATION
from mpi_vta.frontend.sidecar import with_sidecar
from mpi_vta.frontend.truth import Truth
from mpi_vta.frontend.zoo import BUILDERS
from mpi_vta.graph.ir import Graph
from mpi_vta.graph.reference import execute
from mpi_vta.job.explain import NodePlace, places_of
from mpi_vta.job.import_process import import_apart, is_foreign
from mpi_vta.json_fields import to_json
from mpi_vta.quantize.model import QuantizedModel
from mpi_vta.quantize.options import QuantizeOptions
from mpi_vta.quantize.quantizer import DEFAULTS, quantize
from mpi_vta.schedule.cache import cache_path, keep, read_kept

FORMAT_VERSION = 5
_IMPORT_ROOMS = ("frontend", "quantize", "graph")


@dataclass(frozen=True)
class _Header:
    name: str
    preprocess: Preprocess
    task: str
    weights_note: str
    has_meaning: bool
    detector: Detector | None
    places: tuple[NodePlace, ...]
    shows_photographs: bool
    warning: str
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class ReadyModel:
    """What a run needs to know of a model; the fields of `LoadedModel` mean the same here.

    Attributes
    ----------
    quantized : QuantizedModel
        The int8 graph, and what stays on the host.
    float_graph : Graph or None
        The float model, kept where there is a truth to compare with.
    places : tuple of NodePlace
        Where each node of the model's file went.
    """

    name: str
    quantized: QuantizedModel
    preprocess: Preprocess
    truth: Truth | None
    float_graph: Graph | None
    task: str
    weights_note: str
    has_meaning: bool
    detector: Detector | None = None
    places: tuple[NodePlace, ...] = ()
    shows_photographs: bool = False
    warning: str = ""
    class_names: tuple[str, ...] = ()

    @property
    def graph(self) -> Graph:
        """The int8 graph."""
        return self.quantized.graph

    def float_outputs(self, images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return the float model's outputs for images (n, C, H, W), n first, in the model's order."""
        graph = self.float_graph
        assert graph is not None, "only models with a truth keep their float graph"
        values = execute(graph, {graph.inputs[0]: images})
        return [np.asarray(values[name], dtype=np.float32) for name in graph.outputs]

    def to_bytes(self) -> bytes:
        """Serialise the model."""
        header = _Header(
            self.name,
            self.preprocess,
            self.task,
            self.weights_note,
            self.has_meaning,
            self.detector,
            self.places,
            self.shows_photographs,
            self.warning,
            self.class_names,
        )
        arrays: dict[str, NDArray[Any]] = {"quantized": np.frombuffer(self.quantized.to_bytes(), np.uint8)}
        if self.truth is not None:
            arrays |= {f"truth_{name}": array for name, array in self.truth.arrays().items()}
        if self.float_graph is not None:
            arrays["float_graph"] = np.frombuffer(self.float_graph.to_bytes(), np.uint8)
        return artifact.pack("model", FORMAT_VERSION, to_json(header), arrays)

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> ReadyModel:
        """Read what `to_bytes` wrote; raises `ArtifactError` on damage."""
        header, arrays = artifact.unpack_as(_Header, data, "model", FORMAT_VERSION, where)
        float_graph = None
        named = {name.removeprefix("truth_"): a for name, a in arrays.items() if name.startswith("truth_")}
        truth = Truth(**named) if named else None
        if "float_graph" in arrays:
            float_graph = Graph.from_bytes(arrays["float_graph"].tobytes(), where)
        return cls(
            header.name,
            QuantizedModel.from_bytes(arrays["quantized"].tobytes(), where),
            header.preprocess,
            truth,
            float_graph,
            header.task,
            header.weights_note,
            header.has_meaning,
            header.detector,
            header.places,
            header.shows_photographs,
            header.warning,
            header.class_names,
        )


def ready_model(
    name_or_path: str,
    *,
    seed: int,
    weights: Path | None,
    options: QuantizeOptions = DEFAULTS,
    on_import: Callable[[], None] = lambda: None,
) -> ReadyModel:
    """Import and quantise a model, unless that was done before with the same files and sources.

    Parameters
    ----------
    name_or_path, seed, weights
        As for `mpi_vta.frontend.models.load_model`.
    options : QuantizeOptions
        How it becomes integers.
    on_import : callable
        Called if the model has to be imported.

    Raises
    ------
    ModelError
        If the model cannot be used.
    InputError
        If the cache cannot be read or written.
    """
    options = replace(options, pictures=with_sidecar(name_or_path, options.pictures))
    path = _cache_path(name_or_path, seed, weights, options)
    data = read_kept(path, "model") if path else None
    if path is not None and data is not None:
        try:
            return ReadyModel.from_bytes(data, where=str(path))
        except ArtifactError:
            # a damaged entry is made again
            path.unlink(missing_ok=True)
    on_import()
    if path is not None and is_foreign(name_or_path, weights):
        import_apart(name_or_path, seed, weights, options, path)
        data = read_kept(path, "model")
        if data is not None:
            return ReadyModel.from_bytes(data, where=str(path))
    return import_and_keep(name_or_path, seed, weights, options, path)


def import_and_keep(
    name_or_path: str, seed: int, weights: Path | None, options: QuantizeOptions, path: Path | None
) -> ReadyModel:
    """Import and quantise a model in this process, and keep it in the cache at `path`; see `ready_model`."""
    loaded = load_model(
        name_or_path, seed=seed, weights=weights, input_shape=options.input_shape, pictures=options.pictures
    )
    with about(name_or_path if weights is None else weights, loaded.name):
        model = _import(loaded, options)
    if path is not None:
        keep(path, model.to_bytes(), "model")
    return model


def _import(loaded: LoadedModel, options: QuantizeOptions) -> ReadyModel:
    quantized = quantize(loaded.graph, loaded.calibration, options, loaded.ranges)
    return ReadyModel(
        loaded.name,
        quantized,
        loaded.preprocess,
        loaded.truth,
        loaded.graph if loaded.truth is not None or options.pictures.with_float else None,
        loaded.task,
        loaded.weights_note,
        loaded.has_meaning,
        loaded.detector,
        places_of(loaded, quantized),
        loaded.shows_photographs,
        loaded.warning,
        loaded.class_names,
    )


def _stated_files(stated: str | None) -> list[Path]:
    """Return the files that are calibrated with, by what ``--calibration-images`` says."""
    if stated is None or stated.isdecimal():
        return []
    path = Path(stated)
    return sorted(entry for entry in path.iterdir() if entry.is_file()) if path.is_dir() else [path]


def _cache_path(name_or_path: str, seed: int, weights: Path | None, options: QuantizeOptions) -> Path | None:
    """Return where the model is kept, or None if a file of it cannot be read: the import says why."""
    files = [] if weights is None else [weights]
    # a model file's tensors may lie beside it, as in model.onnx.data
    own = Path(name_or_path)
    files += (
        sorted(file for file in DATA.iterdir() if file.is_file())
        if name_or_path in BUILDERS
        else [own, *sorted(own.parent.glob(f"{own.name}?*"))]
    )
    files += sorted(CALIBRATION.iterdir()) + _stated_files(options.pictures.calibration_images)
    try:
        contents = [[file.name, hashlib.sha256(read_bytes(file)).hexdigest()] for file in files]
    except OSError:
        return None
    key = json.dumps([name_or_path, seed, contents, options.as_dict(), sources_hash(_IMPORT_ROOMS)])
    return cache_path(cache_directory(), "model", key)
