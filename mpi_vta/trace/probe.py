"""Whether the HDF5 library survives a file without a seal: tried in a process of its own, which may die or hang.

``python -m mpi_vta.trace.probe PARENT FILE ...`` reads every dataset and attribute of the files. What is wrong with
them is not its business: it only ends well, or not.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import h5py

from mpi_vta.child_process import end_with, limit_memory
from mpi_vta.errors import ArtifactError
from mpi_vta.trace.hdf5_input import HDF5_FAULTS

LIMIT_S = 60.0
MEMORY_BYTES = 1 << 31


def probe(paths: Sequence[Path]) -> None:
    """Try files in a child process.

    Raises
    ------
    ArtifactError
        If the library crashes on one of them, or does not come to an end.
    """
    limit_s = LIMIT_S + sum(path.stat().st_size for path in paths) / 1e7
    command = [sys.executable, "-m", __name__, str(os.getpid()), *map(str, paths)]
    try:
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=limit_s, check=False)
        tried, how = ended.stdout, "crashes" if ended.returncode else ""
    except subprocess.TimeoutExpired as fault:
        tried, how = fault.stdout or b"", f"does not finish within {limit_s:.0f} s"
    if how:
        raise ArtifactError(
            f"the file is damaged: the HDF5 library {how} on it",
            where=tried.decode(errors="replace").splitlines()[-1] if tried else str(paths[0]),
            remedy="take another copy, or run the job again",
        )


def survived(paths: Sequence[Path]) -> bool:
    """Return whether the library survives all of some files, tried in one child process."""
    try:
        probe(paths)
    except ArtifactError:
        return False
    return True


def _visit(group: h5py.Group, depth: int) -> None:
    dict(group.attrs)
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        member = group[name]
        if isinstance(member, h5py.Group) and depth:
            _visit(member, depth - 1)
        elif isinstance(member, h5py.Dataset):
            dict(member.attrs)
            if member.shape is not None and not member.external and not member.is_virtual:
                member[()]


def main() -> int:
    """Read the files named on the command line behind the parent's number, each announced before it is touched."""
    parent, *names = sys.argv[1:]
    end_with(int(parent))
    limit_memory(MEMORY_BYTES)
    for name in names:
        print(name, flush=True)
        try:
            with h5py.File(name, "r", locking=False) as file:
                _visit(file, 3)
        except HDF5_FAULTS:
            continue
    return 0


if __name__ == "__main__":
    sys.exit(main())
