"""yosys' counts of cores of many shapes and sizes: ``python benchmarks/core_counts.py``; known parts are kept.

Writes ``benchmarks/core_counts.json``, to which `mpi_vta.hw.resources` is fitted (``benchmarks/resource_fit.py``).
Some minutes of processor time per core whose parts are in no cache.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from dataclasses import asdict
from importlib.metadata import version
from itertools import product
from pathlib import Path

from mpi_vta.disk import write_atomically
from mpi_vta.gateware.synthesis import PartCount, synthesize_all, total
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.enumeration import config_of
from mpi_vta.hw.parts import load_part
from mpi_vta.hw.paths import find

TABLE = Path(__file__).with_suffix(".json")
PART = "XC7Z020"
SHIPPED = ("pynq_1x16", "pynq_2x16", "pynq_4x8")
SHAPES = ((0, 2), (0, 3), (1, 2), (1, 3), (2, 2), (3, 2), (2, 3), (0, 4), (4, 2))
"""Logarithms of batch and block."""
DEPTHS = ((10, 8, 7, 7), (11, 10, 9, 9), (12, 11, 10, 10))
"""Logarithms of the elements of the micro-op, inp, wgt and acc buffers."""


def configs() -> list[VTAConfig]:
    """Return the builds that are counted."""
    shipped = [VTAConfig.load(find("vta_configs", name, ".json")) for name in SHIPPED]
    return shipped + [config_of("pynq", *shape, *depths) for depths, shape in product(DEPTHS, SHAPES)]


def row(config: VTAConfig, parts: tuple[PartCount, ...]) -> dict[str, object]:
    """Return one line of the table."""
    return {
        "config": config.to_dict(),
        "total": asdict(total(parts)),
        "parts": [{"name": one.name, "number": one.number, **asdict(one.counts)} for one in parts],
    }


def main() -> None:
    """Count and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="CONFIG", help="builds to count (default: all that are listed here)"
    )
    parser.add_argument("--batch", type=int, default=4, help="cores per run of yosys (default: %(default)s)")
    options = parser.parse_args()
    said = subprocess.run(["yosys", "-V"], capture_output=True, text=True, check=True).stdout
    versions = {"yosys": said.split()[1], "amaranth": version("amaranth")}
    part, every = load_part(PART), {config.name: config for config in configs()}
    unknown = [name for name in options.names if name not in every]
    if unknown:
        parser.error(f"not listed: {', '.join(unknown)}; listed: {', '.join(every)}")
    wanted = [config for name, config in every.items() if not options.names or name in options.names]
    table = json.loads(TABLE.read_text()) if TABLE.is_file() else {"versions": versions, "cores": []}
    # what other versions have counted does not stand beside it
    known = table["cores"] if table["versions"] == versions else []
    rows = {VTAConfig.from_dict(entry["config"]).name: entry for entry in known}
    for begin in range(0, len(wanted), options.batch):
        batch = wanted[begin : begin + options.batch]
        for config, parts in zip(batch, synthesize_all(batch, part), strict=True):
            rows[config.name] = row(config, parts)
            print(f"{config.name}: {total(parts)}", flush=True)
        lines = ",\n".join(json.dumps(rows[name]) for name in every if name in rows)
        text = f'{{"part": "{PART}", "versions": {json.dumps(versions)}, "cores": [\n{lines}\n]}}\n'
        write_atomically(TABLE, text.encode(), "the counts")


if __name__ == "__main__":
    main()
