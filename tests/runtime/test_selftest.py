"""The selftest: it passes on what is right, and names what is wrong, on the simulator and on the chip."""

import io
import json

import numpy as np
import pytest
from chip import ARM32, ARM64, Chip, ChipAccess, bit_file
from runtime.test_driver import design

from mpi_vta.codegen.program import Program
from mpi_vta.errors import DeviceError, InputError
from mpi_vta.hw.board import Board
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import HW_ROOT, find
from mpi_vta.isa.codec import decode_columns
from mpi_vta.isa.table import AluOpcode, Opcode
from mpi_vta.json_fields import from_json
from mpi_vta.runtime.devices.driver import VtaDriver
from mpi_vta.runtime.devices.protocol import DeviceSetup
from mpi_vta.runtime.devices.sim import SimDevice
from mpi_vta.runtime.selftest import command
from mpi_vta.runtime.selftest.cases import TIMED, all_cases
from mpi_vta.runtime.selftest.command import SelftestOptions, choose_board, examine_rank, print_results, run_selftest
from mpi_vta.runtime.selftest.result import RankResult
from mpi_vta.runtime.selftest.runner import find_faults, measured_clock, run_cases
from mpi_vta.simulator.checks import check_program

PYNQ = Board.load("pynq_z1").config


class ChipDevice:
    """The driver over a chip, as a device."""

    name, carries_data, simulated = "chip", True, False

    def __init__(self, tmp_path, *, arch=ARM32, config=PYNQ, held=None, port=None, real_port=None, vta_mhz=100.0):
        self.chip = Chip(arch, port=real_port or port)
        self.chip.vta_mhz = vta_mhz
        self.content = bit_file(tmp_path / "x.bit", held or config, "7z020").read_bytes()
        self.design = design(arch, config, port=port)
        self.open()

    def open(self):
        self.chip.load(self.content)
        self.driver = VtaDriver(ChipAccess(self.chip), self.design, 0.02, lambda: self.chip.now_ns)
        return self

    def load(self, program: Program):
        return self.driver.load(program)


def run(device, config=PYNQ):
    results = run_cases(config, device, getattr(device, "open", lambda: device), (63, 1023))
    return {entry.name: entry for entry in results}, results


def outcomes(results):
    return {entry.outcome for entry in results}


@pytest.mark.parametrize("name", ["pynq_1x16", "pynq_4x8_v001", "pynq_2x16", "ultra96_1x16"])
def test_simulated_device_passes_on_every_build(name):
    config = VTAConfig.load(find("vta_configs", name, ".json"))
    _, results = run(SimDevice(DeviceSetup()), config)
    assert (len(results), outcomes(results)) == (20, {"right"})
    assert all(entry.measured_us is None and entry.modelled_cycles > 0 for entry in results)
    assert find_faults(results, 100.0, timed=False) == ()


def test_cases_cover_every_operation_and_stay_in_the_portable_subset():
    cases = all_cases(PYNQ, (63, 1023))
    seen = set()
    for case in cases:
        insns = case.program.link(case.program.default_bases)
        check_program(PYNQ, insns, case.program.dram_image())
        columns = decode_columns(insns, PYNQ)
        alu = columns["opcode"] == Opcode.ALU
        seen |= set(zip(columns["alu_opcode"][alu].tolist(), columns["use_imm"][alu].tolist(), strict=True))
    assert seen == {(int(opcode), flag) for opcode in AluOpcode for flag in (0, 1)}
    assert len({case.name for case in cases}) == len(cases) == 20
    assert any(len(case.launches) > 1 for case in cases)


@pytest.mark.parametrize(("arch", "port"), [(ARM32, "acp"), (ARM32, "hp"), (ARM64, "hpc")])
def test_chip_passes_with_its_own_port(tmp_path, arch, port):
    _, results = run(ChipDevice(tmp_path, arch=arch, port=port))
    assert (len(results), outcomes(results)) == (20, {"right"})
    assert measured_clock(results) == pytest.approx(100, rel=0.08)
    assert find_faults(results, 100.0, timed=True) == ()


