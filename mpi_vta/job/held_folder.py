"""The output folder of a job, held by rank 0 alone from before it is first looked at until the process ends.

The lock is a POSIX record lock on ``.lock`` in the folder, a file that is never removed. The kernel lets go of it
however the process ends; no child has it. NFS, Lustre with ``flock``, GPFS and CephFS tell it to every host. Where a
mount's locks hold on one host only, or there are none, a file ``.claim``, which only one process can make, is the lock
between hosts: a job that is killed leaves it, and only a job on the same host knows that it means nothing.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from mpi_vta.disk import NO_LOCKS, is_same_file, open_own, write_all, writing
from mpi_vta.errors import InputError, OutputLostError
from mpi_vta.json_fields import Count, from_json, to_json

LOCK_FILE, CLAIM_FILE = ".lock", ".claim"
# rank 0 of a job that was killed lets go of its lock a moment after mpirun has returned
_WAIT_S = 2.0
_TICK_S = 0.05
_MOST_BYTES = 4096
_MOUNTS = Path("/proc/self/mountinfo")
_TAKEN = (errno.EACCES, errno.EAGAIN)
_LOCAL_OPTIONS = {"nolock", "local_lock=posix", "local_lock=all", "localflock", "nobrl"}
_LOCAL_TYPES = ("fuse", "beegfs", "9p", "virtiofs")


class HeldFolder:
    """An output folder that is this job's until the process ends.

    Parameters
    ----------
    folder : Path
        The folder, made if it is not there.
    where : str
        The option that names it, for messages.

    Raises
    ------
    InputError
        If another job holds it, or it cannot be written.
    """

    def __init__(self, folder: Path, where: str) -> None:
        self.folder, self._where = folder, where
        self._claimed = False
        deadline = time.monotonic() + _WAIT_S
        with writing("there", where):
            while not self._take():
                if time.monotonic() > deadline:
                    holder = _holder(self._file)
                    os.close(self._file)
                    raise self._taken(holder)
                os.close(self._file)
                time.sleep(_TICK_S)
            record = _record()
            os.ftruncate(self._file, 0)
            write_all(self._file, record, 0)
            # hosts that ask the server see it now
            os.fsync(self._file)
            if not (self._locked and locks_are_shared(folder)):
                self._claim(record)

    def check(self) -> None:
        """Raise `OutputLostError` if the folder was removed or renamed, or another one is in its place."""
        if not is_same_file(self.folder / LOCK_FILE, self._file):
            raise OutputLostError(
                "the folder was removed or renamed while the job ran: its results are not there",
                where=self._where,
                remedy="start the job again",
            )

    def release(self) -> None:
        """Let go of the folder before the process ends."""
        if self._claimed:
            (self.folder / CLAIM_FILE).unlink(missing_ok=True)
            self._claimed = False
            atexit.unregister(self.release)
        os.close(self._file)

    def _take(self) -> bool:
        """Open and lock the file; return whether it is locked, or cannot be, and still is the folder's."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = open_own(self.folder / LOCK_FILE, os.O_RDWR | os.O_CREAT)
        self._locked = True
        try:
            # a record lock, as flock is kept on one host by more file systems
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            if fault.errno in _TAKEN:
                return False
            if fault.errno not in NO_LOCKS:
                raise
            self._locked = False
        return is_same_file(self.folder / LOCK_FILE, self._file)

    def _claim(self, record: bytes) -> None:
        """Be the one that makes the file of a claim, or that finds one of a job that ended on this host."""
        path = self.folder / CLAIM_FILE
        try:
            file = open_own(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        except FileExistsError as fault:
            file = open_own(path, os.O_RDWR)
            holder = _holder(file)
            if not (self._locked and holder.startswith(f"{socket.gethostname()}, ")):
                os.close(file)
                os.close(self._file)
                raise InputError(
                    f"another job is at work there, or was killed: {holder}",
                    where=self._where,
                    remedy=f"locks of this mount hold on one host only: if the job is gone, remove {path}",
                ) from fault
            os.ftruncate(file, 0)
        write_all(file, record, 0)
        os.fsync(file)
        os.close(file)
        self._claimed = True
        atexit.register(self.release)

    def _taken(self, holder: str) -> InputError:
        return InputError(
            f"another job is at work there: {holder}", where=self._where, remedy="wait for its end, or end it"
        )


def locks_are_shared(folder: Path) -> bool:
    """Return whether a lock on a file in a folder is known to all hosts that mount it, as its mount says."""
    device = os.stat(folder).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = [line.split() for line in _MOUNTS.read_text().splitlines()]
    except OSError:
        # no Linux
        return True
    for words in mounts:
        if words[2] == number:
            kind, _, options = words[words.index("-") + 1 :][:3]
            given = {*words[5].split(","), *options.split(",")}
            return not (given & _LOCAL_OPTIONS or kind.startswith(_LOCAL_TYPES))
    return True


@dataclass(frozen=True)
class _Holder:
    """Who holds a folder, as its file says."""

    host: str
    process: Count
    since: str

    def __str__(self) -> str:
        """Return it without characters that do something to a terminal."""
        return f"{ascii(self.host)[1:-1]}, process {self.process}, since {ascii(self.since)[1:-1]}"


def _record() -> bytes:
    own = _Holder(socket.gethostname(), os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S%z"))
    return json.dumps(to_json(own)).encode()


def _holder(file: int) -> str:
    """Return who holds a folder, as its file says."""
    try:
        return str(from_json(_Holder, json.loads(os.pread(file, _MOST_BYTES, 0))))
    except (ValueError, RecursionError):
        return "it has not said who it is"
