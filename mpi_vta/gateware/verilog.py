"""The core as Verilog: Amaranth writes RTLIL, the installed yosys turns it into Verilog."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from amaranth.back import rtlil

from mpi_vta.errors import InputError
from mpi_vta.gateware.core import Core
from mpi_vta.gateware.netlist import merged

TOP = "vta_core"
_PACKAGES = {"yosys": "yosys", "verilator": "verilator", "g++": "g++"}


def require_tools(names: Sequence[str], what: str) -> None:
    """Refuse if programs are missing.

    Raises
    ------
    InputError
        Naming them, and how to get them.
    """
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise InputError(
            f"{', '.join(missing)} is not installed",
            where=what,
            remedy=f"apt-get install {' '.join(_PACKAGES[name] for name in missing)}",
        )


def core_rtlil(core: Core) -> str:
    """Return a core as RTLIL, each of its modules once."""
    return merged(rtlil.convert(core, name=TOP, emit_src=False))


def run_yosys(script: str, folder: Path) -> str:
    """Run yosys commands in a folder and return what it prints.

    Raises
    ------
    InputError
        If yosys is missing or fails.
    """
    require_tools(["yosys"], "the core's Verilog")
    done = subprocess.run(["yosys", "-q", "-p", script], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"yosys failed: {done.stderr.strip().splitlines()[-1:]}", where=str(folder))
    return done.stdout


def core_verilog(core: Core) -> str:
    """Return a core as Verilog."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "core.il").write_text(core_rtlil(core))
        run_yosys("read_rtlil core.il; proc; opt_clean; write_verilog -noattr core.v", place)
        return (place / "core.v").read_text()
