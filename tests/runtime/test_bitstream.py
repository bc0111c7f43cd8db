"""Bitstream files: whose build they hold, for which part, and where their units answer."""

import hashlib
import json
import sys
from dataclasses import replace

import pytest
from chip import ARM32, UNITS, VITIS, VIVADO, hwh_file

from mpi_vta.errors import DeviceError
from mpi_vta.gateware import registers
from mpi_vta.gateware.project import INSTANCE, REGISTER_BYTES
from mpi_vta.hw.board import Board
from mpi_vta.runtime.devices.bitstream import PUBLISHED, Design, bit_part, published_bitstreams
from mpi_vta.runtime.devices.hardware_description import read_description
from mpi_vta.runtime.devices.protocol import DeviceSetup
from mpi_vta.runtime.devices.register_map import published_map
from mpi_vta.runtime.devices.registry import open_device

PYNQ = Board.load("pynq_z1")
NAME = "1x16_i8w8a32_15_15_18_17"


def bit(path, part="7z020clg400"):
    text = part.encode() + b"\0"
    path.write_bytes(b"\x00\x09" + bytes(9) + b"\x00\x01b" + len(text).to_bytes(2, "big") + text + b"e" + bytes(8))
    return path


def hwh(path, ranges):
    blocks = "".join(
        f'<MEMRANGE INSTANCE="{name}" BASEVALUE="{base:#x}" MEMTYPE="{kind}"/>' for name, base, kind in ranges
    )
    path.write_text(f"<EDKSYSTEM><MODULES>{blocks}</MODULES></EDKSYSTEM>")
    return path


STATED = {"config": PYNQ.config.to_dict(), "part": "XC7Z020", "clock_mhz": 100.0, "input_clock_mhz": 100.0}


def manifest(path, **changes):
    stated = {key: value for key, value in {**STATED, **changes}.items() if value is not None}
    path.with_suffix(".json").write_text(json.dumps(stated))
    return path


def test_manifest_states_what_a_file_holds(tmp_path):
    path = manifest(bit(tmp_path / "ours.bit"))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    found = Design.check(manifest(path, sha256=sha256), PYNQ)
    assert (found.sha256, found.config, found.hwh) == (sha256, PYNQ.config, None)
    assert (found.facts.clock_mhz, found.facts.input_clock_mhz, found.facts.ignores_acc_pads) == (100, 100, False)
    assert (found.port, found.coherent, found.address_window_bytes) == ("acp", True, 1 << 30)
    assert list(found.registers.units.values()) == [0x43C00000, 0x43C01000, 0x43C02000, 0x43C03000]
    assert Design.check(manifest(path, ignores_acc_pads=True), PYNQ).facts.ignores_acc_pads


def test_raw_bitstream_has_no_header_to_check(tmp_path):
    path = manifest(tmp_path / f"{NAME}.bin")
    path.write_bytes(b"raw")
    assert Design.check(path, PYNQ).path == path


def test_table_of_published_bitstreams_has_both_instruction_sets():
    found = {sha256[:8]: facts for sha256, facts in published_bitstreams().items()}
    assert {key: (facts.config.name, facts.config.hw_ver) for key, facts in found.items()} == {
        "0b24cdf9": (f"pynq_{NAME}", "0.0.2"),
        "c8808d2f": (f"pynq_{NAME}", "0.0.1"),
        "5a5cedea": ("pynq_4x8_i8w8a32_15_16_16_18", "0.0.1"),
    }
    assert all(
        (facts.part, facts.clock_mhz, facts.input_clock_mhz) == ("XC7Z020", 100, 100) for facts in found.values()
    )
    assert [key for key, facts in found.items() if facts.ignores_acc_pads] == ["0b24cdf9"]
    assert all(len(sha256) == 64 for sha256 in published_bitstreams())


