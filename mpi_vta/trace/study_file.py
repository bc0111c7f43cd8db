"""The result of a study on disk: one HDF5 file of columns, written whole, so that it can be read at any moment."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
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

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "mpi_vta study"
VERSION = 1
TEXT, INTEGER, REAL, TRUTH = "text", "integer", "real", "truth"
_DTYPES: Mapping[str, Any] = {INTEGER: np.int64, REAL: np.float64, TRUTH: np.bool_}
_ATTRIBUTES = {"format": "str", "version": "int", "name": "str", "argv": "str", "complete": "int"}
_ADDED = ("latency_alone_ms",)  # columns that files written before lack
_WORTH_BYTES = 4096  # a smaller column is not compressed: chunks take more than that saves
_ABSENT: Mapping[str, Any] = {TEXT: "", INTEGER: -1, REAL: float("nan"), TRUTH: False}


@dataclass(frozen=True)
class Column:
    """A column of a table; rows without a value have "", -1, NaN or false."""

    name: str
    kind: str
    meaning: str


TABLES: Mapping[str, tuple[Column, ...]] = {
    "points": (
        Column("point", INTEGER, "number of the point in the study"),
        Column("models", TEXT, "model, or models joined by +, that run at the same time"),
        Column("cluster", TEXT, "cluster whose first boards are used"),
        Column("boards", INTEGER, "boards of the job, all of which draw power"),
        Column("config", TEXT, "VTA builds of the boards, joined by +"),
        Column("strategy", TEXT, "as asked for"),
        Column("objective", TEXT, "what the planner looks for"),
        Column("images", INTEGER, "images of the job, for each model"),
        Column("valid", TRUTH, "whether the point can be run"),
        Column("reason", TEXT, "why not, for a point that is not valid"),
        Column("strategy_used", TEXT, "whose plan it is: of auto, the strategy chosen"),
        Column("boards_used", INTEGER, "boards that have layers"),
        Column("throughput_images_per_s", REAL, "images over the whole job, filling and draining included"),
        Column(
            "steady_images_per_s",
            REAL,
            "rate in the middle half of the job, if several rounds lie in it; the sum over several models",
        ),
        Column("latency_alone_ms", REAL, "one image with no other under way; of several models the worst one's"),
        Column("latency_p50_ms", REAL, "median over images; of several models the worst one's"),
        Column("latency_p99_ms", REAL, "99th percentile over images; of several models the worst one's"),
        Column("makespan_ms", REAL, "from the first start to the last result; of several models the longest"),
        Column("speedup", REAL, "throughput over that of the first board alone; one model only"),
        Column("ideal_fraction", REAL, "throughput over the sum of what each board would do alone; one model only"),
        Column("energy_j_per_image", REAL, "energy of all boards, ports and the switch, per image"),
        Column("network_j_per_image", REAL, "of that, the ports' beyond the boards' idle power, and the switch's"),
        Column("average_power_w", REAL, "energy over the length of the job"),
        Column("peak_power_w", REAL, "bound on the power at one time: all boards and ports that are used as if busy"),
        Column("images_per_s_per_w", REAL, "images per joule"),
        Column("stages", INTEGER, "stages of the plan, parts of split layers counted each"),
        Column("in_flight_groups", INTEGER, "image groups under way at once, at most"),
        Column("cycles", INTEGER, "VTA cycles of one launch of every stage"),
        Column("notes", TEXT, "what the planner wants the user to know"),
        Column("key", TEXT, "SHA-256 of all that decides the figures"),
    ),
    "models": (
        Column("point", INTEGER, "number of the point"),
        Column("model", TEXT, "name; numbered where the same one runs twice"),
        Column("ranks", TEXT, "ranks of the job that it has"),
        Column("strategy_used", TEXT, "whose plan it is"),
        Column("throughput_images_per_s", REAL, "over its own job"),
        Column("steady_images_per_s", REAL, "in the middle half of its job, if several rounds lie in it"),
        Column("latency_alone_ms", REAL, "one image with no other under way"),
        Column("latency_p50_ms", REAL, "median over images"),
        Column("latency_p99_ms", REAL, "99th percentile over images"),
        Column("bottleneck_rank", INTEGER, "rank that sets the pace"),
        Column("bottleneck", TEXT, "its busiest resource: vta, cpu, nic_out or nic_in"),
        Column("period_ms", REAL, "how long that resource is busy per image"),
        Column("division", TEXT, "the layers of every stage, and its boards"),
        Column("plan_sha256", TEXT, "of the plan's JSON text"),
    ),
    "board_types": (
        Column("point", INTEGER, "number of the point"),
        Column("board", TEXT, "type of board"),
        Column("boards", INTEGER, "how many of them the job has"),
        Column("boards_used", INTEGER, "how many of them run anything"),
        Column("vta_busy", REAL, "share of the job, 0 to 1, in which their VTA run, on average"),
    ),
}

Table = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Study:
    """The result of a study.

    Attributes
    ----------
    attributes : mapping
        Provenance: how it was made, and with what.
    tables : mapping of str to mapping of str to ndarray
        Columns by table; see `TABLES`.
    """

    attributes: Mapping[str, Any]
    tables: Mapping[str, Table]

    @property
    def complete(self) -> bool:
        """Whether every point of the study is there."""
        return bool(self.attributes["complete"])

    def rows(self, table: str = "points") -> list[dict[str, Any]]:
        """Return a table as one mapping per row."""
        columns = self.tables[table]
        lists = [columns[name].tolist() for name in columns]
        return [dict(zip(columns, values, strict=True)) for values in zip(*lists, strict=True)]

    def frame(self, table: str = "points") -> pd.DataFrame:
        """Return a table as a data frame."""
        import pandas as pd

        return pd.DataFrame(dict(self.tables[table]))

    @classmethod
    def of_rows(cls, attributes: Mapping[str, Any], rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Study:
        """Return a study of rows by table, in the order in which they are to stand.

        Raises
        ------
        ValueError
            If a row has a column that its table lacks.
        """
        tables = {}
        for name, columns in TABLES.items():
            unknown = {key for row in rows[name] for key in row} - {column.name for column in columns}
            if unknown:
                raise ValueError(f"table {name} has no column {', '.join(sorted(unknown))}")
            tables[name] = {column.name: _array(column, rows[name]) for column in columns}
        return cls(attributes, tables)


def _array(column: Column, rows: Iterable[Mapping[str, Any]]) -> NDArray[Any]:
    values = [row.get(column.name, _ABSENT[column.kind]) for row in rows]
    return np.array(values, dtype=object if column.kind == TEXT else _DTYPES[column.kind])


def write_study(path: Path, study: Study) -> None:
    """Write a study; a reader sees the old file or the new one, and the same study gives the same bytes."""
    stream = io.BytesIO()
    with h5py.File(stream, "w", userblock_size=SEAL_BYTES) as file:
        file.attrs.update({"format": FORMAT, "version": VERSION, "time": MODELLED, **study.attributes})
        for name, columns in TABLES.items():
            group = file.create_group(name)
            for column in columns:
                values = study.tables[name][column.name]
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
            check_version((attributes.pop("format"), attributes.pop("version")), FORMAT, VERSION, where)
            tables = {name: _read_table(file, name) for name in TABLES}
    except FileNotFoundError as fault:
        raise ArtifactError("no such study", where=where, allowed="a file written by mpi_vta.explore") from fault
    except HDF5_FAULTS as fault:
        raise ArtifactError(f"not a readable study ({fault})", where=where, remedy="remove it to begin anew") from fault
    return Study(attributes, tables)


def _read_table(file: h5py.File, name: str) -> Table:
    columns = {
        column.name: _read_column(file, f"{name}/{column.name}", column.kind)
        for column in TABLES[name]
        if column.name not in _ADDED or f"{name}/{column.name}" in file
    }
    if len(lengths := {len(values) for values in columns.values()}) > 1:
        raise ValueError(f"the columns of {name} are not equally long")
    absent = np.full(lengths.pop(), _ABSENT[REAL])
    return {column.name: columns.get(column.name, absent) for column in TABLES[name]}


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
