"""The rows of a study as they come in: kept on disk often, so that a sweep that was killed goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mpi_vta.errors import InputError
from mpi_vta.trace.study_file import Study, read_study, write_study
from mpi_vta.trace.study_rows import PointRow

# A file is written at most so often, and so that writing takes no more than a small part of the time
_LEAST_INTERVAL_S = 1.0
_WRITING_SHARE = 0.05


class Results:
    """The rows of the points done so far.

    Parameters
    ----------
    path : Path
        The result file.
    attributes : mapping
        Provenance.
    keys : sequence of str
        The key of every point of the study, by index.
    """

    def __init__(self, path: Path, attributes: Mapping[str, Any], keys: Sequence[str]) -> None:
        self._path, self._attributes, self._keys = path, attributes, keys
        self._rows: dict[int, PointRow] = {}
        self._interval_s = _LEAST_INTERVAL_S
        self._saved_at = time.monotonic()

    @property
    def missing(self) -> tuple[int, ...]:
        """The points without rows."""
        return tuple(index for index in range(len(self._keys)) if index not in self._rows)

    def resume(self) -> int:
        """Take the rows of the same points from the file, if there is one; return how many it has of other points.

        Raises
        ------
        ArtifactError
            If the file is damaged or no study.
        InputError
            If it is the result of another experiment.
        """
        if not self._path.exists():
            return 0
        old = read_study(self._path)
        if old.attributes["name"] != self._attributes["name"]:
            raise InputError(
                f"it is the result of experiment {old.attributes['name']}",
                where=str(self._path),
                allowed=f"a result of {self._attributes['name']}",
                remedy="choose another --output",
            )
        by_key = {row.key: row for row in old.points}
        for index, key in enumerate(self._keys):
            if key in by_key:
                self._rows[index] = replace(by_key[key], point=index)
        return len(by_key.keys() - set(self._keys))

    def add(self, index: int, row: PointRow) -> None:
        """Keep the row of a point, and write the file if that was not done for a while."""
        self._rows[index] = replace(row, key=self._keys[index])
        if time.monotonic() - self._saved_at > self._interval_s:
            self.save()

    def save(self) -> Study:
        """Write what there is, and return it."""
        begun = time.monotonic()
        study = self.study()
        write_study(self._path, study)
        self._saved_at = time.monotonic()
        self._interval_s = max(_LEAST_INTERVAL_S, (self._saved_at - begun) / _WRITING_SHARE)
        return study

    def study(self) -> Study:
        """Return what there is."""
        in_order = tuple(self._rows[index] for index in sorted(self._rows))
        return Study({**self._attributes, "complete": not self.missing}, in_order)