def test_port_that_is_not_coherent_is_named(tmp_path):
    _, results = run(ChipDevice(tmp_path, port="acp", real_port="hp"))
    assert outcomes(results) == {"hung"}
    faults = find_faults(results, 100.0, timed=True)
    assert all(
        "it does not see the instructions (the port is not coherent), has no clock, or" in fault for fault in faults
    )


def test_stale_bytes_are_named(tmp_path):
    """Instructions arrive, but results are dropped on the way back: nobody invalidates."""
    device = ChipDevice(tmp_path, port="hp")
    device.driver.refresh = lambda buffer: None
    found, results = run(device)
    assert found["add_immediate"].outcome == "wrong"
    assert found["add_immediate"].meaning.startswith("bytes are stale: the port is not coherent")
    assert any("bytes are stale" in fault for fault in find_faults(results, 100.0, timed=True))


def test_end_seen_too_early_is_named(tmp_path):
    device = ChipDevice(tmp_path)
    device.driver.launcher._wait_for_compute = lambda what: None
    found, _ = run(device)
    assert found["launched_twice"].outcome == "wrong"


class Second:
    """A device whose second launch shows the first one's results."""

    name, carries_data, simulated = "sim", True, True

    def load(self, program):
        loaded = SimDevice(DeviceSetup()).load(program)
        run_once, kept = loaded.run, []

        def run(inputs):
            kept.append(run_once(inputs))
            return kept[0]

        loaded.run = run
        return loaded


def test_bytes_of_the_launch_before_are_named():
    found, _ = run(Second())
    assert found["gemm"].outcome == "right"
    meaning = "bytes are those of the launch before: the end of a launch is seen too early"
    assert (found["launched_twice"].outcome, found["launched_twice"].meaning) == ("wrong", meaning)


def test_wrong_clock_is_named_with_its_factor(tmp_path):
    _, results = run(ChipDevice(tmp_path, vta_mhz=100.0))
    (fault,) = find_faults(results, 333.0, timed=True)
    assert "wrong clock: VTA runs at " in fault
    assert "times too slow for 333; PS clock 0 is not what" in fault
    (fault,) = find_faults(results, 50.0, timed=True)
    assert "times too fast for 50" in fault


def test_another_instruction_set_is_named(tmp_path):
    old = VTAConfig.load(find("vta_configs", "pynq_1x16_v001", ".json"))
    _, results = run(ChipDevice(tmp_path, held=old))
    assert "right" not in outcomes(results[:1])
    assert "another instruction set" in results[0].meaning


def test_ignored_padding_is_named(tmp_path):
    device = ChipDevice(tmp_path)
    device.chip.faults.ignores_acc_pads = True
    found, results = run(device)
    assert found["pads_accumulator"].outcome == "wrong"
    assert {entry.name for entry in results if entry.outcome != "right"} == {"pads_accumulator"}
    (fault,) = find_faults(results, 100.0, timed=True)
    assert fault == (
        'pads_accumulator: padding of accumulator loads is ignored: write "ignores_acc_pads": true into the manifest'
    )


def test_program_that_the_driver_refuses_is_a_result(tmp_path):
    device = ChipDevice(tmp_path)
    device.driver.design = design(ignores_acc_pads=True)
    found, _ = run(device)
    assert found["pads_accumulator"].outcome == "refused"
    assert found["pads_accumulator"].meaning.startswith("it pads accumulators while loading them")


def test_memory_that_runs_out_is_a_result(tmp_path):
    device = ChipDevice(tmp_path)

    def load(program):
        raise DeviceError("no contiguous memory for 8192 bytes (BO allocation failed)")

    device.load = load
    _, results = run(device)
    (fault,) = find_faults(results, 100.0, timed=True)
    assert fault.endswith("no contiguous memory for 8192 bytes (BO allocation failed)")


