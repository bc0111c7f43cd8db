"""The file of a study: columns there and back, and what is not one."""

import io
from contextlib import contextmanager

import h5py
import numpy as np
import pandas as pd
import pytest

from mpi_vta.errors import ArtifactError
from mpi_vta.trace.seal import sealed
from mpi_vta.trace.study_file import Study, read_study, write_study
from mpi_vta.trace.study_rows import TABLES, BoardTypeRow, ModelRow, PointRow

ROWS = (
    PointRow(
        point=0,
        models="résumé",
        valid=True,
        energy_j_per_image=1 / 3,
        parts=(ModelRow(model="a"),),
        types=(BoardTypeRow(board="z"), BoardTypeRow(board="u")),
    ),
    PointRow(point=1, models="b", reason="too large"),
)


@pytest.fixture
def study():
    return Study({"name": "e", "argv": "explore e.toml", "complete": True}, ROWS)


def test_round_trip(tmp_path, study):
    write_study(tmp_path / "s.h5", study)
    found = read_study(tmp_path / "s.h5")
    assert (found.attributes["name"], found.complete) == ("e", True)
    assert found.attributes["time"] == "modelled"
    row, other = found.points
    assert (row.models, row.energy_j_per_image, row.valid) == ("résumé", 1 / 3, True)
    assert (other.reason, other.valid, other.boards) == ("too large", False, -1)
    assert [[part.model for part in row.parts] for row in found.points] == [["a"], []]
    assert found.frame("board_types")[["point", "board"]].to_numpy().tolist() == [[0, "z"], [0, "u"]]


def test_file_of_version_1_has_its_names_and_doubts(tmp_path, study):
    write_study(tmp_path / "s.h5", study)
    with changed(tmp_path / "s.h5") as file:
        file.attrs["version"] = 1
        for table in ("points", "models"):
            file[table].move("latency_ms", "latency_p50_ms")
            file[f"{table}/latency_p50_ms"][:] = 2.5
            del file[f"{table}/latency_alone_ms"]
        for name in ("split_runs", "split_launches_ms", "split_overhead_ms", "split_waiting_ms"):
            del file[f"models/{name}"]
        del file["points/fit_doubt"], file["points/notes"]
        bound = b"what bounds it: the slowest parts of 18 runs of layers take 10.768 ms, 1.800 ms of that to launch; "
        bound += b"gathering, messages and waiting for them take the other 6.429 ms (modelled)"
        file["points/notes"] = [b"one | fits in doubt: much | " + bound, b""]
    row, other = read_study(tmp_path / "s.h5").points
    assert (row.latency_ms, row.parts[0].latency_ms, row.fit_doubt, other.fit_doubt) == (2.5, 2.5, "much", "")
    assert np.isnan(row.latency_alone_ms)
    (part,) = row.parts
    assert (part.split_runs, part.split_launches_ms, part.split_overhead_ms) == (18, 10.768, 1.8)
    assert part.split_waiting_ms == 6.429


def test_point_without_its_models_is_refused(tmp_path, study):
    write_study(tmp_path / "s.h5", study)
    with changed(tmp_path / "s.h5") as file:
        file["models/point"][:] = 7
    with pytest.raises(ArtifactError, match="point 0 has no models or no boards"):
        read_study(tmp_path / "s.h5")


def test_same_study_same_bytes(tmp_path, study):
    write_study(tmp_path / "a.h5", study)
    write_study(tmp_path / "b.h5", study)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_every_column_says_what_it_means(tmp_path, study):
    write_study(tmp_path / "s.h5", study)
    with h5py.File(tmp_path / "s.h5") as file:
        found = {name: {key: data.attrs["meaning"] for key, data in group.items()} for name, group in file.items()}
    assert found == {name: {column.name: column.meaning for column in columns} for name, columns in TABLES.items()}


def test_data_frame(study):
    frame = study.frame()
    assert frame.dtypes["energy_j_per_image"] == np.float64
    assert pd.isna(frame["energy_j_per_image"][1])
    assert frame["valid"].tolist() == [True, False]


def test_no_file(tmp_path):
    with pytest.raises(ArtifactError, match="no such study; allowed: a file written by"):
        read_study(tmp_path / "s.h5")


def test_no_hdf5(tmp_path):
    (tmp_path / "s.h5").write_text("hello")
    with pytest.raises(ArtifactError, match="not a readable study"):
        read_study(tmp_path / "s.h5")


@contextmanager
def changed(path):
    """Open a study to change it, and seal it again: somebody else wrote it so."""
    stream = io.BytesIO(path.read_bytes())
    with h5py.File(stream, "a") as file:
        yield file
    path.write_bytes(sealed(stream.getvalue()))


@pytest.mark.parametrize(("key", "value"), [("format", "other"), ("version", 99)])
def test_another_format(tmp_path, study, key, value):
    write_study(tmp_path / "s.h5", study)
    with changed(tmp_path / "s.h5") as file:
        file.attrs[key] = value
    with pytest.raises(ArtifactError, match="allowed: mpi_vta study version"):
        read_study(tmp_path / "s.h5")


@pytest.mark.parametrize(
    ("path", "data", "words"),
    [
        ("points/cycles", None, "not a readable study"),
        ("points/cycles", np.zeros(2), "points/cycles is of type float64, not integer"),
        ("points/cycles", np.zeros(3, np.int64), "the columns of points are not equally long"),
        ("points/cycles", np.zeros((2, 2), np.int64), "points/cycles is not a column"),
        ("points/models", np.zeros(2, np.int64), "not a readable study"),
    ],
)
def test_column_that_is_something_else(tmp_path, study, path, data, words):
    write_study(tmp_path / "s.h5", study)
    with changed(tmp_path / "s.h5") as file:
        del file[path]
        if data is not None:
            file[path] = data
    with pytest.raises(ArtifactError, match=words):
        read_study(tmp_path / "s.h5")


@pytest.mark.parametrize("name", ["name", "complete", "argv"])
def test_missing_attribute(tmp_path, study, name):
    write_study(tmp_path / "s.h5", study)
    with changed(tmp_path / "s.h5") as file:
        del file.attrs[name]
    with pytest.raises(ArtifactError, match=f"lacks its attribute {name}"):
        read_study(tmp_path / "s.h5")


@pytest.mark.parametrize("place", [3, 100, 700, 5000, -1])
def test_changed_byte_is_found_before_hdf5_reads(tmp_path, study, place):
    write_study(tmp_path / "s.h5", study)
    data = bytearray((tmp_path / "s.h5").read_bytes())
    data[place] ^= 1
    (tmp_path / "s.h5").write_bytes(data)
    with pytest.raises(ArtifactError, match=r"SHA-256|not a readable study"):
        read_study(tmp_path / "s.h5")


def test_file_without_a_seal_is_refused(tmp_path):
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file.attrs["format"] = "mpi_vta study"
    with pytest.raises(ArtifactError, match="the study has lost its SHA-256; remove it to begin anew"):
        read_study(tmp_path / "s.h5")