def test_published_file_is_known_by_its_content(tmp_path, monkeypatch):
    path = bit(tmp_path / "any name.bit")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    table = PUBLISHED.read_text().replace("0b24cdf9001d349512ab5fb34a0639056c87c8438dc3bce45be892ae43faf568", sha256)
    (tmp_path / "bitstreams.toml").write_text(table)
    monkeypatch.setattr("mpi_vta.runtime.devices.bitstream.PUBLISHED", tmp_path / "bitstreams.toml")
    found = Design.check(path, PYNQ)
    assert (found.config, found.facts.ignores_acc_pads) == (PYNQ.config, True)


def test_unknown_file_wants_a_manifest_whatever_its_name(tmp_path):
    with pytest.raises(
        DeviceError, match=rf"not one of the published bitstreams; allowed: a manifest {NAME}.json besi"
    ):
        Design.check(bit(tmp_path / f"{NAME}.bit"), PYNQ)


# as Vivado writes it of the block design that `mpi_vta.hardware project` makes, as far as the driver reads it
CORE_HWH = """<EDKSYSTEM><MODULES>
<MODULE INSTANCE="ps7" MODTYPE="processing_system7"><MEMORYMAP>
<MEMRANGE INSTANCE="{core}" MEMTYPE="REGISTER" BASEVALUE="{base:#x}" HIGHVALUE="{high:#x}"
 MASTERBUSINTERFACE="M_AXI_GP0" SLAVEBUSINTERFACE="s_axi"/></MEMORYMAP></MODULE>
<MODULE INSTANCE="{core}" MODTYPE="vta_top"><MEMORYMAP>
<MEMRANGE INSTANCE="ps7" MEMTYPE="MEMORY" BASEVALUE="0x0" HIGHVALUE="0x1FFFFFFF" MASTERBUSINTERFACE="m_axi"
 SLAVEBUSINTERFACE="S_AXI_ACP"/></MEMORYMAP></MODULE></MODULES></EDKSYSTEM>
"""


def test_a_core_of_this_project_is_one_block_with_the_published_offsets(tmp_path):
    path = tmp_path / f"{NAME}.hwh"
    path.write_text(CORE_HWH.format(core=INSTANCE, base=0x4000_0000, high=0x4000_0000 + REGISTER_BYTES - 1))
    found = read_description(path, "XC7Z020")
    assert found.registers.units == {
        "fetch": 0x4000_0000, "load": 0x4000_1000, "compute": 0x4000_2000, "store": 0x4000_3000
    }  # fmt: skip
    published = published_map("XC7Z020")
    assert replace(found.registers, units=published.units, source=published.source) == published
    assert (found.port, found.address_window_bytes) == ("acp", 1 << 29)
    core = (registers.FETCH + registers.CONTROL, registers.INSN_COUNT, registers.INSN_ADDRESS, registers.COMPUTE_DONE)
    base, units = 0x4000_0000, found.registers.units
    stated = (units["fetch"], units["fetch"] + found.registers.insn_count, units["fetch"] + found.registers.insns[0])
    assert (*stated, units["compute"] + found.registers.done) == tuple(base + offset for offset in core)


