"""Results: kept while they come, taken up again, and the same file whatever the way there."""

import pytest

from mpi_vta.errors import ArtifactError, InputError
from mpi_vta.study.results import Results
from mpi_vta.trace.study_file import read_study
from mpi_vta.trace.study_rows import BoardTypeRow, ModelRow, PointRow

NAME = {"name": "e", "argv": "explore e.toml"}
KEYS = ["k0", "k1", "k2", "k3"]


def row(index):
    about = {"point": index, "models": "m", "boards": index, "valid": index != 1, "energy_j_per_image": 0.1 * index}
    parts = tuple(ModelRow(model=name) for name in "ab")
    return PointRow(**about, parts=parts, types=(BoardTypeRow(board="z", vta_busy=0.5),))


def filled(path, indices, keys=KEYS):
    results = Results(path, NAME, keys)
    for index in indices:
        results.add(index, row(index))
    results.save()
    return path.read_bytes()


def test_file_is_the_same_whatever_the_order(tmp_path):
    assert filled(tmp_path / "a.h5", [0, 1, 2, 3]) == filled(tmp_path / "b.h5", [3, 1, 0, 2])


def test_resumed_study_ends_like_an_undisturbed_one(tmp_path):
    whole = filled(tmp_path / "a.h5", range(4))
    path = tmp_path / "b.h5"
    filled(path, [2, 0])
    assert not read_study(path).complete
    resumed = Results(path, NAME, KEYS)
    assert resumed.resume() == 0
    assert resumed.missing == (1, 3)
    for index in resumed.missing:
        resumed.add(index, row(index))
    assert resumed.save().complete
    assert path.read_bytes() == whole


def test_points_that_moved_are_found_by_key(tmp_path):
    path = tmp_path / "a.h5"
    filled(path, range(4))
    moved = Results(path, NAME, ["new", "k3", "k0"])
    assert moved.resume() == 2
    assert moved.missing == (0,)
    study = moved.study()
    assert [row.boards for row in study.points] == [3, 0]
    assert study.columns("models")["point"].tolist() == [1, 1, 2, 2]


def test_result_is_written_while_it_grows(tmp_path, monkeypatch):
    monkeypatch.setattr("mpi_vta.study.results._LEAST_INTERVAL_S", -1.0)
    path = tmp_path / "a.h5"
    results = Results(path, NAME, KEYS)
    results.add(2, row(2))
    assert [row.point for row in read_study(path).points] == [2]


def test_nothing_to_resume(tmp_path):
    results = Results(tmp_path / "a.h5", NAME, KEYS)
    assert results.resume() == 0
    assert results.missing == (0, 1, 2, 3)


def test_other_experiment_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    filled(path, [0])
    with pytest.raises(InputError, match="it is the result of experiment e; allowed: a result of other; choose anoth"):
        Results(path, {"name": "other"}, KEYS).resume()


def test_damaged_file_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(filled(path, [0])[:1000])
    with pytest.raises(ArtifactError, match="content does not match its SHA-256"):
        Results(path, NAME, KEYS).resume()


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write the result"):
        Results(tmp_path / "file" / "a.h5", NAME, KEYS).save()
