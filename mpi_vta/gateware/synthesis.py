"""What yosys makes of a core: the primitives of a Xilinx family, counted.

A core is synthesised part by part: each unit, buffer, queue, pair of sums and lane of the datapath once, however many
of it there are, and the counts are added up. What could be saved across their borders is not: the counts are those of
a vendor's tool or above. A part is kept by its content, so that a core that shares parts with one counted before takes
seconds.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mpi_vta.disk import cache_directory, write_atomically
from mpi_vta.gateware.core import Core
from mpi_vta.gateware.netlist import Module, content, read_modules
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
# what is synthesised by itself: the top and its units, their larger parts, and what there are several of
_PART = re.compile(
    r"|\.[a-z_]+|.*\.(?:pair|lane|bank)\d+|.*\.(?:inp|wgt|out|uops|loader|array|decoder)|\.store\.bursts"
)
_INITIAL = re.compile(r"^  cell \$meminit_v2 .*?^  end\n", re.MULTILINE | re.DOTALL)
_NUMBERED = re.compile(r"port\$\d+\$\d+")
_REPORT = re.compile(r"^=== (\w+) ===\n(.*?)(?=^=== |\Z)", re.MULTILINE | re.DOTALL)
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


def synthesis_script(family: str, netlist: str, top: str) -> str:
    """Return the yosys commands that turn a netlist into a family's primitives."""
    step = f"synth_xilinx -family {family} -top {top} -flatten -noiopad -run"
    return "; ".join(
        [
            f"read_rtlil {netlist}",
            f"{step} begin:coarse",
            "techmap -map adders.v",
            f"{step} coarse:",
        ]
    )


@dataclass(frozen=True)
class PartCount:
    """One part of a core.

    Attributes
    ----------
    name : str
        Where the first of its kind stands.
    number : int
        How many of it the core has.
    counts : Counts
        Of one.
    """

    name: str
    number: int
    counts: Counts


def synthesize(config: VTAConfig, part: Fpga) -> tuple[PartCount, ...]:
    """Return what yosys counts for a build on an FPGA, part by part; parts counted before come from the cache.

    Parameters
    ----------
    config : VTAConfig
        The build. Its multipliers take the FPGA's DSP slices first.
    part : Fpga
        The FPGA.

    Raises
    ------
    ConfigError
        If the core cannot be made for the configuration.
    InputError
        If yosys is missing or fails.
    """
    return synthesize_all([config], part)[0]


def synthesize_all(configs: Sequence[VTAConfig], part: Fpga) -> list[tuple[PartCount, ...]]:
    """Return the counts of several builds, as `synthesize`; parts that they share are synthesised once."""
    family = family_of(part)
    recipe = f"{synthesis_script(family, 'parts.il', 'all')}\n{ADDERS}"
    folder = cache_directory() / "synthesis"
    found = []
    missing: dict[Path, _Piece] = {}
    for config in configs:
        pieces = _pieces(core_rtlil(Core(config, None, multipliers_for(config, part.dsp))))
        kept = {name: folder / f"{_hash(recipe + piece.content)}.json" for name, piece in pieces.items()}
        missing |= {kept[name]: piece for name, piece in pieces.items() if not kept[name].is_file()}
        found.append((pieces, kept))
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        for path, counts in zip(missing, _counted(list(missing.values()), family), strict=True):
            write_atomically(path, json.dumps(asdict(counts)).encode(), "the counts")
    return [
        tuple(
            PartCount(_title(name), piece.number, Counts(**json.loads(kept[name].read_text())))
            for name, piece in pieces.items()
        )
        for pieces, kept in found
    ]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def total(parts: Sequence[PartCount]) -> Counts:
    """Return the sum over all parts."""
    sums = {name: sum(part.number * getattr(part.counts, name) for part in parts) for name in Counts.__annotations__}
    return Counts(**sums)


@dataclass(frozen=True)
class _Piece:
    """A part that is synthesised by itself: its module, those that it is merged with, black boxes for the others."""

    module: Module
    inner: tuple[Module, ...]
    boxes: tuple[Module, ...]
    number: int

    @property
    def content(self) -> str:
        """What it says, for any core that has it: names of ports that hold the number of a cell are numbered anew."""
        bodies = (
            self.module.body,
            *(module.body for module in self.inner),
            *(box.ports_only.body for box in self.boxes),
        )
        numbers: dict[str, str] = {}
        renamed = (
            _NUMBERED.sub(lambda name: numbers.setdefault(name[0], f"port${len(numbers)}"), body) for body in bodies
        )
        return "\n".join(content(body) for body in renamed)

    def texts(self, place: str) -> Iterator[str]:
        """Yield its netlist, every name with a place in front, its own the place's."""

        def named(name: str) -> str:
            return f"{place}_{name[1:]}"

        for module in self.inner:
            yield module.with_parts(named).renamed(named(module.name)).text
        for box in self.boxes:
            yield box.ports_only.renamed(named(box.name)).text
        yield f"attribute \\keep_hierarchy 1\n{self.module.with_parts(named).renamed(place).text}"


def _pieces(netlist: str) -> dict[str, _Piece]:
    # zeros that a memory begins with take no logic, but yosys minutes
    modules = {module.name: module for module in read_modules(_INITIAL.sub("", netlist))}
    numbers = dict.fromkeys(modules, 0)
    numbers[f"\\{TOP}"] = 1
    for name, module in modules.items():  # a module comes before its parts
        for part in module.parts:
            numbers[part] += numbers[name]
    return {
        name: _Piece(module, *_below(module, modules), numbers[name])
        for name, module in modules.items()
        if _is_part(name)
    }


def _is_part(name: str) -> bool:
    return _PART.fullmatch(_plain(name)) is not None


def _plain(name: str) -> str:
    return name.removeprefix(f"\\{TOP}").partition("$")[0]


def _below(module: Module, modules: Mapping[str, Module]) -> tuple[tuple[Module, ...], tuple[Module, ...]]:
    """Return the modules that a part is merged with, and those of its parts that are synthesised by themselves."""
    inner: dict[str, Module] = {}
    boxes: dict[str, Module] = {}
    left = [module]
    while left:
        for name in left.pop().parts:
            if _is_part(name):
                boxes[name] = modules[name]
            elif name not in inner:
                inner[name] = modules[name]
                left.append(modules[name])
    return tuple(inner.values()), tuple(boxes.values())


def _counted(pieces: Sequence[_Piece], family: str) -> list[Counts]:
    """Synthesise parts side by side in one run of yosys; return their counts."""
    places = [f"\\part{number}" for number in range(len(pieces))]
    texts = [text for place, piece in zip(places, pieces, strict=True) for text in piece.texts(place)]
    cells = "".join(f"  attribute \\keep 1\n  cell {place} \\one_{place[1:]}\n  end\n" for place in places)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "parts.il").write_text("\n".join([*texts, f"module \\all\n{cells}end\n"]))
        (folder / "adders.v").write_text(ADDERS)
        run_yosys(f"{synthesis_script(family, 'parts.il', 'all')}; tee -q -o counts stat -tech xilinx", folder)
        reports = dict(_REPORT.findall((folder / "counts").read_text()))
    return [read_counts(reports[place[1:]]) for place in places]


def _title(name: str) -> str:
    return re.sub(r"\d+$", "", _plain(name).lstrip(".").replace(".", " ")) or "top"


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
