"""The open flow around the core for XC7Z020: yosys, nextpnr-xilinx, the tools of Project X-Ray. Nothing was built here.

No block design: the top instantiates the processing system itself. Its ports are AXI3, so the core's bursts have 16
beats at most; a register access is one beat, whose identifier is kept until the answer. What the boot image has set up
(memory, pins, clocks) stays; pynq loads the logic alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from mpi_vta.errors import ConfigError
from mpi_vta.gateware.core import AXI3_BURST_BEATS, Core
from mpi_vta.gateware.project import NOT_BUILT, BoardProject, manifest
from mpi_vta.gateware.synthesis import ADDERS, synthesis_script
from mpi_vta.gateware.verilog import TOP, core_verilog
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.multipliers import multipliers_for

OPEN_PART = "XC7Z020"
WRAPPER = "vta_ps7"

# signals that the processor drives at the registers' port, and the core at the memory's; those that they get
_REGISTERS_IN = (
    *("awaddr", "awprot", "awvalid", "wdata", "wstrb", "wvalid", "bready"),
    *("araddr", "arprot", "arvalid", "rready"),
)
_REGISTERS_OUT = ("awready", "wready", "bresp", "bvalid", "arready", "rdata", "rresp", "rvalid")
_MEMORY_FROM_CORE = (
    *("awaddr", "awlen", "awsize", "awburst", "awcache", "awprot", "awuser", "awvalid"),
    *("wdata", "wstrb", "wlast", "wvalid", "bready"),
    *("araddr", "arlen", "arsize", "arburst", "arcache", "arprot", "aruser", "arvalid", "rready"),
)
_MEMORY_TO_CORE = ("awready", "wready", "bresp", "bvalid", "arready", "rdata", "rresp", "rlast", "rvalid")
# narrower in AXI3
_AXI3_BITS = {"awlen": 4, "arlen": 4, "awsize": 2, "arsize": 2}


def open_project(config: VTAConfig, project: BoardProject, clock_mhz: float) -> dict[str, str]:
    """Return the project's files by name.

    Raises
    ------
    ConfigError
        If the board's part is not the one that this flow is for.
    InputError
        If yosys is missing.
    """
    if project.part != OPEN_PART:
        raise ConfigError(f"the open flow for {project.part}", where="--flow", allowed=OPEN_PART)
    core = Core(config, None, multipliers_for(config, project.dsp), AXI3_BURST_BEATS)
    return {
        f"{TOP}.v": core_verilog(core),
        f"{WRAPPER}.v": ps7_wrapper(config),
        "adders.v": ADDERS,
        "build.sh": build_shell(config, project, clock_mhz),
        f"{config.name}.json": manifest(config, project, clock_mhz),
    }


def ps7_wrapper(config: VTAConfig) -> str:
    """Return Verilog that joins the core to the processing system."""
    wires, ps7, core = [], [], [".clk(clk)", ".rst(rst)"]

    def join(prefix: str, port: str, names: tuple[str, ...], widths: Mapping[str, int]) -> None:
        for name in names:
            wire = f"{prefix}_{name}"
            wires.append(f"  wire [{widths.get(name, 1) - 1}:0] {wire};")
            core.append(f".{wire}({wire})")
            bits = _AXI3_BITS.get(name, 0) if port == "SAXIACP" else 0
            ps7.append(f".{port}{name.upper()}({wire}{f'[{bits - 1}:0]' if bits else ''})")

    registers = {"wdata": 32, "rdata": 32, "wstrb": 4, "bresp": 2, "rresp": 2, "awprot": 3, "arprot": 3}
    bus = config.bus_bits
    memory = {
        **{f"a{way}{name}": bits for way in "rw" for name, bits in _ADDRESS_BITS.items()},
        **{"wdata": bus, "rdata": bus, "wstrb": bus // 8, "bresp": 2, "rresp": 2},
    }
    join("s_axi", "MAXIGP0", (*_REGISTERS_IN, *_REGISTERS_OUT), {**registers, "awaddr": 32, "araddr": 32})
    join("m_axi", "SAXIACP", (*_MEMORY_FROM_CORE, *_MEMORY_TO_CORE), memory)
    ps7 += [
        *(".FCLKCLK(fclk)", ".FCLKRESETN(fresetn)", ".MAXIGP0ACLK(clk)", ".SAXIACPACLK(clk)"),
        *(".MAXIGP0ARID(arid)", ".MAXIGP0AWID(awid)", ".MAXIGP0RID(rid)", ".MAXIGP0BID(bid)", ".MAXIGP0RLAST(1'b1)"),
        *(f".SAXIACP{name}(3'd0)" for name in ("ARID", "AWID", "WID")),
        *(f".SAXIACP{name}(2'd0)" for name in ("ARLOCK", "AWLOCK")),
        *(f".SAXIACP{name}(4'd0)" for name in ("ARQOS", "AWQOS")),
    ]
    # the core decodes the low bits of a register's address
    core = [text.replace("(s_axi_awaddr)", "(s_axi_awaddr[13:0])") for text in core]
    core = [text.replace("(s_axi_araddr)", "(s_axi_araddr[13:0])") for text in core]
    joined = ",\n    "
    body = "\n".join(wires)
    return f"""// {config.name} on PS7: registers at M_AXI_GP0, memory through S_AXI_ACP; {NOT_BUILT}
module {WRAPPER} ();
{body}
  wire [3:0] fclk, fresetn;
  wire [11:0] arid, awid;
  reg [11:0] rid, bid;
  wire clk;
  BUFG clock (.I(fclk[0]), .O(clk));
  reg [3:0] resets = 4'hf;
  wire rst = resets[3];
  always @(posedge clk) begin
    resets <= {{resets[2:0], !fresetn[0]}};
    if (s_axi_arvalid && s_axi_arready) rid <= arid;
    if (s_axi_awvalid && s_axi_awready) bid <= awid;
  end
  PS7 ps7 (
    {joined.join(ps7)}
  );
  {TOP} core (
    {joined.join(core)}
  );
endmodule
"""


_ADDRESS_BITS = {"addr": 32, "len": 8, "size": 3, "burst": 2, "cache": 4, "prot": 3, "user": 5}


def build_shell(config: VTAConfig, project: BoardProject, clock_mhz: float) -> str:
    """Return the commands from Verilog to a bitstream."""
    read = f"read_verilog {TOP}.v {WRAPPER}.v"
    script = synthesis_script("xc7", "core.il", WRAPPER).replace("read_rtlil core.il", read)
    family = project.device.partition("-")[0]
    return f"""#!/bin/sh
# {config.name} for {project.device}; {NOT_BUILT}. Needs yosys, nextpnr-xilinx and its CHIPDB of {family}, and the
# tools of Project X-Ray with its database PRJXRAY_DB. Says whether {clock_mhz:g} MHz are met; the driver sets FCLK0.
set -eu
: "${{CHIPDB:?file {family}.bin of nextpnr-xilinx}}" "${{PRJXRAY_DB:?folder zynq7 of Project X-Ray\'s database}}"
yosys -p "{script}; write_json vta.json"
nextpnr-xilinx --chipdb "$CHIPDB" --json vta.json --fasm vta.fasm --freq {clock_mhz:g}
fasm2frames --part {project.device} --db-root "$PRJXRAY_DB" vta.fasm > vta.frames
xc7frames2bit --part_file "$PRJXRAY_DB/{project.device}/part.yaml" --part_name {project.device} \\
  --frm_file vta.frames --output_file {config.name}.bit
"""
