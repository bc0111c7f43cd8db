"""A vendor project around the core: Verilog, a short Tcl for any Vivado from 2018 on, and the driver's manifest.

Nothing of this was built here: no Vivado was at hand. The Tcl refuses to write a bitstream that misses its clock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from amaranth.lib.wiring import In

from mpi_vta.disk import write_atomically
from mpi_vta.errors import ConfigError
from mpi_vta.gateware.core import Core
from mpi_vta.gateware.verilog import TOP, core_verilog
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.multipliers import multipliers_for

NOT_BUILT = "not built here"
REGISTER_BYTES = 0x4000
INSTANCE = "vta_core_0"


@dataclass(frozen=True)
class BoardProject:
    """What a vendor project has to know of a board.

    Attributes
    ----------
    part : str
        The FPGA, as board files name it.
    target : str
        ``TARGET`` of its configurations.
    dsp : int
        DSP slices.
    device : str
        The part as Vivado orders it.
    board_part : str
        Pattern of Vivado's board files; their preset is used where they are installed.
    system : str
        ``zynq7`` or ``zynqmp``.
    """

    part: str
    target: str
    dsp: int
    device: str
    board_part: str
    system: str


BOARDS: Mapping[str, BoardProject] = {
    "pynq_z1": BoardProject("XC7Z020", "pynq", 220, "xc7z020clg400-1", "*:pynq-z1:*", "zynq7"),
    "pynq_z2": BoardProject("XC7Z020", "pynq", 220, "xc7z020clg400-1", "*:pynq-z2:*", "zynq7"),
    "zedboard": BoardProject("XC7Z020", "pynq", 220, "xc7z020clg484-1", "*:zedboard:*", "zynq7"),
    "ultra96": BoardProject("ZU3EG", "ultra96", 360, "xczu3eg-sbva484-1-e", "*:ultra96*:*", "zynqmp"),
    "zcu104": BoardProject("ZU7EV", "zcu104", 1728, "xczu7ev-ffvc1156-2-e", "*:zcu104:*", "zynqmp"),
    "kv260": BoardProject("XCK26", "kv260", 1248, "xck26-sfvc784-2LV-c", "*:kv260*:*", "zynqmp"),
}
"""By name of the board."""


@dataclass(frozen=True)
class System:
    """How a processing system gives the core its clock, its registers and its way to memory.

    Attributes
    ----------
    cell, ip : str
        Name of the cell, and of the IP.
    settings : str
        Properties in Tcl, with ``CLOCK`` and ``BUS`` in place of the clock in MHz and the bus in bits.
    clock, reset : str
        Pins that drive the fabric.
    clocked : tuple of str
        Pins that take that clock.
    master, slave : str
        Interfaces towards the registers, and towards memory.
    base : int
        Where the registers lie.
    port : str
        The kind of memory port, as the driver names it.
    """

    cell: str
    ip: str
    settings: str
    clock: str
    reset: str
    clocked: tuple[str, ...]
    master: str
    slave: str
    base: int
    port: str


SYSTEMS: Mapping[str, System] = {
    "zynq7": System(
        "ps7",
        "processing_system7",
        "CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ CLOCK CONFIG.PCW_EN_CLK0_PORT 1 CONFIG.PCW_USE_M_AXI_GP0 1 "
        "CONFIG.PCW_USE_S_AXI_ACP 1 CONFIG.PCW_USE_DEFAULT_ACP_USER_VAL 1",
        "FCLK_CLK0",
        "FCLK_RESET0_N",
        ("M_AXI_GP0_ACLK", "S_AXI_ACP_ACLK"),
        "M_AXI_GP0",
        "S_AXI_ACP",
        0x43C0_0000,
        "acp",
    ),
    "zynqmp": System(
        "ps8",
        "zynq_ultra_ps_e",
        "CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ CLOCK CONFIG.PSU__FPGA_PL0_ENABLE 1 "
        "CONFIG.PSU__USE__M_AXI_GP0 1 CONFIG.PSU__USE__M_AXI_GP1 0 CONFIG.PSU__USE__M_AXI_GP2 0 "
        "CONFIG.PSU__USE__S_AXI_GP2 1 CONFIG.PSU__SAXIGP2__DATA_WIDTH BUS",
        "pl_clk0",
        "pl_resetn0",
        ("maxihpm0_fpd_aclk", "saxihp0_fpd_aclk"),
        "M_AXI_HPM0_FPD",
        "S_AXI_HP0_FPD",
        0xA000_0000,
        "hp",
    ),
}
"""By `BoardProject.system`."""


ProjectFiles = Callable[[VTAConfig, BoardProject, float], dict[str, str]]


def write_project(
    config: VTAConfig, board: str, clock_mhz: float, folder: Path, files: ProjectFiles | None = None
) -> list[Path]:
    """Write a project; return its files.

    Parameters
    ----------
    config : VTAConfig
        The build.
    board : str
        One of `BOARDS`.
    clock_mhz : float
        Clock that Vivado is asked for.
    folder : Path
        Where to; made if it is not there.
    files : callable, optional
        What makes them (default: `vivado_project`).

    Raises
    ------
    ConfigError
        If the board is unknown, or of another target than the configuration.
    InputError
        If yosys is missing, or the disk refuses.
    """
    if board not in BOARDS:
        raise ConfigError(f"no project for the board {board}", where="--board", allowed=", ".join(BOARDS))
    project = BOARDS[board]
    if config.target != project.target:
        raise ConfigError(f"TARGET is {config.target}", where=f"{config.name} for {board}", allowed=project.target)
    texts = (files or vivado_project)(config, project, clock_mhz)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_atomically(folder / name, text.encode(), "the project")
    return [folder / name for name in texts]


def vivado_project(config: VTAConfig, project: BoardProject, clock_mhz: float) -> dict[str, str]:
    """Return the project's files by name."""
    core = Core(config, None, multipliers_for(config, project.dsp))
    return {
        f"{TOP}.v": core_verilog(core),
        "vta_top.v": wrapper(core),
        "build.tcl": build_script(config, project, clock_mhz),
        f"{config.name}.json": manifest(config, project, clock_mhz),
    }


