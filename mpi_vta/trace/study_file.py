"""The result of a study on disk: one HDF5 file of columns, written whole, so that it can be read at any moment."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mpi_vta.artifact import check_version
from mpi_vta.disk import write_atomically
from mpi_vta.errors import ArtifactError
from mpi_vta.trace.hdf5_input import HDF5_FAULTS, read_attributes
from mpi_vta.trace.schema import MODELLED
from mpi_vta.trace.seal import SEAL_BYTES, check_seal, sealed
from mpi_vta.trace.study_rows import INTEGER, NESTED, REAL, TABLES, TEXT, TRUTH, PointRow

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "mpi_vta study"
VERSION = 2
_DTYPES: Mapping[str, Any] = {INTEGER: np.int64, REAL: np.float64, TRUTH: np.bool_}
_ATTRIBUTES = {"format": "str", "version": "int", "name": "str", "argv": "str", "complete": "int"}
# version 1 lacked columns, called one otherwise, and had notes where there are columns now
_ADDED = ("latency_alone_ms", "fit_doubt", "split_runs", "split_launches_ms", "split_overhead_ms", "split_waiting_ms")
_BEFORE = {"latency_ms": "latency_p50_ms"}
_DOUBT = "fits in doubt: "
_BOUND = re.compile(
    r"what bounds it: the slowest parts of (\d+) runs of layers take ([\d.]+) ms, ([\d.]+) ms of that to launch; "
    r"gathering, messages and waiting for them take the other ([\d.]+) ms"
)
_WORTH_BYTES = 4096  # a smaller column is not compressed: chunks take more than that saves

Table = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Study:
    """The result of a study.

    Attributes
    ----------
    attributes : mapping
        Provenance: how it was made, and with what.
    points : tuple of PointRow
        In the order of the study.
    """

    attributes: Mapping[str, Any]
    points: tuple[PointRow, ...]

    @property
    def complete(self) -> bool:
        """Whether every point of the study is there."""
        return bool(self.attributes["complete"])

    def columns(self, table: str = "points") -> Table:
        """Return a table of `mpi_vta.trace.study_rows.TABLES` by column."""
        rows = [vars(row) for row in self.points]
        if table in NESTED:
            rows = [{"point": row["point"], **vars(nested)} for row in rows for nested in row[NESTED[table]]]
        return {
            column.name: np.array([row[column.name] for row in rows], _DTYPES.get(column.kind, object))
            for column in TABLES[table]
        }

    def frame(self, table: str = "points") -> pd.DataFrame:
        """Return a table as a data frame."""
        import pandas as pd

        return pd.DataFrame(dict(self.columns(table)))


def write_study(path: Path, study: Study) -> None:
    """Write a study; a reader sees the old file or the new one, and the same study gives the same bytes."""
    stream = io.BytesIO()
    with h5py.File(stream, "w", userblock_size=SEAL_BYTES) as file:
        file.attrs.update({"format": FORMAT, "version": VERSION, "time": MODELLED, **study.attributes})
        for name, columns in TABLES.items():
            group = file.create_group(name)
            found = study.columns(name)
            for column in columns:
                values = found[column.name]
                if column.kind == TEXT:
                    values = _fixed_texts(values)
                options = {"compression": "gzip"} if values.nbytes > _WORTH_BYTES else {}
                data = group.create_dataset(column.name, data=values, **options)
                data.attrs["meaning"] = column.meaning
    write_atomically(path, sealed(stream.getvalue()), "the result")


def _fixed_texts(values: NDArray[Any]) -> NDArray[Any]:
    """Return texts as UTF-8 of a fixed length, which unlike others is compressed."""
    encoded = [text.encode() for text in values]
    return np.array(encoded, dtype=h5py.string_dtype("utf-8", max(map(len, encoded), default=0) or 1))


def read_study(path: Path) -> Study:
    """Read a study, complete or not.

    Raises
    ------
    ArtifactError
        If the file is missing, damaged, no study, or of another version.
    """
    where = str(path)
    try:
        if not check_seal(path, "study"):
            raise ArtifactError("the study has lost its SHA-256", where=where, remedy="remove it to begin anew")
        with h5py.File(path, "r") as file:
            attributes = read_attributes(file, _ATTRIBUTES, "the file")
            version = attributes.pop("version")
            check_version((attributes.pop("format"), VERSION if version == 1 else version), FORMAT, VERSION, where)
            tables = {name: _read_table(file, name, version) for name in TABLES}
            if version == 1:
                _read_notes(tables)
            points = _points(tables)
    except FileNotFoundError as fault:
        raise ArtifactError("no such study", where=where, allowed="a file written by mpi_vta.explore") from fault
    except HDF5_FAULTS as fault:
        raise ArtifactError(f"not a readable study ({fault})", where=where, remedy="remove it to begin anew") from fault
    return Study(attributes, points)


def _points(tables: Mapping[str, list[dict[str, Any]]]) -> tuple[PointRow, ...]:
    """Return the points, each with its rows of the other tables."""
    nested: dict[str, dict[int, list[dict[str, Any]]]] = {name: {} for name in NESTED}
    for name, of_point in nested.items():
        for row in tables[name]:
            of_point.setdefault(row.pop("point"), []).append(row)
    return tuple(
        PointRow.of({**row, **{NESTED[name]: of_point.get(row["point"], []) for name, of_point in nested.items()}})
        for row in tables["points"]
    )


def _read_table(file: h5py.File, name: str, version: int) -> list[dict[str, Any]]:
    """Return a table by row."""
    columns = {}
    for column in TABLES[name]:
        path = f"{name}/{_BEFORE.get(column.name, column.name) if version == 1 else column.name}"
        if path in file or version != 1 or column.name not in _ADDED:
            columns[column.name] = _read_column(file, path, column.kind).tolist()
    if len({len(values) for values in columns.values()}) > 1:
        raise ValueError(f"the columns of {name} are not equally long")
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _read_notes(tables: Mapping[str, list[dict[str, Any]]]) -> None:
    """Fill in the columns that version 1 had in the words of notes."""
    bounds = {}
    for row in tables["points"]:
        doubts = [note.removeprefix(_DOUBT) for note in row["notes"].split(" | ") if note.startswith(_DOUBT)]
        row["fit_doubt"] = "; ".join(doubts)
        if (found := _BOUND.search(row["notes"])) is not None:
            bounds[row["point"]] = found.groups()
    for row in tables["models"]:
        if row["point"] in bounds:
            runs, *times = bounds[row["point"]]
            names = ("split_launches_ms", "split_overhead_ms", "split_waiting_ms")
            row.update({"split_runs": int(runs), **dict(zip(names, map(float, times), strict=True))})


def _read_column(file: h5py.File, path: str, kind: str) -> NDArray[Any]:
    data = file[path]
    if not isinstance(data, h5py.Dataset) or data.ndim != 1:
        raise ValueError(f"{path} is not a column")
    if kind == TEXT:
        texts: NDArray[Any] = data.asstr()[:]
        return texts
    if data.dtype != _DTYPES[kind]:
        raise ValueError(f"{path} is of type {data.dtype}, not {kind}")
    values: NDArray[Any] = data[:]
    return values