def test_two_cores_in_one_design_are_refused(tmp_path):
    path = tmp_path / f"{NAME}.hwh"
    ranges = [("vta_core_0", 0x4000_0000, "REGISTER"), ("vta_core_1", 0x4001_0000, "REGISTER")]
    with pytest.raises(DeviceError, match="no single address for the unit fetch, load, compute, store"):
        read_description(hwh(path, ranges), "XC7Z020")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"part": None, "clock_mhz": None},
            r"not a manifest \(part, clock_mhz are missing\); allowed: an object of",
        ),
        ({"colour": "red"}, r"not a manifest \(colour is unknown\)"),
        ({"port": "usb"}, r"not a manifest \(part is a text, port one of acp, hp, hpc\)"),
        ({"clock_mhz": "fast"}, r"not a manifest \(clocks are numbers 1..2000\)"),
        ({"config": {}}, "config has no HW_VER, which says the instruction set"),
        ({"config": {"HW_VER": "0.0.0"}}, r"HW_VER is '0\.0\.0' \(allowed: 0\.0\.1, 0\.0\.2\)"),
        ({"config": Board.load("zcu104").config.to_dict()}, "holds zcu104_.*, the job is for pynq_"),
        (
            {"config": {**STATED["config"], "HW_VER": "0.0.1"}},
            r"executes HW_VER 0\.0\.1, the job is for 0\.0\.2; choo",
        ),
        ({"sha256": "0" * 64}, "not the one described: its sha256 is"),
        ({"clock_mhz": 125}, "VTA runs at 125 MHz, the board file says 100; write clock_mhz = 125 into the board file"),
        ({"part": "ZU3EG"}, "for the part ZU3EG; allowed: XC7Z020, that of board pynq_z1"),
        ({"port": "hp"}, 'the design uses the port hp, the board file says acp; write port = "hp" into the board'),
    ],
)
def test_wrong_manifest_is_refused(tmp_path, change, message):
    with pytest.raises(DeviceError, match=message):
        Design.check(manifest(bit(tmp_path / "ours.bit"), **change), PYNQ)


@pytest.mark.parametrize("content", ["{", "[]", "7"])
def test_manifest_that_is_no_object_is_refused(tmp_path, content):
    path = bit(tmp_path / "ours.bit")
    path.with_suffix(".json").write_text(content)
    with pytest.raises(DeviceError, match="not a manifest"):
        Design.check(path, PYNQ)


def test_port_that_nobody_states_is_refused(tmp_path):
    path = manifest(bit(tmp_path / "ours.bit"))
    with pytest.raises(DeviceError, match=r"port to memory is not known; allowed: a \.hwh .* or write port = .*acp, "):
        Design.check(path, replace(PYNQ, port=""))
    assert Design.check(manifest(path, port="hp"), replace(PYNQ, port="")).coherent is False


def test_bitstream_for_another_part_is_refused(tmp_path):
    path = manifest(bit(tmp_path / f"{NAME}.bit", "xczu3eg-sbva484-1-e"))
    with pytest.raises(DeviceError, match="for the part xczu3eg-sbva484-1-e; allowed: XC7Z020, that of board pynq_z1"):
        Design.check(path, PYNQ)
    board = Board.load("ultra96")
    manifest(path, config=board.config.to_dict(), part="ZU3EG", clock_mhz=333)
    assert Design.check(path, board).registers.units["store"] == 0xA0003000


def test_file_that_is_no_bitstream_is_refused(tmp_path):
    with pytest.raises(DeviceError, match=r"not a bitstream; allowed: a .bit or .bin file"):
        Design.check(tmp_path / "x.xsa", PYNQ)
    with pytest.raises(DeviceError, match=r"cannot read the bitstream .*the path is one on the board itself"):
        Design.check(tmp_path / f"{NAME}.bit", PYNQ)
    manifest(tmp_path / f"{NAME}.bit").write_bytes(b"zero")
    with pytest.raises(DeviceError, match=r"no .bit header; name a raw bitstream .bin"):
        Design.check(tmp_path / f"{NAME}.bit", PYNQ)


@pytest.mark.parametrize("content", [b"", b"\x00", b"\xff\xff", b"\x00\x00\x00\x01b\xff\xff7z"])
def test_cut_header_is_read_without_a_crash(content):
    assert bit_part(content) in (None, "7z")


