"""The command about the core itself; what needs yosys or a compiled core is marked."""

import json
import subprocess

import pytest

from mpi_vta.gateware.core import Core
from mpi_vta.gateware.diagram import mermaid
from mpi_vta.gateware.project import BOARDS, SYSTEMS, build_script, wrapper
from mpi_vta.gateware.synthesis import read_counts
from mpi_vta.hardware import main
from mpi_vta.hw.enumeration import config_of

SMALL = config_of("pynq", 0, 2, 10, 8, 7, 7)

REPORT = """
=== vta_core ===

   Number of cells:                100
     CARRY4                         12
     DSP48E1                         8
     FDRE                           40
     FDSE                            2
     LUT2                           10
     LUT6                           20
     RAM32M                          2
     RAMB18E1                        1
     RAMB36E1                        3
     SRL16E                          5
   Estimated number of LCs:         25
"""


def test_counts_are_read_from_the_report():
    counts = read_counts(REPORT)
    assert (counts.dsp, counts.ff, counts.bram36, counts.uram) == (8, 42, 3.5, 0)
    # a distributed memory of 32 x 6 bits takes four look-up tables, a shift register one
    assert counts.lut == 10 + 20 + 4 * 2 + 5


@pytest.mark.parametrize("board", list(BOARDS))
def test_a_project_names_part_clock_and_places(board):
    project = BOARDS[board]
    script = build_script(SMALL, project, 125.0)
    system = SYSTEMS[project.system]
    assert f"create_project vta vivado -part {project.device} -force" in script
    assert "FREQMHZ 125 " in script
    assert f"set_property offset 0x{system.base:08X}" in script
    assert script.count("{") == script.count("}")
    assert script.count("[") == script.count("]")
    assert "not built here" in script


def test_the_wrapper_joins_every_port_once():
    # never elaborated: only its ports are of interest
    core = Core(SMALL)
    core._MustUse__silence = True
    core.array._MustUse__silence = True
    text = wrapper(core)
    for name in core.signature.members:
        assert text.count(f".{name}({name})") == 1
    assert "output wire [31:0] m_axi_araddr" in text
    assert "input  wire [63:0] m_axi_rdata" in text


def fault(capsys, *arguments):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    return err


def test_an_unknown_board_is_refused(capsys, tmp_path):
    err = fault(capsys, "project", "pynq_1x16", "--board", "zybo", "-o", str(tmp_path / "p"))
    assert "no project for the board zybo" in err
    assert "pynq_z1" in err
    assert not (tmp_path / "p").exists()


def test_a_board_of_another_target_is_refused(capsys, tmp_path):
    err = fault(capsys, "project", "pynq_1x16", "--board", "zcu104", "-o", str(tmp_path / "p"))
    assert "TARGET is pynq" in err


def test_a_clock_out_of_range_is_refused(capsys, tmp_path):
    arguments = ("project", "pynq_1x16", "--board", "pynq_z1", "--clock-mhz", "0", "-o", str(tmp_path / "p"))
    assert "--clock-mhz" in fault(capsys, *arguments)


def test_a_part_with_another_bus_is_refused(capsys):
    assert "a memory bus of 64 bits" in fault(capsys, "synthesize", "pynq_1x16", "--part", "ZU3EG")


def test_a_latency_below_one_is_refused(capsys):
    assert "--latency" in fault(capsys, "replay", "nothing.npz", "--latency", "0")


def test_missing_tools_are_one_line_with_their_package(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/nowhere")
    configuration = tmp_path / "small.json"
    configuration.write_text(json.dumps(SMALL.to_dict()))
    err = fault(capsys, "verilog", str(configuration))
    assert "yosys is not installed" in err
    assert "apt-get install yosys" in err


@pytest.mark.rtl
def test_the_diagram_shows_units_and_their_queues():
    text = mermaid(Core(SMALL))
    edges = ("fetch --> load_queue", "load_queue --> load", "load --> load_to_compute", "reader --> load")
    for edge in (*edges, "load_to_compute --> compute", "compute_to_store --> store", "registers --> fetch"):
        assert f"    {edge}" in text
    assert 'compute["compute<br/>(loader, uops, array, 4 lanes, acc, out)"]' in text


@pytest.mark.rtl
def test_a_project_is_written_whole(capsys, tmp_path):
    configuration = tmp_path / "small.json"
    configuration.write_text(json.dumps(SMALL.to_dict()))
    folder = tmp_path / "project"
    assert main(["project", str(configuration), "--board", "pynq_z2", "-o", str(folder)]) == 0
    assert "not built here" in capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} == {"vta_core.v", "vta_top.v", "build.tcl", f"{SMALL.name}.json"}
    manifest = json.loads((folder / f"{SMALL.name}.json").read_text())
    assert (manifest["config"], manifest["part"], manifest["port"]) == (SMALL.to_dict(), "XC7Z020", "acp")
    assert "module vta_core(" in (folder / "vta_core.v").read_text()


def test_the_open_flow_is_for_one_part(capsys, tmp_path):
    config = config_of("zcu104", 0, 2, 10, 8, 7, 7)
    configuration = tmp_path / "small.json"
    configuration.write_text(json.dumps(config.to_dict()))
    options = ("--board", "zcu104", "--flow", "open", "-o", str(tmp_path / "p"))
    assert "the open flow for ZU7EV; allowed: XC7Z020" in fault(capsys, "project", str(configuration), *options)
    assert not (tmp_path / "p").exists()


@pytest.mark.rtl
def test_a_project_of_the_open_flow_is_whole(capsys, tmp_path):
    configuration = tmp_path / "small.json"
    configuration.write_text(json.dumps(SMALL.to_dict()))
    folder = tmp_path / "project"
    assert main(["project", str(configuration), "--board", "pynq_z1", "--flow", "open", "-o", str(folder)]) == 0
    assert "not built here: sh build.sh" in capsys.readouterr().out
    names = {"vta_core.v", "vta_ps7.v", "adders.v", "build.sh", f"{SMALL.name}.json"}
    assert {path.name for path in folder.iterdir()} == names
    # every port that is joined is there, in PS7 as yosys knows it and in the core, with its width
    cells = "read_verilog -lib +/xilinx/cells_sim.v +/xilinx/cells_xtra.v"
    script = f"{cells}; read_verilog vta_core.v vta_ps7.v; hierarchy -check -top vta_ps7; check -assert"
    command = ["yosys", "-q", "-e", "Resizing cell port", "-p", script]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    script = (folder / "build.sh").read_text()
    assert "synth_xilinx -family xc7 -top vta_ps7" in script
    assert "not built here" in script


@pytest.mark.rtl
def test_a_small_core_is_counted(capsys, tmp_path):
    configuration = tmp_path / "small.json"
    configuration.write_text(json.dumps(SMALL.to_dict()))
    assert main(["synthesize", str(configuration), "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert counts["dsp"] == 8
    assert counts["bram36"] > 0
    assert counts["lut"] > 0
