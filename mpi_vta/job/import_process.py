"""The import of a file from outside, in a process of its own: TVM and ONNX are native code, which a file may crash.

``python -m mpi_vta.job.import_process`` reads what to import from standard input, keeps the model in the cache, and
says on the pipe that it was given how that ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from dataclasses import asdict
from pathlib import Path

from mpi_vta import errors
from mpi_vta.errors import ModelError, MpiVtaError
from mpi_vta.frontend.zoo import BUILDERS
from mpi_vta.quantize.options import QuantizeOptions

COMMAND = (sys.executable, "-m", "mpi_vta.job.import_process")
_PARTS = ("what", "where", "allowed", "remedy")


def import_apart(name_or_path: str, seed: int, weights: Path | None, options: QuantizeOptions, path: Path) -> None:
    """Import and quantise a model in a child process, which keeps it in the cache at `path`; see `ready_model`.

    Raises
    ------
    MpiVtaError
        What the import raised; `ModelError` if it crashed.
    RuntimeError
        For a bug in the import.
    """
    order = {
        "model": name_or_path,
        "seed": seed,
        "weights": weights and str(weights),
        "options": asdict(options),
        "path": str(path),
    }
    listening, telling = os.pipe()
    with open(listening, "rb") as answers:
        try:
            ended = subprocess.run(
                [*COMMAND, str(telling)],
                input=json.dumps(order).encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(telling,),
                check=False,
            )
        finally:
            os.close(telling)
        answer = answers.read()
    if not answer:
        how = f"by {signal.Signals(-ended.returncode).name}" if ended.returncode < 0 else f"({ended.returncode})"
        raise ModelError(
            f"the import was ended {how}: the file crashes TVM or ONNX, or memory is short",
            where=name_or_path,
            allowed="a file that its exporter has written",
            remedy="export it again",
        )
    told = json.loads(answer)
    if "bug" in told:
        raise RuntimeError(told["bug"])
    if "kind" in told:
        kind = getattr(errors, told["kind"])
        raise kind(told["what"], **{part: told[part] for part in _PARTS[1:]})


def is_foreign(name_or_path: str, weights: Path | None) -> bool:
    """Return whether a file from outside is imported, and not only a model that we build."""
    return name_or_path not in BUILDERS or weights is not None


def main() -> int:
    """Do one import, as `import_apart` asks for it."""
    from mpi_vta.job.ready_model import import_and_keep

    order, answer = json.load(sys.stdin), {}
    weights = order["weights"] and Path(order["weights"])
    try:
        options = QuantizeOptions(**order["options"])
        import_and_keep(order["model"], order["seed"], weights, options, Path(order["path"]))
    except MpiVtaError as fault:
        answer = {"kind": type(fault).__name__, **{part: getattr(fault, part) for part in _PARTS}}
    except Exception as fault:
        at = traceback.extract_tb(fault.__traceback__)[-1]
        answer = {"bug": f"{at.filename}:{at.lineno}: {type(fault).__name__}: {fault}"}
    with open(int(sys.argv[1]), "w", encoding="utf-8") as telling:
        json.dump(answer, telling)
    return 0


if __name__ == "__main__":
    sys.exit(main())
