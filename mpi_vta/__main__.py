"""``mpi-vta <command>`` and ``python -m mpi_vta <command>``: the commands by name."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from mpi_vta import __version__
from mpi_vta.errors import did_you_mean
from mpi_vta.printable import printable
from mpi_vta.runtime.faults.pairing import find_launcher

# command -> what it is for; each is mpi_vta.<command>, or the __main__ of that package, with a `main(argv)`
COMMANDS: Mapping[str, str] = {
    "pipeline": "run a model over the ranks of this MPI job (or over one)",
    "plan": "how a model would be spread over a cluster, and what that would give",
    "explore": "many plans at once: models, clusters, boards, strategies, VTA builds; one file, compared",
    "quantize": "what a model loses by becoming integers, layer by layer",
    "compile": "a model compiled for one VTA configuration, layer by layer",
    "calibrate": "measure the links of this MPI job and write them into a cluster file",
    "doctor": "whether every rank of a job can work, and the remedy where it cannot",
    "trace": "what a run's trace says: figures, pictures, report, Perfetto",
    "hardware": "the core itself: Verilog, what it takes of a part, a program on it, a vendor project",
    "inspect": "replay, disassemble and look into programs and vectors",
    "list": "names that commands take: models, boards, clusters, configs, parts, strategies, objectives, devices",
}


_FORMS = "usage: mpi-vta <command> [options]\n       mpi-vta help [command]\n       mpi-vta --version\n\n"
USAGE = _FORMS + "\n".join(f"  {name:10} {why}" for name, why in COMMANDS.items())


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:], "--help"]
    if arguments and arguments[0] in COMMANDS:
        command = import_module(f"mpi_vta.{arguments[0]}")
        if hasattr(command, "__path__"):
            command = import_module(f"mpi_vta.{arguments[0]}.__main__")
        status: int = command.main(arguments[1:])
        return status
    launcher = find_launcher(os.environ)
    is_first = launcher is None or launcher.rank == 0
    answers = {"-h": USAGE, "--help": USAGE, "--version": f"mpi-vta {__version__}"}
    if len(arguments) == 1 and arguments[0] in answers:
        if is_first:
            print(answers[arguments[0]])
        return 0
    if is_first:
        wrong = f"no command {printable(arguments[0])!r}" if arguments else "no command"
        meant = did_you_mean(arguments[0], COMMANDS) if arguments else ""
        print(f"mpi_vta: error: {wrong}; allowed: {', '.join(COMMANDS)}{meant and f'; {meant}'}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
