"""``make mutation``: every mutant of the modules that decide results and times, against their tests.

``python tests/mutation/run.py [MODULE ...] [--every N]`` prints survivors as it goes, and ends with status 1 if more
than 2 % survive that `equivalent.txt` does not name, a line each: module | source line | change | why it is the same.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from operators import Mutant, mutants

ROOT = Path(__file__).parent.parent.parent
EQUIVALENT = Path(__file__).with_name("equivalent.txt")
MOST_SURVIVORS = 0.02
# the quickest first: most mutants end there
TESTS = {
    "isa/codec": ("tests/isa",),
    "graph/definitions": ("tests/graph/test_reference.py",),
    "graph/reference": ("tests/graph/test_reference.py",),
    "simulator/timing": ("tests/simulator/test_timing.py", "tests/simulator/test_attribution.py"),
    "schedule/clock": ("tests/schedule/test_clock.py", "tests/schedule/test_timeline.py"),
    "runtime/output_set": ("tests/runtime/test_output_set.py", "tests/job/test_resumption.py"),
}


def equivalents() -> set[tuple[str, str, str]]:
    """Return (module, line, change) of the mutants that compute the same."""
    lines = [line for line in EQUIVALENT.read_text().splitlines() if line and not line.startswith("#")]
    return {tuple(part.strip() for part in line.split(" | ")[:3]) for line in lines}  # type: ignore[misc]


def passes(tests: tuple[str, ...], folder: Path, limit_s: float) -> bool:
    """Run tests on the package in a folder; one that takes too long has noticed the fault."""
    environ = {**os.environ, "PYTHONPATH": str(folder), "HYPOTHESIS_PROFILE": "repeatable", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def survivors(module: str, folder: Path, every: int) -> tuple[int, list[Mutant]]:
    """Return how many mutants were tried, without equivalent ones, and those that no test noticed."""
    path = folder / "mpi_vta" / f"{module}.py"
    source = path.read_text()
    begun_s = time.monotonic()
    if not passes(TESTS[module], folder, 3600):
        sys.exit(f"{module}: its tests fail without any fault")
    limit_s = 30 + 10 * (time.monotonic() - begun_s)
    known = equivalents()
    tried = [m for m in mutants(source) if (module, m.before, m.change) not in known][::every]
    found = []
    for mutant in tried:
        path.write_text(mutant.source)
        if passes(TESTS[module], folder, limit_s):
            found.append(mutant)
            print(f"{module}:{mutant.line}: {mutant.change}: {mutant.before}", flush=True)
    path.write_text(source)
    return len(tried), found


def main() -> int:
    """Run and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", default=list(TESTS), metavar="MODULE", help=", ".join(TESTS))
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth mutant")
    options = parser.parse_args()
    all_tried = all_found = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(ROOT / "mpi_vta", folder / "mpi_vta", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "hw").symlink_to(ROOT / "hw")
        for module in options.modules:
            tried, found = survivors(module, folder, options.every)
            print(f"{module}: {len(found)} of {tried} mutants survive", flush=True)
            all_tried, all_found = all_tried + tried, all_found + len(found)
    return int(all_found > MOST_SURVIVORS * all_tried)


if __name__ == "__main__":
    sys.exit(main())
