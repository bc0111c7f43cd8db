"""A model is imported once, and again only when something of it has changed."""

import numpy as np
import pytest

from mpi_vta.errors import InputError, ModelError
from mpi_vta.job import ready_model as module
from mpi_vta.job.ready_model import ready_model
from mpi_vta.quantize.options import QuantizeOptions


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MPI_VTA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def load():
    """Load digits, and tell how often it was imported."""
    imports = []

    def run(seed=0, weights=None):
        model = ready_model("digits", seed=seed, weights=weights, on_import=lambda: imports.append(1))
        return model, len(imports)

    return run


def test_second_load_needs_no_import_and_is_the_same(cache, load):
    first, _ = load()
    second, imports = load()
    assert imports == 1
    assert second.quantized.sha256 == first.quantized.sha256
    assert second.float_graph.sha256 == first.float_graph.sha256
    assert np.array_equal(second.truth.images, first.truth.images)
    assert (second.name, second.preprocess, second.task, second.weights_note, second.has_meaning) == (
        first.name,
        first.preprocess,
        first.task,
        first.weights_note,
        first.has_meaning,
    )


def test_damaged_entry_is_made_again(cache, load):
    first, _ = load()
    (entry,) = cache.rglob("*.model")
    entry.write_bytes(entry.read_bytes()[:-100])
    again, imports = load()
    assert imports == 2
    assert again.quantized.sha256 == first.quantized.sha256


def test_other_weights_are_another_model(cache, load, tmp_path):
    first, _ = load()
    with np.load(module.DATA / "digits_weights.npz") as shipped:
        np.savez(tmp_path / "other.npz", **{name: shipped[name] * 0.5 for name in shipped.files})
    other, imports = load(weights=tmp_path / "other.npz")
    assert imports == 2
    assert other.quantized.sha256 != first.quantized.sha256


def test_another_way_to_quantise_is_another_model(cache):
    plain = ready_model("digits", seed=0, weights=None)
    wide = ready_model("digits", seed=0, weights=None, options=QuantizeOptions("minmax", "never", "never", "off"))
    assert wide.quantized.sha256 != plain.quantized.sha256
    assert ready_model("digits", seed=0, weights=None).quantized.sha256 == plain.quantized.sha256


def test_missing_weights_are_said_by_the_import(cache, load, tmp_path):
    with pytest.raises(ModelError, match="no such file of weights"):
        load(weights=tmp_path / "none.npz")


def test_cache_that_cannot_be_used_says_what_to_set(tmp_path, monkeypatch, load):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MPI_VTA_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"the model cache cannot be used .*set MPI_VTA_CACHE"):
        load()


def test_float_outputs_are_the_float_model_s(cache, load):
    model, _ = load()
    (scores,) = model.float_outputs(model.truth.images[:40])
    assert (scores.argmax(axis=1) == model.truth.labels[:40]).mean() > 0.9


def test_tensors_beside_a_model_file_are_part_of_it(cache, tmp_path):
    model, tensors = tmp_path / "own.onnx", tmp_path / "own.onnx.data"
    model.write_bytes(b"graph")
    alone = module._cache_path(str(model), 0, None, QuantizeOptions())
    tensors.write_bytes(b"one")
    first = module._cache_path(str(model), 0, None, QuantizeOptions())
    tensors.write_bytes(b"two")
    assert len({alone, first, module._cache_path(str(model), 0, None, QuantizeOptions())}) == 3