def manifest(config: VTAConfig, project: BoardProject, clock_mhz: float) -> str:
    """Return what the driver wants to know of the bitstream."""
    stated = {
        "config": config.to_dict(),
        "part": project.part,
        "clock_mhz": clock_mhz,
        "input_clock_mhz": clock_mhz,
        "port": SYSTEMS[project.system].port,
    }
    return json.dumps(stated, indent=2) + "\n"


def wrapper(core: Core) -> str:
    """Return Verilog that gives the core the names and attributes by which Vivado finds interfaces."""
    ports, joined = [], [".clk(aclk)", ".rst(!aresetn)"]
    for name, member in core.signature.members.items():
        width = len(member.shape) if hasattr(member.shape, "__len__") else int(member.shape)
        direction = "input " if member.flow == In else "output"
        span = f"[{width - 1}:0] " if width > 1 else ""
        ports.append(f"  {direction} wire {span}{name}")
        joined.append(f".{name}({name})")
    attributes = (
        '  (* X_INTERFACE_INFO = "xilinx.com:signal:clock:1.0 aclk CLK" *)\n'
        '  (* X_INTERFACE_PARAMETER = "ASSOCIATED_BUSIF s_axi:m_axi, ASSOCIATED_RESET aresetn" *)\n'
        "  input  wire aclk,\n"
        '  (* X_INTERFACE_INFO = "xilinx.com:signal:reset:1.0 aresetn RST" *)\n'
        '  (* X_INTERFACE_PARAMETER = "POLARITY ACTIVE_LOW" *)\n'
        "  input  wire aresetn,\n"
    )
    body = ",\n    ".join(joined)
    return (
        f"// {core.config.name}, generated; {NOT_BUILT}\nmodule vta_top (\n{attributes}"
        + ",\n".join(ports)
        + f"\n);\n  {TOP} core (\n    {body}\n  );\nendmodule\n"
    )


