"""A job's outputs on disk, image by image as they are delivered, so that a job that dies has kept what it had.

``outputs/`` holds a plain ``.npy`` of int8 per graph output, of its full size from the start, so that a disk
without room is found before the run; ``done``, a list of (image, CRC-32) of every whole image, appended to; and
``set.json``, written last, which says what the outputs are of. An image counts only if its bytes have the
checksum that the list states: whatever was cut short at any byte, by a kill or a power failure, is either whole
or not there. Files are opened once, never through a symbolic link; what happens to their names later changes nothing.
"""

from __future__ import annotations

import errno
import fcntl
import io
import json
import math
import mmap
import os
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from mpi_vta.artifact import check_version
from mpi_vta.disk import NO_LOCKS, open_own, open_own_folder, read_text, write_all, write_json, writing
from mpi_vta.errors import ArtifactError, InputError, IntegrityError, OutputLostError
from mpi_vta.json_fields import Count, from_json

FORMAT, VERSION = "mpi_vta outputs", 1
SET_FILE = "set.json"
_CLOSED = -1
DONE_DTYPE = np.dtype([("image", "<i4"), ("crc32", "<u4")])
# a rank that was killed lets go of its lock a moment after mpirun has returned
_LOCK_WAIT_S = 2.0


@dataclass(frozen=True)
class Identity:
    """What outputs are of; two runs with the same identity give the same outputs.

    Attributes
    ----------
    model, weights : str
        Name, and where the weights are from.
    graph_sha256 : str
        Of the int8 graph: structure, weights and quantisation.
    images : int
        How many.
    images_sha256 : str
        Of the quantised images.
    """

    model: str
    weights: str
    graph_sha256: str
    images: Count
    images_sha256: str

    def check(self, other: Identity, where: str) -> None:
        """Refuse outputs of something else with `InputError`, which names the first difference."""
        for what, asked, found in (
            ("model", self.model, other.model),
            ("weights", self.weights, other.weights),
            ("weights or quantisation", self.graph_sha256[:16], other.graph_sha256[:16]),
            ("number of images", self.images, other.images),
            ("images", self.images_sha256[:16], other.images_sha256[:16]),
        ):
            if asked != found:
                raise InputError(
                    f"what is there is of other {what}: {found}, not {asked}",
                    where=where,
                    remedy="repeat the options of the run that began it, or choose another folder",
                )


@dataclass(frozen=True)
class OutputPlace:
    """Where outputs go, and what they are.

    Attributes
    ----------
    folder : str
        ``outputs`` in the output folder of the job.
    identity : Identity
        What they are of.
    shapes : mapping of str to tuple of int
        (1, C, H, W) of each graph output, in the graph's order.
    scales_log2 : mapping of str to int
        Of each graph output: its integers times 2 to this power are real.
    """

    folder: str
    identity: Identity
    shapes: Mapping[str, tuple[Count, ...]]
    scales_log2: Mapping[str, int] = field(default_factory=dict)

    def exists(self) -> bool:
        """Return whether there are outputs, of whatever."""
        return (Path(self.folder) / SET_FILE).is_file()


