import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mpi_vta.errors import ConfigError, InputError
from mpi_vta.simulator.vectors import MAX_DRAM_BYTES, Extent, Vector

VECTORS = sorted((Path(__file__).parent.parent / "data" / "vectors").glob("*.npz"))


@pytest.fixture
def arrays():
    """Return the arrays of a good vector, to be spoilt."""
    with np.load(VECTORS[0]) as archive:
        return {name: archive[name] for name in archive.files}


def write(path, arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("path", VECTORS[::10], ids=lambda path: path.stem)
def test_vector_survives_saving(path, tmp_path):
    vector = replace(Vector.load(path), modelled_cycles=5)
    vector.save(tmp_path / "again.npz")
    again = Vector.load(tmp_path / "again.npz")
    assert (again.config, again.rtl_cycles, again.agreed) == (vector.config, vector.rtl_cycles, vector.agreed)
    assert (again.modelled_cycles, Vector.load(path).modelled_cycles) == (5, -1)
    np.testing.assert_array_equal(again.insns, vector.insns)
    for ours, theirs in ((again.initial, vector.initial), (again.expected, vector.expected)):
        assert [extent.address for extent in ours] == [extent.address for extent in theirs]
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one.content, other.content)


def test_image_holds_the_segments_and_zeros(arrays, tmp_path):
    image = Vector.load(write(tmp_path / "v.npz", arrays)).image()
    begin = 0
    seen = np.zeros(image.size, dtype=bool)
    for address, size in zip(arrays["dram_addr"], arrays["dram_size"], strict=True):
        np.testing.assert_array_equal(image[address : address + size], arrays["dram"][begin : begin + size])
        seen[address : address + size] = True
        begin += size
    assert not image[~seen].any()


def test_mismatched_bytes_are_counted(arrays, tmp_path):
    vector = Vector.load(write(tmp_path / "v.npz", arrays))
    image = vector.image()
    for extent in vector.expected:
        image[extent.address : extent.end] = extent.content
    assert vector.mismatched_bytes(image) == 0
    image[vector.expected[0].address + 3] ^= 1
    image[vector.expected[0].address + 9] ^= 0x80
    assert vector.mismatched_bytes(image) == 2


def change(key, value):
    return lambda arrays: arrays | {key: value}


FAULTS = {
    "no insns": (lambda arrays: {k: v for k, v in arrays.items() if k != "insns"}, "it has no insns"),
    "insns of another type": (
        lambda arrays: arrays | {"insns": arrays["insns"].astype(np.int64)},
        r"its insns is int64 of shape \(36, 2\); allowed: uint64 of shape \(any, 2\)",
    ),
    "insns of another shape": (
        lambda arrays: arrays | {"insns": arrays["insns"].reshape(-1)},
        r"its insns is uint64 of shape \(72,\)",
    ),
    "big-endian insns": (lambda arrays: arrays | {"insns": arrays["insns"].astype(">u8")}, "its insns is >u8"),
    "column order": (
        lambda arrays: arrays | {"insns": np.asfortranarray(arrays["insns"])},
        "its insns is not of plain numbers in row order",
    ),
    "objects": (change("dram", np.array([None])), "its dram is not of plain numbers in row order"),
    "cycles as an array": (change("rtl_cycles", np.array([1, 2])), r"its rtl_cycles is int64 of shape \(2,\)"),
    "sizes that do not add up": (
        lambda arrays: arrays | {"dram_size": arrays["dram_size"] + 1},
        "its dram segments do not add up",
    ),
    "negative size": (change("out_size", np.array([-8192])), "its out segments do not add up"),
    "address without size": (change("out_addr", np.array([0, 1])), "its out segments do not add up"),
    "address below 0": (change("out_addr", np.array([-1])), "a out segment lies outside DRAM; allowed: 0.."),
    "address beyond": (change("out_addr", np.array([1 << 40])), "a out segment lies outside DRAM"),
    "config that is no JSON": (change("config", np.frombuffer(b"{", dtype=np.uint8)), "its config is not JSON"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_faulty_array_is_refused(name, arrays, tmp_path):
    spoil, message = FAULTS[name]
    path = write(tmp_path / "v.npz", spoil(arrays))
    with pytest.raises(InputError, match=message) as caught:
        Vector.load(path)
    assert str(caught.value).startswith(str(path))


def test_illegal_configuration_is_refused(arrays, tmp_path):
    path = write(tmp_path / "v.npz", arrays | {"config": np.frombuffer(b'{"TARGET": "pynq"}', dtype=np.uint8)})
    with pytest.raises(ConfigError, match="config: illegal VTA configuration"):
        Vector.load(path)


def npy_header(shape):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (npy_header((1 << 50,)) + b"few", "its dram is cut short or has bytes left over"),
        (npy_header((2,)) + b"more", "its dram is cut short or has bytes left over"),
        (npy_header((-5,)) + b"", "its dram is not a NumPy array"),
        (npy_header((4,)).replace(b"|u1", b"|u3") + b"more", "its dram is of the unknown type |u3"),
        (b"\x93NUMPY\x01\x00\xff\xff", "its dram is not a NumPy array"),
        (b"not an array", "its dram is not a NumPy array"),
        (b"", "its dram is not a NumPy array"),
        (b"\x93NUMPY\x01\x00\x10\x00{'descr': [[[[[[ ", "its dram is not a NumPy array"),
    ],
)
def test_header_is_not_believed(raw, message, arrays, tmp_path):
    source, path = write(tmp_path / "good.npz", arrays), tmp_path / "bad.npz"
    with zipfile.ZipFile(source) as good, zipfile.ZipFile(path, "w") as bad:
        for name in good.namelist():
            bad.writestr(name, raw if name == "dram.npy" else good.read(name))
    with pytest.raises(InputError, match=message):
        Vector.load(path)


@pytest.mark.parametrize("keep_bytes", [0, 1, 100, 30_000])
def test_truncated_file_is_refused(keep_bytes, tmp_path):
    path = tmp_path / "cut.npz"
    path.write_bytes(VECTORS[0].read_bytes()[:keep_bytes])
    with pytest.raises(InputError, match="not a readable vector file"):
        Vector.load(path)


def test_damaged_content_is_refused(tmp_path):
    data = bytearray(VECTORS[0].read_bytes())
    for position in range(2000, 40_000, 500):
        data[position] ^= 0xFF
    path = tmp_path / "damaged.npz"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"damaged\.npz"):
        Vector.load(path)


def test_missing_file_is_reported(tmp_path):
    with pytest.raises(InputError, match="cannot read the vector"):
        Vector.load(tmp_path / "none.npz")


def test_program_that_reaches_too_far_is_refused(arrays, tmp_path):
    vector = Vector.load(write(tmp_path / "v.npz", arrays))
    insns = vector.insns.copy()
    insns[0, 0] |= np.uint64(0xFFFF_0000 << 26)
    far = Vector(vector.config, insns, vector.initial, (Extent(0, np.zeros(1, dtype=np.uint8)),))
    with pytest.raises(InputError, match=f"the program reaches DRAM byte .*; allowed: at most {MAX_DRAM_BYTES}"):
        far.image()
