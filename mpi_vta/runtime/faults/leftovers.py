"""Files that MPICH keeps in /dev/shm and /tmp while a job runs, and leaves there when the job is killed.

MPICH and its launcher Hydra need them only while ranks start: once every rank of a host has opened them, their names
can go, and then nothing is left however the job ends. A job that is killed before leaves them to the next start.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mpi_vta.runtime.faults.process import PROC, status_of

SHARED_MEMORY, TEMPORARY = Path("/dev/shm"), Path("/tmp")
_SEGMENT = re.compile(r"mpich_shm_[0-9a-f]+_\d+|mpich_shar_tmp\w{6}")
_TOPOLOGY = re.compile(r"hydra_hwloc_xmlfile_\w{6}")
_LOCAL_RANK = "MPI_LOCALRANKID"
_PROXY = "hydra_pmi_proxy"
# a proxy writes its file when its first rank asks for it, within this time of its own start
_STARTING_S = 300.0
# a segment younger than this may belong to a job whose ranks are about to open it
_YOUNG_S = 60.0
_CLOCKS_DIFFER_S = 1.0


def leave_nothing_behind(environ: Mapping[str, str]) -> None:
    """Remove the names of what MPICH has made for this job on this host, and what earlier jobs have left there.

    To be called once every rank has started; does nothing on ranks but the first of each host, and under other MPIs.
    """
    if environ.get(_LOCAL_RANK) == "0":
        sweep()
        _forget_names()


def _forget_names() -> None:
    _remove(_mapped_by([os.getpid()]) & set(_own_files(SHARED_MEMORY, _SEGMENT)))
    # a file that another job's proxy may have made stays: only its time says whose it is
    guardian = status_of(os.getppid())
    others = [start_s for pid, start_s in _proxies() if guardian is None or pid != guardian.parent]
    _remove(path for path in _own_files(TEMPORARY, _TOPOLOGY) if not _is_of_one(path, others))


def sweep() -> None:
    """Remove what earlier jobs of this user have left on this host when they were killed."""
    segments = [path for path in _own_files(SHARED_MEMORY, _SEGMENT) if _age_s(path) > _YOUNG_S]
    if segments:
        _remove(set(segments) - _mapped_by(_own_processes()))
    proxies = [start_s for _, start_s in _proxies()]
    _remove(path for path in _own_files(TEMPORARY, _TOPOLOGY) if not _is_of_one(path, proxies))


def _own_files(folder: Path, names: re.Pattern[str]) -> list[Path]:
    """Return this user's regular files in a folder, of these names."""
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if names.fullmatch(path.name):
            try:
                about = path.lstat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(about.st_mode) and about.st_uid == os.getuid():
                found.append(path)
    return found


def _own_processes() -> list[int]:
    found = []
    for entry in PROC.iterdir():
        try:
            if entry.name.isdecimal() and entry.stat().st_uid == os.getuid():
                found.append(int(entry.name))
        except FileNotFoundError:
            continue
    return found


def _mapped_by(processes: Iterable[int]) -> set[Path]:
    """Return the files in shared memory that processes have open."""
    mapped = set()
    for pid in processes:
        try:
            lines = (PROC / str(pid) / "maps").read_text(errors="replace").splitlines()
        except OSError:
            continue
        mapped |= {Path(line.split(maxsplit=5)[5]) for line in lines if f" {SHARED_MEMORY}/" in line}
    return mapped


def _proxies() -> Sequence[tuple[int, float]]:
    """Return number and start, in seconds since the epoch, of every launcher's process of this user on this host."""
    booted_s = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    found = []
    for pid in _own_processes():
        try:
            name = (PROC / str(pid) / "comm").read_text().strip()
        except OSError:
            continue
        # the kernel keeps 15 characters of it
        status = status_of(pid) if name == _PROXY[:15] else None
        if status is not None:
            found.append((pid, booted_s + status.start_ticks / os.sysconf("SC_CLK_TCK")))
    return found


def _is_of_one(path: Path, starts_s: Iterable[float]) -> bool:
    """Tell whether one of the processes that were started then may have made a file."""
    made_s = _made_s(path)
    return any(start_s - _CLOCKS_DIFFER_S <= made_s <= start_s + _STARTING_S for start_s in starts_s)


def _made_s(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _age_s(path: Path) -> float:
    return time.time() - _made_s(path)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