def build_script(config: VTAConfig, project: BoardProject, clock_mhz: float) -> str:
    """Return the Tcl: block design, synthesis, place and route, and the files that the driver wants."""
    system = SYSTEMS[project.system]
    settings = system.settings.replace("CLOCK", f"{clock_mhz:g}").replace("BUS", str(config.bus_bits))
    connects = "\n".join(
        f"connect_bd_net [get_bd_pins {system.cell}/{system.clock}] [get_bd_pins {pin}]"
        for pin in (
            *(f"{system.cell}/{pin}" for pin in system.clocked),
            f"{INSTANCE}/aclk",
            "registers/aclk",
            "memory/aclk",
            "reset/slowest_sync_clk",
        )
    )
    return f"""# {config.name}: vivado -mode batch -source build.tcl; {NOT_BUILT}. Any Vivado from 2018.1 on.
set name {config.name}
create_project vta vivado -part {project.device} -force
set boards [get_board_parts -quiet {{{project.board_part}}}]
if {{[llength $boards]}} {{ set_property board_part [lindex $boards end] [current_project] }}
add_files {{{TOP}.v vta_top.v}}
update_compile_order -fileset sources_1

create_bd_design vta
create_bd_cell -type module -reference vta_top {INSTANCE}
create_bd_cell -type ip -vlnv [get_ipdefs -all -filter {{NAME == {system.ip}}}] {system.cell}
if {{[llength $boards]}} {{
  set preset {{apply_board_preset 1 make_external "FIXED_IO, DDR"}}
  apply_bd_automation -rule xilinx.com:bd_rule:{system.ip} -config $preset [get_bd_cells {system.cell}]
}} else {{
  puts "no board files: memory and pins stay as the boot image set them; pynq loads the logic alone"
}}
set_property -dict {{{settings}}} [get_bd_cells {system.cell}]
foreach cell {{registers memory}} {{
  create_bd_cell -type ip -vlnv [get_ipdefs -all -filter {{NAME == smartconnect}}] $cell
  set_property CONFIG.NUM_SI 1 [get_bd_cells $cell]
}}
create_bd_cell -type ip -vlnv [get_ipdefs -all -filter {{NAME == proc_sys_reset}}] reset
connect_bd_intf_net [get_bd_intf_pins {system.cell}/{system.master}] [get_bd_intf_pins registers/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins registers/M00_AXI] [get_bd_intf_pins {INSTANCE}/s_axi]
connect_bd_intf_net [get_bd_intf_pins {INSTANCE}/m_axi] [get_bd_intf_pins memory/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins memory/M00_AXI] [get_bd_intf_pins {system.cell}/{system.slave}]
{connects}
connect_bd_net [get_bd_pins {system.cell}/{system.reset}] [get_bd_pins reset/ext_reset_in]
foreach pin {{{INSTANCE}/aresetn registers/aresetn memory/aresetn}} {{
  connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins $pin]
}}
assign_bd_address
foreach segment [get_bd_addr_segs -of_objects [get_bd_addr_spaces {system.cell}/*]] {{
  if {{[string match *{INSTANCE}* $segment]}} {{
    set_property offset 0x{system.base:08X} $segment
    set_property range {REGISTER_BYTES // 1024}K $segment
  }}
}}
validate_bd_design
save_bd_design

add_files -norecurse [make_wrapper -files [get_files vta.bd] -top]
set_property top vta_wrapper [current_fileset]
update_compile_order -fileset sources_1
launch_runs impl_1 -to_step write_bitstream -jobs 4
wait_on_run impl_1
if {{[get_property PROGRESS [get_runs impl_1]] != "100%"}} {{ error "implementation failed: see vivado/vta.runs" }}
if {{[get_property STATS.WNS [get_runs impl_1]] < 0}} {{
  error "{clock_mhz:g} MHz is missed by [get_property STATS.WNS [get_runs impl_1]] ns: ask for a slower --clock-mhz"
}}
file copy -force [lindex [glob vivado/vta.runs/impl_1/*.bit] 0] $name.bit
# up to 2020.1 under vta.srcs, later under vta.gen
file copy -force [lindex [glob -nocomplain vivado/vta.{{srcs,gen}}/sources_1/bd/vta/hw_handoff/vta.hwh] 0] $name.hwh
puts "$name.bit, $name.hwh and $name.json: copy the three to the board"
"""