class OutputSet:
    """The outputs of one job, open for more; see the module.

    Parameters
    ----------
    place : OutputPlace
        Where outputs were begun with `begin`.

    Raises
    ------
    InputError
        If they are of something else, or another job is writing there.
    ArtifactError
        If they are damaged, so that not even the list can be read.
    """

    def __init__(self, place: OutputPlace) -> None:
        self._prepare(place)
        try:
            place.identity.check(read_identity(self._folder), str(self._folder))
            with self._opening("done"):
                self._open_list(0)
                # an entry that was cut short would shift those that follow
                os.ftruncate(self._done, os.fstat(self._done).st_size // DONE_DTYPE.itemsize * DONE_DTYPE.itemsize)
            for number, (name, header) in enumerate(self._headers.items()):
                file = f"{number:03d}.npy"
                with self._opening(file):
                    self._files[name] = open_own(self._folder / file, os.O_RDWR)
                    size = os.fstat(self._files[name]).st_size
                    if size < self._size(name) or os.pread(self._files[name], len(header), 0) != header:
                        raise ArtifactError(
                            "damaged outputs", where=str(self._folder / file), remedy="remove the folder"
                        )
        except BaseException:
            self._let_go()
            raise

    @classmethod
    def begin(cls, place: OutputPlace) -> OutputSet:
        """Begin outputs anew, in the place of any that are there, and open them.

        Raises
        ------
        InputError
            If there is no room for them, or they cannot be written.
        """
        self = cls.__new__(cls)
        self._prepare(place)
        try:
            with writing("the outputs", f"--output {self._folder.parent}"):
                self._create(place)
        except BaseException:
            self._let_go()
            raise
        return self

    def _prepare(self, place: OutputPlace) -> None:
        self._folder, self._shapes, self.images = Path(place.folder), place.shapes, place.identity.images
        self._headers = {name: _header(self._shape(name)) for name in self._shapes}
        self._files: dict[str, int] = {}
        self._done = _CLOSED

    def _create(self, place: OutputPlace) -> None:
        folder = self._folder
        folder.mkdir(parents=True, exist_ok=True)
        os.close(open_own_folder(folder))
        # the list is locked before anything else is touched, and its file stays: another's lock lies on it
        self._open_list(os.O_CREAT)
        (folder / SET_FILE).unlink(missing_ok=True)
        os.ftruncate(self._done, 0)
        for old in folder.glob("[0-9][0-9][0-9].npy"):
            old.unlink(missing_ok=True)
        for number, (name, header) in enumerate(self._headers.items()):
            self._files[name] = open_own(folder / f"{number:03d}.npy", os.O_RDWR | os.O_CREAT | os.O_EXCL)
            write_all(self._files[name], header, 0)
            os.posix_fallocate(self._files[name], 0, self._size(name))
        names = [
            {"name": name, "file": f"{number:03d}.npy", "scale_log2": place.scales_log2.get(name)}
            for number, name in enumerate(place.shapes)
        ]
        data = {"format": FORMAT, "version": VERSION, **asdict(place.identity), "outputs": names}
        write_json(folder / SET_FILE, data)

    def _open_list(self, flags: int) -> None:
        self._done = open_own(self._folder / "done", os.O_RDWR | os.O_APPEND | flags)
        _lock(self._done, self._folder)

    @contextmanager
    def _opening(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as fault:
            raise ArtifactError(
                f"the outputs cannot be opened ({fault.strerror})",
                where=str(self._folder / name),
                remedy="remove the folder",
            ) from fault

    def done(self) -> NDArray[np.bool_]:
        """Return which images are whole, shape (images,); every checksum is computed."""
        size = os.fstat(self._done).st_size
        listed = np.frombuffer(os.pread(self._done, size, 0), DONE_DTYPE)
        whole = np.zeros(self.images, bool)
        arrays = self.arrays()
        for image, crc32 in listed[(listed["image"] >= 0) & (listed["image"] < self.images)].tolist():
            whole[image] |= _crc32([array[image] for array in arrays.values()]) == crc32
        return whole

    def put(self, images: Sequence[int], values: Mapping[str, NDArray[np.int8]]) -> None:
        """Keep the outputs of some images, by graph output, shape (len(images), C, H, W).

        Raises
        ------
        InputError
            If the disk fails, or the outputs were removed.
        """
        with writing("the outputs", self._folder, "make room, then go on with --resume"):
            if os.fstat(self._done).st_nlink == 0:
                raise OutputLostError(
                    "the outputs were removed while the job ran", where=str(self._folder), remedy="start the job again"
                )
            for name, array in values.items():
                for row, image in enumerate(images):
                    data = np.ascontiguousarray(array[row])
                    write_all(self._files[name], data.data, len(self._headers[name]) + image * data.nbytes)
            crcs = [_crc32([values[name][row] for name in self._shapes]) for row in range(len(images))]
            self._list(np.array(list(zip(images, crcs, strict=True)), DONE_DTYPE).tobytes())

    def arrays(self) -> dict[str, NDArray[np.int8]]:
        """Return all outputs by name, shape (images, C, H, W), read-only and not in memory; zeros where not done."""
        return {name: self._array(name) for name in self._shapes}

    def whole_arrays(self) -> dict[str, NDArray[np.int8]]:
        """Return what `arrays` does, every checksum verified.

        Raises
        ------
        IntegrityError
            If an image's outputs are not those that were delivered.
        """
        lacking = np.flatnonzero(~self.done())
        if lacking.size:
            raise IntegrityError(
                f"the outputs of {lacking.size} images are not those that were delivered, first of image {lacking[0]}",
                where=str(self._folder),
                remedy="something else wrote there, or the disk fails; --resume runs these images again",
            )
        return self.arrays()

    def close(self) -> None:
        """Bring everything to the disk and let go of the files; raises `InputError` if the disk fails."""
        try:
            with writing("the outputs", self._folder):
                for file in (*self._files.values(), self._done):
                    os.fsync(file)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        for file in (*self._files.values(), self._done):
            if file != _CLOSED:
                os.close(file)
        self._files.clear()
        self._done = _CLOSED

    def _array(self, name: str) -> NDArray[np.int8]:
        content = mmap.mmap(self._files[name], self._size(name), access=mmap.ACCESS_READ)
        return np.ndarray(self._shape(name), np.int8, content, len(self._headers[name]))

    def __enter__(self) -> OutputSet:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _list(self, entries: bytes) -> None:
        before = os.fstat(self._done).st_size
        if os.write(self._done, entries) != len(entries):
            # the disk is full; part of an entry would shift those that follow
            os.ftruncate(self._done, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _shape(self, name: str) -> tuple[int, ...]:
        return (self.images, *self._shapes[name][1:])

    def _size(self, name: str) -> int:
        """Return the length of a graph output's file in bytes."""
        return len(self._headers[name]) + math.prod(self._shape(name))


class PartOutputs:
    """Outputs of a part of a job's images, which the part numbers from 0.

    Parameters
    ----------
    whole : OutputSet
        Of the job.
    numbers : sequence of int
        The job's number of each image of the part; empty if the part is all.
    """

    def __init__(self, whole: OutputSet, numbers: Sequence[int]) -> None:
        self._whole, self._numbers = whole, numbers

    def put(self, images: Sequence[int], values: Mapping[str, NDArray[np.int8]]) -> None:
        """Keep outputs; see `OutputSet.put`."""
        self._whole.put([self._numbers[image] for image in images] if self._numbers else images, values)

    def close(self) -> Mapping[str, NDArray[np.int8]]:
        """Bring everything to the disk, and return all outputs of the job by name; see `OutputSet.whole_arrays`."""
        with self._whole:
            return self._whole.whole_arrays()


def read_identity(folder: Path) -> Identity:
    """Return what the outputs in a folder are of; raises `ArtifactError` if ``set.json`` is missing or damaged."""
    path = folder / SET_FILE
    try:
        data = json.loads(read_text(path))
        found = (data["format"], data["version"])
        identity = from_json(Identity, {name: data[name] for name in Identity.__dataclass_fields__})
    except FileNotFoundError as fault:
        raise ArtifactError(
            "no outputs there", where=str(path), remedy="go on in a folder that the hosts of the job share"
        ) from fault
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise ArtifactError(f"not a readable set of outputs ({type(fault).__name__})", where=str(path)) from fault
    check_version(found, FORMAT, VERSION, str(path))
    return identity


def _header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    npy_format.write_array_header_1_0(stream, {"descr": "|i1", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def _lock(file: int, folder: Path) -> None:
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as fault:
            if fault.errno in NO_LOCKS:
                # rank 0 holds the folder: this lock only keeps off a rank that outlives its job
                return
            if not isinstance(fault, BlockingIOError):
                raise
            if time.monotonic() > deadline:
                raise InputError(
                    "another job is writing there", where=str(folder), remedy="wait for its end, or end it"
                ) from fault
        time.sleep(0.05)


def _crc32(parts: Sequence[NDArray[np.int8]]) -> int:
    crc = 0
    for part in parts:
        crc = zlib.crc32(np.ascontiguousarray(part).data, crc)
    return crc
