"""What yosys makes of a core: the primitives of a Xilinx family, counted."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mpi_vta.disk import cache_directory, write_atomically
from mpi_vta.gateware.core import Core
from mpi_vta.gateware.verilog import TOP, core_rtlil, run_yosys
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.multipliers import multipliers_for
from mpi_vta.hw.parts import Fpga

# an adder of two becomes one carry chain each: merged into carry-save adders, a tree takes half as many tables more
ADDERS = r"""(* techmap_celltype = "$add" *)
module _add (A, B, Y);
parameter A_SIGNED = 0; parameter B_SIGNED = 0; parameter A_WIDTH = 1; parameter B_WIDTH = 1; parameter Y_WIDTH = 1;
input [A_WIDTH-1:0] A; input [B_WIDTH-1:0] B; output [Y_WIDTH-1:0] Y;
wire [Y_WIDTH-1:0] X, CO;
\$alu #(.A_SIGNED(A_SIGNED), .B_SIGNED(B_SIGNED), .A_WIDTH(A_WIDTH), .B_WIDTH(B_WIDTH), .Y_WIDTH(Y_WIDTH))
  _TECHMAP_REPLACE_ (.A(A), .B(B), .BI(1'b0), .CI(1'b0), .Y(Y), .X(X), .CO(CO));
endmodule
"""

# look-up tables that a primitive takes: a distributed memory or a shift register is made of them
_LUTS = {
    **{f"LUT{inputs}": 1 for inputs in range(1, 7)},
    **{"SRL16E": 1, "SRLC32E": 1, "RAM32X1S": 1, "RAM64X1S": 1, "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1S": 2},
    **{"RAM128X1D": 4, "RAM256X1S": 4, "RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8},
}
_FLIP_FLOPS = ("FDRE", "FDSE", "FDCE", "FDPE")
_CELL = re.compile(r"^\s+(\w+)\s+(\d+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Counts:
    """What a core takes of a part, as yosys counts it before place and route.

    Attributes
    ----------
    dsp, lut, ff : int
        DSP slices, look-up tables (distributed memories and shift registers among them), flip-flops.
    bram36 : float
        Block RAMs of 36 Kb; halves are 18 Kb ones.
    uram : int
        UltraRAMs.
    """

    dsp: int
    lut: int
    ff: int
    bram36: float
    uram: int


def family_of(part: Fpga) -> str:
    """Return yosys' name of a part's family."""
    return "xc7" if part.name.upper().startswith("XC7") else "xcup"


def synthesis_script(family: str) -> str:
    """Return the yosys commands that turn ``core.il`` into a family's primitives."""
    step = f"synth_xilinx -family {family} -top {TOP} -flatten -noiopad -run"
    return "; ".join(
        [
            "read_rtlil core.il",
            f"{step} begin:coarse",
            "techmap -map adders.v",
            f"{step} coarse:",
        ]
    )


def synthesize(config: VTAConfig, part: Fpga) -> Counts:
    """Return what yosys counts for a build on a part; from the cache if it was asked before.

    Parameters
    ----------
    config : VTAConfig
        The build. Its multipliers take the part's DSP slices first.
    part : Fpga
        The FPGA.

    Raises
    ------
    ConfigError
        If the core cannot be made for the configuration.
    InputError
        If yosys is missing or fails.
    """
    netlist = core_rtlil(Core(config, None, multipliers_for(config, part.dsp)))
    script = synthesis_script(family_of(part))
    digest = hashlib.sha256("\n".join((netlist, script, ADDERS)).encode()).hexdigest()
    kept = cache_directory() / "synthesis" / f"{config.name}_{digest[:24]}.json"
    if kept.is_file():
        return Counts(**json.loads(kept.read_text()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "core.il").write_text(netlist)
        (folder / "adders.v").write_text(ADDERS)
        run_yosys(f"{script}; tee -q -o counts stat -tech xilinx", folder)
        counts = read_counts((folder / "counts").read_text())
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(kept, json.dumps(asdict(counts)).encode(), "the counts")
    return counts


def read_counts(report: str) -> Counts:
    """Return the counts that yosys' ``stat`` prints."""
    cells: Mapping[str, int] = {name: int(count) for name, count in _CELL.findall(report)}
    halves = 2 * _starting(cells, "RAMB36") + _starting(cells, "RAMB18")
    return Counts(
        dsp=_starting(cells, "DSP48"),
        lut=sum(count * _LUTS.get(name, 0) for name, count in cells.items()),
        ff=sum(cells.get(name, 0) for name in _FLIP_FLOPS),
        bram36=halves / 2,
        uram=_starting(cells, "URAM288"),
    )


def _starting(cells: Mapping[str, int], prefix: str) -> int:
    return sum(count for name, count in cells.items() if name.startswith(prefix))
