"""One rank's trace while the job runs: events go to a file of its own that stays readable if the job dies."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from mpi_vta.disk import is_same_file, open_own, writing
from mpi_vta.errors import InputError, OutputLostError
from mpi_vta.trace.schema import (
    CLOCK_SAMPLE_DTYPE,
    EVENT_DTYPE,
    NO_EDGE,
    NO_PEER,
    POWER_DTYPE,
    PROFILE_DTYPE,
    RANK_FORMAT,
    VERSION,
    EventKind,
    RankInfo,
    StageProfile,
    rank_group,
)

BATCH_RECORDS = 4096
CLOCK_CHUNK = 64
FLUSH_INTERVAL_S = 1.0


Method = TypeVar("Method", bound=Callable[..., None])


def _on_disk(method: Method) -> Method:
    """Let a method of `RankTrace` raise `InputError` for what the disk refuses."""

    @wraps(method)
    def told(self: RankTrace, *arguments: Any, **named: Any) -> None:
        with writing("the trace", self.path, "make room on that disk"):
            method(self, *arguments, **named)

    return cast(Method, told)


class RankTrace:
    """Append-only event log of one rank.

    Events gather in memory and are appended uncompressed, then flushed, when a batch is full or a second has
    passed: a killed job loses at most that second, and its file opens. The file is used by its descriptor: what
    happens to its name, or to the folder, never brings another one in its place.

    Parameters
    ----------
    path : Path
        File to create.
    info : RankInfo
        Attributes of the rank.
    """

    def __init__(self, path: Path, info: RankInfo) -> None:
        self.path = path
        self._begin(info)

    @_on_disk
    def _begin(self, info: RankInfo) -> None:
        path = self.path
        path.parent.mkdir(parents=True, exist_ok=True)
        # a file that was cut short before it was a trace must not look like one
        partial = path.with_name(path.name + ".part")
        # what lies there may be a link that leads elsewhere
        partial.unlink(missing_ok=True)
        # room for one chunk: the library would keep written ones in memory, 8 MB of them
        self._file = h5py.File(partial, "x", rdcc_nbytes=BATCH_RECORDS * EVENT_DTYPE.itemsize)
        self._descriptor = open_own(partial, os.O_RDONLY)
        self._file.attrs["format"] = RANK_FORMAT
        self._file.attrs["version"] = VERSION
        self._group = self._file.create_group(rank_group(info.rank))
        self._group.attrs.update(info.attributes())
        self.note_stages({})
        self._events = self._group.create_dataset(
            "events", shape=(0,), maxshape=(None,), dtype=EVENT_DTYPE, chunks=(BATCH_RECORDS,)
        )
        self._batch = np.zeros(BATCH_RECORDS, dtype=EVENT_DTYPE)
        self._filled = self._written = 0
        self.flush()
        os.replace(partial, path)

    def record(
        self,
        kind: EventKind,
        start_ns: int,
        end_ns: int,
        *,
        stage: int,
        image: int,
        replica: int = 0,
        peer: int = NO_PEER,
        edge: int = NO_EDGE,
        size_bytes: int = 0,
        model: int = 0,
    ) -> None:
        """Append one event; `image` is the first image of the group, `stage` -1 or -2 for source and sink."""
        self._batch[self._filled] = (start_ns, end_ns, kind, model, stage, replica, image, peer, edge, size_bytes)
        self._filled += 1
        if self._filled == BATCH_RECORDS or time.monotonic() - self._flushed_at > FLUSH_INTERVAL_S:
            self.flush()

    @_on_disk
    def note_stages(self, cycles: Mapping[int, int]) -> None:
        """Keep the cycles of one launch of each stage that this rank runs, as the device gives them."""
        self._group.attrs["stages"] = np.array(list(cycles), dtype=np.int64)
        self._group.attrs["cycles"] = np.array(list(cycles.values()), dtype=np.int64)

    @_on_disk
    def note_profiles(self, profiles: Mapping[int, StageProfile]) -> None:
        """Keep where the cycles of one launch of each stage go, layer by layer."""
        layers: list[str] = []
        parts = []
        for stage, profile in profiles.items():
            rows = profile.rows.copy()
            rows["stage"] = stage
            rows["layer"] += len(layers)
            layers += profile.layers
            parts.append(rows)
        rows = np.concatenate(parts) if parts else np.zeros(0, PROFILE_DTYPE)
        self._group.create_dataset("profile", data=rows).attrs["layers"] = layers

    @_on_disk
    def note_clock(self, samples: NDArray[Any]) -> None:
        """Add comparisons with rank 0's clock, CLOCK_SAMPLE_DTYPE; only a run on real clocks has them."""
        rows = samples.astype(CLOCK_SAMPLE_DTYPE, copy=False)
        if "clock_samples" not in self._group:
            self._group.create_dataset(
                "clock_samples", shape=(0,), maxshape=(None,), dtype=CLOCK_SAMPLE_DTYPE, chunks=(CLOCK_CHUNK,)
            )
        kept = self._group["clock_samples"]
        kept.resize((len(kept) + len(rows),))
        kept[len(kept) - len(rows) :] = rows
        self.flush()

    @_on_disk
    def note_power(self, steps: NDArray[Any], source: str, missed: int) -> None:
        """Keep what the board's sensor measured, POWER_DTYPE on the rank's clock; without it power is modelled."""
        power = self._group.create_dataset("power", data=steps.astype(POWER_DTYPE, copy=False))
        power.attrs["source"] = source
        power.attrs["missed"] = missed

    @_on_disk
    def flush(self) -> None:
        """Write what has gathered and hand it to the operating system.

        Raises
        ------
        InputError
            If the disk refuses, or the file was removed.
        """
        if os.fstat(self._descriptor).st_nlink == 0:
            raise OutputLostError(
                "the trace was removed while the job ran", where=str(self.path), remedy="start the job again"
            )
        if self._filled:
            # a signal may end this anywhere, and the file is flushed once more then: so what was counted is written
            end = self._written + self._filled
            self._events.resize((end,))
            self._events[self._written : end] = self._batch[: self._filled]
            self._written, self._filled = end, 0
        self._file.flush()
        self._flushed_at = time.monotonic()

    def close(self) -> bytes:
        """Flush, close, and return the whole file's bytes, so that they can go to rank 0 over the network."""
        self._finish()
        with open(self._descriptor, "rb", closefd=False) as stream:
            return stream.read()

    def remove(self) -> None:
        """Remove the file, closed before, and its folder if that is empty; what others have put there stays."""
        if is_same_file(self.path, self._descriptor):
            self.path.unlink(missing_ok=True)
            with suppress(OSError):
                self.path.parent.rmdir()
        os.close(self._descriptor)

    @_on_disk
    def _finish(self) -> None:
        self.flush()
        self._file.close()

    def __enter__(self) -> RankTrace:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        if self._file:
            # a full disk that ended the job is told once; what was flushed before is on it
            with suppress(InputError) if fault is not None else nullcontext():
                self._finish()
            os.close(self._descriptor)
