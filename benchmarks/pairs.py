"""Two jobs started into one folder, many times: ``python benchmarks/pairs.py --pairs 200``.

The second job starts 0 to 3 s after the first, on the same folder: the same command, another strategy, other images,
two models at once, or the rest of a job that ended early, by two ``--resume`` or by one and a new job. Of each pair one
job has to end right (status 0, and the hash and accuracy of a run that nothing disturbed), with these outputs on disk,
and the other with one line that says who is there. A pair whose first job has ended before the second one looks is no
pair, and not counted. Everything is measured; a table by kind is printed at the end, and every pair that went wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LAUNCHER = (str(Path(sys.executable).parent / "mpirun"), "-n", "2", sys.executable, "-m", "mpi_vta.pipeline", "--json")
DIGITS = ("--model", "digits")
TWO = (*DIGITS, "--model", "residual")
RIGHT, WRONG, LATER = "one right, one refused", "wrong", "one after the other"
REFUSALS = (
    "another job is at work there: ",
    "it holds a job that ended early, which would be lost",
    "no job that could be gone on with",
)


@dataclass(frozen=True)
class Kind:
    """A kind of pair: what both jobs are asked for; whether they go on with a job that ended early."""

    name: str
    options: tuple[tuple[str, ...], tuple[str, ...]]
    resumes: tuple[bool, bool] = (False, False)


def kinds(images: int) -> tuple[Kind, ...]:
    """Return the kinds of pairs for jobs of some images."""
    whole, fewer = ("--images", str(images)), ("--images", str(images * 5 // 6))
    other = ("--in-flight", "1", "--strategy", "scatter-gather")
    one, two = (*DIGITS, *whole), (*TWO, *fewer)
    return (
        Kind("the same command", (one, one)),
        Kind("another strategy", (one, (*one, *other))),
        Kind("other `--images`", (one, (*DIGITS, *fewer))),
        Kind("two models", (two, two)),
        Kind("one model and two", (one, two)),
        Kind("two `--resume`", (one, (*one, *other)), (True, True)),
        Kind("two `--resume` of two models", (two, two), (True, True)),
        Kind("start and `--resume`", (one, one), (False, True)),
    )


def answers(stdout: str) -> list[tuple[str, Any]]:
    """Return hash and accuracy of each model from what a job prints."""
    return [(model["output_sha256"], model.get("accuracy")) for model in json.loads(stdout)["models"]]


def outputs_folders(folder: Path, options: tuple[str, ...]) -> list[Path]:
    """Return where the outputs of each model of a job lie."""
    return [folder / "digits", folder / "residual"] if options.count("--model") > 1 else [folder]


class Undisturbed:
    """Runs each command once alone, and knows what is right."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[tuple[str, ...], tuple[Path, list[tuple[str, Any]], list[bytes]]] = {}

    def of(self, options: tuple[str, ...]) -> tuple[Path, list[tuple[str, Any]], list[bytes]]:
        """Return folder, answers and outputs of a run of these models and images."""
        key = options[: options.index("--images") + 2]
        if key not in self._known:
            folder = self._folder / f"alone-{len(self._known)}"
            done = subprocess.run([*LAUNCHER, *key, "--output", folder], capture_output=True, text=True, check=True)
            self._known[key] = folder, answers(done.stdout), outputs(folder, key)
        return self._known[key]


def outputs(folder: Path, options: tuple[str, ...]) -> list[bytes]:
    """Return the outputs on disk of each model."""
    return [(place / "outputs/000.npy").read_bytes() for place in outputs_folders(folder, options)]


def ended_early(source: Path, target: Path, options: tuple[str, ...]) -> None:
    """Make what a job leaves that ended when half of its images were there."""
    shutil.copytree(source, target)
    for place in outputs_folders(target, options):
        done = place / "outputs/done"
        done.write_bytes(done.read_bytes()[: done.stat().st_size // 16 * 8])
    (target / "summary.json").unlink()


def run_pair(kind: Kind, delay_s: float, folder: Path, known: Undisturbed) -> tuple[str, str]:
    """Run a pair; return what came of it, and the details."""
    if all(kind.resumes):
        ended_early(known.of(kind.options[0])[0], folder, kind.options[0])
    jobs = []
    for options, resume in zip(kind.options, kind.resumes, strict=True):
        if jobs:
            time.sleep(delay_s)
        command = [*LAUNCHER, *options, "--resume" if resume else "--output", folder]
        jobs.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    ended = [(*job.communicate(), job.returncode) for job in jobs]
    details = json.dumps([{"status": status, "stderr": err, "stdout": out[-300:]} for out, err, status in ended])
    right = []
    for options, (out, err, status) in zip(kind.options, ended, strict=True):
        if status == 0:
            if err or answers(out) != known.of(options)[1]:
                return WRONG, details
            right.append(options)
        elif status != 2 or len(err.splitlines()) != 1 or not any(said in err for said in REFUSALS):
            return WRONG, details
    if not right or outputs(folder, right[-1]) != known.of(right[-1])[2]:
        return WRONG, details
    return (RIGHT if len(right) == 1 else LATER), details


def main() -> int:
    """Run pairs until enough of them met; return 1 if any went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=200, help="pairs that meet (default: %(default)s)")
    parser.add_argument("--images", type=int, default=360, help="of each job (default: %(default)s)")
    parser.add_argument("--most-s", type=float, default=3.0, help="longest delay (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    chance, found = random.Random(options.seed), Counter[tuple[str, str]]()
    every = kinds(options.images)
    with tempfile.TemporaryDirectory(prefix="pairs-") as name:
        known = Undisturbed(Path(name))
        number = met = 0
        while met < options.pairs:
            kind, delay_s = every[number % len(every)], chance.uniform(0.0, options.most_s)
            folder = Path(name) / f"pair-{number}"
            result, details = run_pair(kind, delay_s, folder, known)
            shutil.rmtree(folder, ignore_errors=True)
            number += 1
            met += result != LATER
            found[kind.name, result] += 1
            print(f"{number:4} {delay_s:.2f} s  {kind.name}: {result}", file=sys.stderr, flush=True)
            if result == WRONG:
                print(details, file=sys.stderr, flush=True)
    print("| pair | one right, one refused | wrong |\n|---|---|---|")
    for kind in every:
        print(f"| {kind.name} | {found[kind.name, RIGHT]} | {found[kind.name, WRONG]} |")
    wrong = sum(count for (_, result), count in found.items() if result == WRONG)
    print(f"{met} pairs met, {wrong} wrong; {number - met} ran one after the other", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