def test_addresses_are_those_of_the_hwh(tmp_path):
    ranges = [(name, 0x4000_0000 + i * 0x1_0000, "REGISTER") for i, name in enumerate(("fetch_0", "hier/load_0"))]
    ranges += [("compute", 0x4002_0000, "REGISTER"), ("store_0", 0x4003_0000, "REGISTER")]
    # each master lists the unit, and the unit's own memory port lists DRAM
    path = hwh(tmp_path / f"{NAME}.hwh", [*ranges, ranges[0], ("load_0", 0, "MEMORY"), ("ps7_0", 0, "REGISTER")])
    assert read_description(path, "XC7Z020").registers.units == {
        "fetch": 0x40000000,
        "load": 0x40010000,
        "compute": 0x40020000,
        "store": 0x40030000,
    }
    found = Design.check(manifest(bit(tmp_path / f"{NAME}.bit")), PYNQ)
    assert (found.hwh, found.registers.units["load"], found.port) == (path, 0x40010000, "acp")


@pytest.mark.parametrize(
    ("name", "port"), [("S_AXI_ACP", "acp"), ("S_AXI_HP0", "hp"), ("S_AXI_HPC0_FPD", "hpc"), ("S_AXI_HP2_FPD", "hp")]
)
def test_port_and_window_are_read_from_the_hwh(tmp_path, name, port):
    path = hwh_file(tmp_path / f"{NAME}.hwh", UNITS[ARM32], VIVADO, name, window=1 << 29)
    found = Design.check(manifest(bit(tmp_path / f"{NAME}.bit")), replace(PYNQ, port=""))
    assert (found.port, found.address_window_bytes) == (port, 1 << 29)
    assert (found.registers.done, found.registers.done_flag, found.registers.source) == (0x18, 0x1C, path.name)


def test_offsets_of_64_bit_pointers_are_read_from_the_hwh(tmp_path):
    hwh_file(tmp_path / f"{NAME}.hwh", UNITS[ARM32], VITIS)
    registers = Design.check(manifest(bit(tmp_path / f"{NAME}.bit")), PYNQ).registers
    assert registers.insns == (0x18, 0x1C)
    assert ("load", 0x1C) in registers.bases
    assert ("load", 0x20) in registers.bases


def test_ports_of_two_kinds_are_refused(tmp_path):
    other = (
        '<MODULE INSTANCE="store_0"><MEMRANGE BASEVALUE="0x0" HIGHVALUE="0xFF" INSTANCE="ps" MEMTYPE="MEMORY" '
        'SLAVEBUSINTERFACE="S_AXI_HP0"/></MODULE>'
    )
    path = hwh_file(tmp_path / f"{NAME}.hwh", UNITS[ARM32], VIVADO, pads=other)
    with pytest.raises(DeviceError, match=r"ports of several kinds lead to memory \(acp, hp\); allowed: one kind"):
        read_description(path, "XC7Z020")


def test_hwh_without_the_units_is_refused(tmp_path):
    path = hwh(tmp_path / "x.hwh", [("fetch_0", 0x4000_0000, "REGISTER"), ("fetch_1", 0x5000_0000, "REGISTER")])
    with pytest.raises(DeviceError, match="no single address for the unit fetch, load, compute, store; is this the"):
        read_description(path, "XC7Z020")
    path.write_text('<A><MEMRANGE INSTANCE="fetch_0" BASEVALUE="here"/></A>')
    with pytest.raises(DeviceError, match="not an address: 'here'"):
        read_description(path, "XC7Z020")
    path.write_text("<not xml")
    with pytest.raises(DeviceError, match="not a hardware description"):
        read_description(path, "XC7Z020")


def test_missing_pynq_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynq", None)
    with pytest.raises(DeviceError, match=r"--device pynq: pynq cannot be imported .*; run this rank on a PYNQ image"):
        open_device("pynq", DeviceSetup(PYNQ, str(bit(tmp_path / f"{NAME}.bit"))))


def test_missing_bitstream_option_is_one_line():
    with pytest.raises(DeviceError, match="no bitstream named; give --bitstream FILE"):
        open_device("pynq", DeviceSetup(PYNQ))
    with pytest.raises(DeviceError, match="no board description; name a --cluster"):
        open_device("pynq")
