"""The process that imports a file from outside, as `mpi_vta.job.import_process` starts it.

``python -m mpi_vta.job.import_child FILE PARENT`` reads what to import from standard input, keeps the model in the
cache, and says in the file (a number, open already) how that ended. It ends with process PARENT.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

from mpi_vta.child_process import end_with, limit_memory
from mpi_vta.command_end import TRACEBACK_VARIABLE
from mpi_vta.errors import MpiVtaError
from mpi_vta.job.import_process import ERROR_PARTS
from mpi_vta.quantize.options import QuantizeOptions


def main() -> int:
    """Do one import, as `mpi_vta.job.import_process.import_apart` asks for it."""
    end_with(int(sys.argv[2]))
    order, answer = json.load(sys.stdin), {}
    limit_memory(order["memory_bytes"])
    # native code is loaded under the limit
    from mpi_vta.job.ready_model import import_and_keep

    weights = order["weights"] and Path(order["weights"])
    try:
        options = QuantizeOptions(**order["options"])
        import_and_keep(order["model"], order["seed"], weights, options, Path(order["path"]))
    except MpiVtaError as fault:
        answer = {"kind": type(fault).__name__, **{part: getattr(fault, part) for part in ERROR_PARTS}}
    except Exception as fault:
        if os.environ.get(TRACEBACK_VARIABLE):
            traceback.print_exc()
        at = traceback.extract_tb(fault.__traceback__)[-1]
        # TVM hands on what C++ says
        is_memory = isinstance(fault, MemoryError) or "bad_alloc" in str(fault)
        text = f"{type(fault).__name__}: {fault}"
        answer = {"memory": str(fault) or text} if is_memory else {"bug": f"{at.filename}:{at.lineno}: {text}"}
    with open(int(sys.argv[1]), "w", encoding="utf-8") as telling:
        json.dump(answer, telling)
    return 0


if __name__ == "__main__":
    sys.exit(main())
