"""Bitstream files: whose build they hold, for which part, and where their units answer."""

import hashlib
import json
import sys

import pytest

from mpi_vta.errors import DeviceError
from mpi_vta.hw.board import Board
from mpi_vta.runtime.devices.bitstream import BitstreamFile, bit_part, default_units, read_units
from mpi_vta.runtime.devices.protocol import DeviceSetup
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


@pytest.mark.parametrize("stem", [NAME, f"pynq_{NAME}"])
def test_name_of_the_build_is_enough(tmp_path, stem):
    path = bit(tmp_path / f"{stem}.bit")
    found = BitstreamFile.check(path, PYNQ)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.hwh is None
    assert list(found.units.values()) == [0x43C00000, 0x43C01000, 0x43C02000, 0x43C03000]


def test_raw_bitstream_has_no_header_to_check(tmp_path):
    path = tmp_path / f"{NAME}.bin"
    path.write_bytes(b"raw")
    assert BitstreamFile.check(path, PYNQ).path == path


def test_manifest_gives_any_name(tmp_path):
    path = bit(tmp_path / "ours.bit")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps({"config": PYNQ.config.to_dict(), "sha256": sha256}))
    assert BitstreamFile.check(path, PYNQ).sha256 == sha256


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a manifest"),
        ("[]", "not a manifest; allowed: an object of config"),
        ('{"config": {}}', "TARGET is None"),
        (json.dumps({"config": Board.load("zcu104").config.to_dict()}), "holds zcu104_.*, the job is for pynq_"),
        (json.dumps({"config": PYNQ.config.to_dict(), "sha256": "0" * 64}), "not the one described: its sha256 is"),
    ],
)
def test_wrong_manifest_is_refused(tmp_path, content, message):
    path = bit(tmp_path / "ours.bit")
    path.with_suffix(".json").write_text(content)
    with pytest.raises(DeviceError, match=message):
        BitstreamFile.check(path, PYNQ)


def test_name_of_another_build_is_refused(tmp_path):
    path = bit(tmp_path / "4x8_i8w8a32_15_16_16_18.bit")
    with pytest.raises(
        DeviceError, match=rf"does not say that it holds pynq_{NAME}; allowed: {NAME}.bit, or a manifest"
    ):
        BitstreamFile.check(path, PYNQ)


def test_bitstream_for_another_part_is_refused(tmp_path):
    path = bit(tmp_path / f"{NAME}.bit", "xczu3eg-sbva484-1-e")
    with pytest.raises(DeviceError, match="for the part xczu3eg-sbva484-1-e; allowed: XC7Z020, that of board pynq_z1"):
        BitstreamFile.check(path, PYNQ)
    assert BitstreamFile.check(path, Board.load("ultra96")).units["store"] == 0xA0003000


def test_file_that_is_no_bitstream_is_refused(tmp_path):
    with pytest.raises(DeviceError, match=r"not a bitstream; allowed: a .bit or .bin file"):
        BitstreamFile.check(tmp_path / "x.xsa", PYNQ)
    with pytest.raises(DeviceError, match=r"cannot read the bitstream .*the path is one on the board itself"):
        BitstreamFile.check(tmp_path / f"{NAME}.bit", PYNQ)
    (tmp_path / f"{NAME}.bit").write_bytes(b"zero")
    with pytest.raises(DeviceError, match=r"no .bit header; name a raw bitstream .bin"):
        BitstreamFile.check(tmp_path / f"{NAME}.bit", PYNQ)


@pytest.mark.parametrize("content", [b"", b"\x00", b"\xff\xff", b"\x00\x00\x00\x01b\xff\xff7z"])
def test_cut_header_is_read_without_a_crash(content):
    assert bit_part(content) in (None, "7z")


def test_addresses_are_those_of_the_hwh(tmp_path):
    ranges = [(name, 0x4000_0000 + i * 0x1_0000, "REGISTER") for i, name in enumerate(("fetch_0", "hier/load_0"))]
    ranges += [("compute", 0x4002_0000, "REGISTER"), ("store_0", 0x4003_0000, "REGISTER")]
    # each master lists the unit, and the unit's own memory port lists DRAM
    path = hwh(tmp_path / f"{NAME}.hwh", [*ranges, ranges[0], ("load_0", 0, "MEMORY"), ("ps7_0", 0, "REGISTER")])
    assert read_units(path) == {
        "fetch": 0x40000000,
        "load": 0x40010000,
        "compute": 0x40020000,
        "store": 0x40030000,
    }
    found = BitstreamFile.check(bit(tmp_path / f"{NAME}.bit"), PYNQ)
    assert (found.hwh, found.units["load"]) == (path, 0x40010000)


def test_hwh_without_the_units_is_refused(tmp_path):
    path = hwh(tmp_path / "x.hwh", [("fetch_0", 0x4000_0000, "REGISTER"), ("fetch_1", 0x5000_0000, "REGISTER")])
    with pytest.raises(DeviceError, match="no single address for the unit fetch, load, compute, store; is this the"):
        read_units(path)
    path.write_text("<not xml")
    with pytest.raises(DeviceError, match="not a hardware description"):
        read_units(path)


def test_published_addresses_depend_on_the_family():
    assert default_units("XC7Z020")["compute"] == 0x43C02000
    assert default_units("ZU7EV")["compute"] == 0xA0002000


def test_missing_pynq_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynq", None)
    with pytest.raises(DeviceError, match=r"--device pynq: pynq cannot be imported .*; run this rank on a PYNQ image"):
        open_device("pynq", DeviceSetup(PYNQ, str(bit(tmp_path / f"{NAME}.bit"))))


def test_missing_bitstream_option_is_one_line():
    with pytest.raises(DeviceError, match="no bitstream named; give --bitstream FILE"):
        open_device("pynq", DeviceSetup(PYNQ))
    with pytest.raises(DeviceError, match="no board description; name a --cluster"):
        open_device("pynq")
