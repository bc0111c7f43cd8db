"""The outputs that documents show, made anew by their commands: ``python benchmarks/documents.py [NAME ...]``.

A document marks an output with ``<!-- output: NAME -->`` and ``<!-- end of output -->``. Without names all are made;
``--check`` writes nothing and ends with 1 if a document differs. Measured figures, hosts and widths of columns, which
depend on the machine, are written but not compared.
"""

from __future__ import annotations

import argparse
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "docs/methodology.md")
_BLOCK = re.compile(r"(<!-- output: ([\w-]+) -->\n)(.*?)(<!-- end of output -->)", re.DOTALL)
_BOX = re.compile(r"[━─┏┓┗┛└┘┡┩├┤┳┻╇┴┬┼│┃\s]+")
_SLOW = re.compile(r"^mpi_vta: (?:(?:importing|compiling|planning|taking) .*|.*: \d+ of \d+)\n", re.MULTILINE)
_MEASURED = "(measured)"


@dataclass(frozen=True)
class Output:
    """What a command prints, as a document shows it.

    Attributes
    ----------
    command : tuple of str
        Run in a folder of its own with the repository's files, so that ``out/`` is new.
    shown : callable
        From what is printed to what stands in the document.
    is_quick : bool
        Whether it takes seconds, and not minutes.
    """

    command: tuple[str, ...]
    shown: Callable[[str], str]
    is_quick: bool = False


def fenced(text: str, *, prompt: str = "") -> str:
    """Return text as a block of code, behind its command, without what only a slow or first start prints."""
    text = _SLOW.sub("", text)
    lines = [f"$ {prompt}"] * bool(prompt) + [text.rstrip()]
    return "\n".join(["```", *lines, "```", ""])


def pipeline(model: str, ranks: int | None = None) -> tuple[str, ...]:
    """Return the main command, on all slots of the hostfile or on some ranks."""
    count = () if ranks is None else ("-n", str(ranks))
    return ("mpirun", "-f", "hostfile", *count, "python", "-m", "mpi_vta.pipeline", "--model", model)


def _of_shapes(text: str) -> str:
    """Return the table, the figures and the first two pictures of a run of `shapes`."""
    lines = text[text.index("\n", text.index("mpi_vta: running")) + 1 :].splitlines()
    kept, pictures = [], 0
    for line in lines:
        if line.startswith("picture"):
            pictures += 1
            if pictures < 4:
                kept.append(line if pictures < 3 else "...")
        elif not line.startswith(("energy", "on the host", "note", "outputs")):
            kept.append(line)
    return fenced("\n".join(kept))


def _first_tables(text: str) -> str:
    """Return a study's first two tables, with its command."""
    end = [found.end() for found in re.finditer(r"^└.*┘\n", text, re.MULTILINE)][1]
    return fenced(text[:end], prompt="mpirun -n 2 python -m mpi_vta.explore jobs/study_ultrascale5.toml")


def _table(number: int) -> Callable[[str], str]:
    return lambda text: re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)[number]


EXPLORE = ("python", "-m", "mpi_vta.explore")
DIGITS = pipeline("digits", 5)
COMPILER = (sys.executable, "benchmarks/compiler.py")
OUTPUTS: Mapping[str, Output] = {
    "yolo": Output(pipeline("yolo"), fenced),
    "shapes": Output(pipeline("shapes"), _of_shapes),
    "digits": Output(DIGITS, lambda text: fenced(text, prompt=" ".join(DIGITS)), is_quick=True),
    "study": Output(
        (*EXPLORE, "jobs/study_ultrascale5.toml", "--print", "--output", "docs/study/ultrascale5.h5"),
        _first_tables,
        is_quick=True,
    ),
    "networks": Output(COMPILER, _table(0)),
    "board-times": Output(COMPILER, _table(1)),
    "hls-fit": Output((sys.executable, "benchmarks/hls_fit.py", "pynq_1x16"), _table(0)),
}


def printed(command: Sequence[str]) -> str:
    """Return what a command prints on standard output."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("hostfile", "jobs", "docs", "benchmarks", "hw"):
            (Path(folder) / name).symlink_to(ROOT / name)
        return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def blocks(document: str) -> dict[str, str]:
    """Return the marked outputs of a document, by name."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return {name: content for _, name, content, _ in _BLOCK.findall(text)}


def comparable(text: str) -> list[str]:
    """Return an output's lines without what depends on the machine."""
    lines, measured = [], list[int]()
    for line in text.splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if "---" not in line:
                measured = [place for place, cell in enumerate(cells) if cell.endswith(_MEASURED)] or measured
            line = " | ".join("*" if place in measured else cell for place, cell in enumerate(cells))
        line = _BOX.sub(" ", line).strip()
        if line:
            lines.append(re.sub(rf"\b(?:{re.escape(socket.gethostname())}|vm)\b", "HOST", line))
    return lines


def write(made: Mapping[str, str]) -> None:
    """Put outputs into the documents."""
    for document in DOCUMENTS:
        path = ROOT / document
        text = path.read_text(encoding="utf-8")
        path.write_text(_BLOCK.sub(lambda found: f"{found[1]}{made.get(found[2], found[3])}{found[4]}", text), "utf-8")


def main() -> int:
    """Make outputs, and write or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of outputs, all by default: {', '.join(OUTPUTS)}")
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args()
    if unknown := set(options.names) - set(OUTPUTS):
        parser.error(f"no output {', '.join(sorted(unknown))}")
    chosen = {name: OUTPUTS[name] for name in options.names or OUTPUTS}
    texts = {command: printed(command) for command in dict.fromkeys(output.command for output in chosen.values())}
    made = {name: output.shown(texts[output.command]) for name, output in chosen.items()}
    if not options.check:
        write(made)
        return 0
    stale = [
        f"{document}: {name}"
        for document in DOCUMENTS
        for name, shown in blocks(document).items()
        if name in made and comparable(shown) != comparable(made[name])
    ]
    print("\n".join(f"stale: {place}" for place in stale) or "all as printed")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
