"""Reads damaged files of one kind, one after another: ``worker.py KIND FIRST COUNT``; a JSON line per failure.

The process may use no more than `MEMORY_BYTES` above what it has when everything is imported, and each file may
take no longer than `LIMIT_S`.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
import zlib
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.targets import SLOW_TARGETS, TARGETS, Target
from mpi_vta.errors import MpiVtaError

MEMORY_BYTES = 2 << 30
LIMIT_S = 60
WARM_UP = -1  # number of an undamaged-enough first input that imports what has to be imported


class Hang(BaseException):
    """A file was not done with in time."""


def on_alarm(number: int, frame: FrameType | None) -> None:
    raise Hang


def tried(target: Target, seed: int, folder: Path) -> tuple[str, str]:
    """Return ``ok``, ``refused`` or ``failed`` for one input, and the message or traceback."""
    path = folder / target.name
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    target.make(random.Random(zlib.crc32(f"{target.name} {seed}".encode())), path)
    signal.alarm(LIMIT_S)
    try:
        target.read(path)
    except MpiVtaError as fault:
        message = str(fault)
        whole = fault.what and fault.where and (fault.allowed or fault.remedy) and "\n" not in message
        return ("refused" if whole else "failed"), message if whole else f"incomplete message: {message}"
    except Hang:
        return "failed", f"not done after {LIMIT_S} s"
    except (Exception, SystemExit):
        return "failed", traceback.format_exc()
    finally:
        signal.alarm(0)
    return "ok", ""


def main() -> int:
    """Try the inputs and print what failed, then the counts."""
    kind, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    target = {**TARGETS, **SLOW_TARGETS}[kind]
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, on_alarm)
    counts = {"ok": 0, "refused": 0, "failed": 0}
    with tempfile.TemporaryDirectory() as name:
        tried(target, WARM_UP, Path(name))
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))
        for seed in range(first, first + count):
            print(json.dumps({"seed": seed}), flush=True)  # the last one named is the one that a crash is about
            how, message = tried(target, seed, Path(name))
            counts[how] += 1
            if how == "failed":
                print(json.dumps({"seed": seed, "failed": message}), flush=True)
    print(json.dumps(counts), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