def test_cases_are_printed_and_the_report_has_no_personal_data(tmp_path, capsys):
    report = tmp_path / "report.json"
    assert run_selftest(SelftestOptions("sim", "", "ultra96", report), None) == 0
    shown = capsys.readouterr().out
    assert "rank 0: ultra96, device sim: 20 of 20 right\n" in shown
    assert "\n  gemm              right  " in shown
    assert shown.endswith("the selftest passed\n")
    written = json.loads(report.read_text())
    (entry,) = written["ranks"]
    assert (written["format"], len(entry["cases"]), entry["faults"]) == (1, 20, [])
    assert set(entry["facts"]) == {
        "mpi_vta", "python", "numpy", "pynq", "machine", "kernel", "image_name", "config", "clock_mhz",
        "cma_total_mib", "cma_free_mib",
    }  # fmt: skip
    assert from_json(RankResult, entry).cases[0].name == "add_immediate"


def test_faults_are_printed_last_with_status_1(tmp_path, capsys):
    assert run_selftest(SelftestOptions("pynq", "", "pynq_z1", None), None) == 1
    shown = capsys.readouterr().out.splitlines()
    assert shown == [
        "rank 0: pynq_z1, device pynq: 0 of 0 right",
        "wrong       rank 0: no bitstream named; give --bitstream FILE",
        "1 fault",
    ]


def test_report_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    options = SelftestOptions("pynq", "", "pynq_z1", tmp_path / "file" / "report.json")
    with pytest.raises(InputError, match="report"):
        run_selftest(options, None)


@pytest.mark.parametrize(
    ("image", "board"), [("Pynq-Z1", "pynq_z1"), ("Pynq-Z2", "pynq_z2"), ("ultra96v2", "ultra96_v2")]
)
def test_board_is_known_by_its_image_s_name(tmp_path, monkeypatch, image, board):
    monkeypatch.setattr(command, "image_name", lambda: image)
    config = Board.load(board).config
    path = bit_file(tmp_path / "x.bit", config, "x")
    stated = {"config": config.to_dict(), "part": "x", "clock_mhz": 90, "input_clock_mhz": 100}
    path.with_suffix(".json").write_text(json.dumps(stated))
    found = choose_board(SelftestOptions("pynq", str(path), "", None))
    assert (found.name, found.config, found.clock_mhz) == (board, config, 90)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            "Toaster",
            "this image calls its board 'Toaster', which is in no board file; name a board file with --bo",
        ),
        ("", "no board's name is found; name a board file with --board: arty_z7_20, "),
    ],
)
def test_unknown_board_is_one_line(monkeypatch, image, message):
    monkeypatch.setattr(command, "image_name", lambda: image)
    found = examine_rank(SelftestOptions("pynq", "x.bit", "", None), 3)
    assert (found.rank, found.cases, len(found.faults)) == (3, (), 1)
    assert found.faults[0].startswith(message)


def test_image_names_are_unique():
    boards = [Board.load(str(path)) for path in (HW_ROOT / "boards").glob("*.toml")]
    names = [board.image_name.lower() for board in boards if board.image_name]
    assert len(set(names)) == len(names) >= 10


def test_table_shows_measured_beside_modelled(tmp_path):
    _, results = run(ChipDevice(tmp_path))
    stream = io.StringIO()
    print_results([RankResult(2, "pynq", "pynq_z1", {}, results, measured_clock(results), ())], stream)
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("rank 2: pynq_z1, device pynq: 20 of 20 right, clock ")
    assert lines[0].endswith(" MHz measured")
    assert all("cycles modelled" in line and "us measured" in line for line in lines[1:21])
    long = next(entry for entry in results if entry.name == TIMED[1])
    assert np.isclose(long.measured_us, long.modelled_cycles / 100, rtol=0.1)
