"""Fit of `mpi_vta.hw.core_resources` to yosys' counts: ``python benchmarks/resource_fit.py``; how far off each core is.

Reads ``benchmarks/core_counts.json`` (``benchmarks/core_counts.py``). What is exact (adder trees, operand registers) is
taken off first, and what products without a DSP slice take, which is counted by itself.
"""

from __future__ import annotations

import json

import numpy as np
from core_counts import TABLE

from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.core_resources import FF_PER_PAIR, LUT_PER_PAIR, estimate_core, exact_ff, exact_lut
from mpi_vta.hw.multipliers import multipliers_for
from mpi_vta.hw.parts import load_part

MOST_ERROR = {"dsp": 0.05, "bram36": 0.05, "lut": 0.1, "ff": 0.1}


def main() -> None:
    """Print constants and errors."""
    table = json.loads(TABLE.read_text())
    part = load_part(table["part"])
    cores = [(VTAConfig.from_dict(entry["config"]), entry["total"]) for entry in table["cores"]]
    rows = np.array([(1, config.batch * config.block) for config, _ in cores], float)
    for name, exact, per_pair in (("lut", exact_lut, LUT_PER_PAIR), ("ff", exact_ff, FF_PER_PAIR)):
        rest = np.array(
            [
                total[name] - exact(config) - per_pair * multipliers_for(config, part.dsp).luts
                for config, total in cores
            ],
            float,
        )
        weights = 1 / np.array([total[name] for _, total in cores], float)
        fixed, lane = np.linalg.lstsq(rows * weights[:, None], rest * weights, rcond=None)[0]
        print(
            f"{name.upper()}_FIXED, {name.upper()}_PER_LANE = {fixed:.0f}, {lane:.0f}  # fitted to {len(cores)} cores"
        )
    print("| core | " + " | ".join(f"{name} counted | modelled | error" for name in MOST_ERROR) + " |")
    print("|---" * (1 + 3 * len(MOST_ERROR)) + "|")
    worst = dict.fromkeys(MOST_ERROR, 0.0)
    for config, total in cores:
        modelled = estimate_core(config, part, part.default_clock_mhz)
        cells = []
        for name in MOST_ERROR:
            error = getattr(modelled, name) / total[name] - 1
            worst[name] = max(worst[name], abs(error))
            cells.append(f"{total[name]:,} | {getattr(modelled, name):,} | {error:+.1%}")
        print(f"| `{config.name}` | {' | '.join(cells)} |")
    print(
        "largest error: "
        + ", ".join(f"{name} {error:.1%} of at most {MOST_ERROR[name]:.0%}" for name, error in worst.items())
    )


if __name__ == "__main__":
    main()
