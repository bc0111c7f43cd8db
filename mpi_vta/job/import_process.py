"""The import of a file from outside, in a process of its own: ONNX, PyTorch and TVM are native code, which a file may
crash.

The process, `mpi_vta.job.import_child`, may take so much memory and time, and ends with this one.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from mpi_vta import errors
from mpi_vta.command_end import TRACEBACK_VARIABLE
from mpi_vta.errors import InputError, ModelError
from mpi_vta.frontend.zoo import BUILDERS
from mpi_vta.quantize.options import QuantizeOptions

COMMAND = (sys.executable, "-m", "mpi_vta.job.import_child")
SECONDS_VARIABLE, GIB_VARIABLE = "MPI_VTA_IMPORT_S", "MPI_VTA_IMPORT_GIB"
# vgg11, 531 MB of weights and the largest network of the zoo, takes 4.9 GB; small files take 0.4 GB
MEMORY_BYTES, MEMORY_PER_FILE_BYTE = 6 << 30, 8
LIMIT_S, S_PER_FILE_BYTE = 900.0, 2e-6
ERROR_PARTS = ("what", "where", "allowed", "remedy")


def import_apart(name_or_path: str, seed: int, weights: Path | None, options: QuantizeOptions, path: Path) -> None:
    """Import and quantise a model in a child process, which keeps it in the cache at `path`; see `ready_model`.

    Raises
    ------
    MpiVtaError
        What the import raised; `ModelError` if it crashed, or took more than its memory or time.
    RuntimeError
        For a bug in the import.
    """
    memory_bytes, limit_s = _limits(name_or_path, weights)
    order = {
        "model": name_or_path,
        "seed": seed,
        "weights": weights and str(weights),
        "options": asdict(options),
        "path": str(path),
        "memory_bytes": memory_bytes,
    }
    # a file, not a pipe: an answer that nobody reads meanwhile must not stop the child
    with tempfile.TemporaryFile() as answers:
        try:
            status = subprocess.run(
                [*COMMAND, str(answers.fileno()), str(os.getpid())],
                input=json.dumps(order).encode(),
                stdout=subprocess.DEVNULL,
                stderr=None if os.environ.get(TRACEBACK_VARIABLE) else subprocess.DEVNULL,
                pass_fds=(answers.fileno(),),
                timeout=limit_s,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired as fault:
            raise ModelError(
                "the import takes too long",
                where=name_or_path,
                allowed=f"{limit_s:g} s for files of this size",
                remedy=f"smaller extents, or set {SECONDS_VARIABLE}",
            ) from fault
        answers.seek(0)
        answer = answers.read()
    allowed = f"{memory_bytes / (1 << 30):.3g} GiB for files of this size"
    if not answer:
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"({status})"
        raise ModelError(
            f"the import was ended {how}: the file crashes {_native_code(name_or_path)}, or memory is short",
            where=name_or_path,
            allowed=f"a file that its exporter has written, and {allowed}",
            remedy="export it again",
        )
    told = json.loads(answer)
    if "memory" in told:
        raise ModelError(
            f"the import takes too much memory ({told['memory']})",
            where=name_or_path,
            allowed=allowed,
            remedy=f"smaller extents, or set {GIB_VARIABLE}",
        )
    if "bug" in told:
        raise RuntimeError(told["bug"])
    if "kind" in told:
        kind = getattr(errors, told["kind"])
        raise kind(told["what"], **{part: told[part] for part in ERROR_PARTS[1:]})


def _native_code(name_or_path: str) -> str:
    """Return what reads such a file and is not written in Python."""
    return "PyTorch or TVM" if Path(name_or_path).suffix == ".pt2" else "ONNX"


def _limits(name_or_path: str, weights: Path | None) -> tuple[int, float]:
    """Return the bytes of memory and the seconds that an import may take, by the size of its files."""
    own = Path(name_or_path)
    files = [*([] if weights is None else [weights]), own, *own.parent.glob(f"{own.name}?*")]
    size_bytes = sum(file.stat().st_size for file in files if file.is_file())
    gib, seconds = _stated(GIB_VARIABLE), _stated(SECONDS_VARIABLE)
    memory_bytes = MEMORY_BYTES + MEMORY_PER_FILE_BYTE * size_bytes if gib is None else int(gib * (1 << 30))
    return memory_bytes, round(LIMIT_S + S_PER_FILE_BYTE * size_bytes) if seconds is None else seconds


def _stated(variable: str) -> float | None:
    """Return the number that an environment variable states; None if it is not set."""
    text = os.environ.get(variable)
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < 1e6:
        raise InputError(f"is {text!r}", where=variable, allowed="a number above 0 and below 1000000")
    return number


def is_foreign(name_or_path: str, weights: Path | None) -> bool:
    """Return whether a file from outside is imported, and not only a model that we build."""
    return name_or_path not in BUILDERS or weights is not None
