"""Runs whose traces the notebooks read: ``python analysis/make_runs.py [--model NAME] [--output FOLDER]``.

Every strategy on every number of ranks, with ``--device timing``: times only, so minutes suffice.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

STRATEGIES = ("pipeline", "scatter-gather", "fused", "core-assignment")


def main() -> None:
    """Run them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet18", help="model to run (default: %(default)s)")
    parser.add_argument("--images", default="48", help="images per run (default: %(default)s)")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4, 8], help="numbers of ranks")
    parser.add_argument("--output", type=Path, default=Path("out/analysis"), help="folder (default: %(default)s)")
    options = parser.parse_args()
    launcher = Path(sys.executable).parent / "mpirun"
    for strategy in STRATEGIES:
        for ranks in options.ranks:
            folder = options.output / f"{strategy}-{ranks}"
            command = [str(launcher), "-n", str(ranks), sys.executable, "-m", "mpi_vta.pipeline", "--json"]
            command += ["--model", options.model, "--images", options.images, "--device", "timing"]
            command += ["--strategy", strategy, "--output", str(folder)]
            environ = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
            subprocess.run(command, check=True, env=environ, stdout=subprocess.DEVNULL)
            print(folder, flush=True)


if __name__ == "__main__":
    main()
