"""Outputs on disk: an image is whole or not there, wherever its writer was stopped."""

import errno
import os
import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpi_vta.errors import ArtifactError, InputError, IntegrityError, OutputLostError
from mpi_vta.runtime import output_set
from mpi_vta.runtime.output_set import DONE_DTYPE, Identity, OutputPlace, OutputSet, PartOutputs

IMAGES = 5
SHAPES = {"a/b": (1, 2, 3, 1), "../c": (1, 4, 1, 1)}
IDENTITY = Identity("net", "seed 0", "ab" * 32, IMAGES, "cd" * 32)


def place_in(folder):
    return OutputPlace(str(folder / "outputs"), IDENTITY, SHAPES)


def values_of(images, seed=0):
    every = np.random.default_rng(seed)
    whole = {name: every.integers(-128, 128, (IMAGES, *shape[1:])).astype(np.int8) for name, shape in SHAPES.items()}
    return {name: array[list(images)] for name, array in whole.items()}


def test_images_are_kept_in_any_order_and_read_back(tmp_path):
    place = place_in(tmp_path)
    with OutputSet.begin(place) as outputs:
        outputs.put([3], values_of([3]))
        outputs.put([0, 1], values_of([0, 1]))
    with OutputSet(place) as outputs:
        assert outputs.done().tolist() == [True, True, False, True, False]
        arrays = outputs.arrays()
    for name, array in values_of(range(IMAGES)).items():
        assert np.array_equal(arrays[name][[0, 1, 3]], array[[0, 1, 3]])
        assert not arrays[name][[2, 4]].any()


def test_files_are_plain_arrays_whatever_the_outputs_are_called(tmp_path):
    with OutputSet.begin(place_in(tmp_path)) as outputs:
        outputs.put(range(IMAGES), values_of(range(IMAGES)))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["000.npy", "001.npy", "done", "outputs", "set.json"]
    for number, array in enumerate(values_of(range(IMAGES)).values()):
        assert np.array_equal(np.load(tmp_path / "outputs" / f"{number:03d}.npy"), array)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), groups=st.lists(st.integers(1, 2), min_size=1, max_size=3))
def test_writer_stopped_at_any_byte_leaves_whole_images_or_none(tmp_path_factory, data, groups):
    folder = tmp_path_factory.mktemp("outputs")
    place = place_in(folder)
    borders = np.cumsum([0, *groups]).clip(max=IMAGES)
    written = []

    def record(descriptor, payload, offset=None):
        written.append((os.readlink(f"/proc/self/fd/{descriptor}"), bytes(payload), offset))
        return len(payload)

    with OutputSet.begin(place) as outputs, pytest.MonkeyPatch.context() as patch:
        patch.setattr(output_set.os, "pwrite", record)
        patch.setattr(output_set.os, "write", record)
        for first, last in pairwise(borders):
            if first < last:
                outputs.put(range(first, last), values_of(range(first, last)))
    # replay what was written up to some byte of some write
    stop = data.draw(st.integers(0, sum(len(payload) for _, payload, _ in written)))
    for path, payload, offset in written:
        part = payload[: max(stop, 0)]
        stop -= len(payload)
        with open(path, "r+b") as file:
            file.seek(0, os.SEEK_END) if offset is None else file.seek(offset)
            file.write(part)
    with OutputSet(place) as outputs:
        done, arrays = outputs.done(), outputs.arrays()
        for image in np.flatnonzero(done):
            assert all(np.array_equal(arrays[name][image], a[0]) for name, a in values_of([image]).items())
        # what was left out can be added, and nothing shifts
        left = np.flatnonzero(~done).tolist()
        outputs.put(left, values_of(left))
        assert outputs.done().all()


def test_changed_byte_makes_the_image_one_that_is_not_there(tmp_path):
    place = place_in(tmp_path)
    with OutputSet.begin(place) as outputs:
        outputs.put(range(IMAGES), values_of(range(IMAGES)))
    path = tmp_path / "outputs" / "001.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with OutputSet(place) as outputs:
        assert outputs.done().tolist() == [True] * (IMAGES - 1) + [False]


def test_listed_images_out_of_range_are_no_images(tmp_path):
    place = place_in(tmp_path)
    OutputSet.begin(place).close()
    (tmp_path / "outputs" / "done").write_bytes(np.array([(-1, 0), (IMAGES, 0), (1 << 30, 7)], DONE_DTYPE).tobytes())
    with OutputSet(place) as outputs:
        assert not outputs.done().any()


def test_part_numbers_its_images_from_0(tmp_path):
    place = place_in(tmp_path)
    whole = OutputSet.begin(place)
    whole.put([0, 2, 3], values_of([0, 2, 3]))
    part = PartOutputs(whole, (1, 4))
    part.put(range(1, 2), values_of([4]))
    assert whole.done().tolist() == [True, False, True, True, True]
    part.put(range(1), values_of([1]))
    found = part.close()
    for name, array in values_of(range(IMAGES)).items():
        assert np.array_equal(found[name], array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "other"}, "of other model: net, not other"),
        ({"weights": "seed 1"}, "of other weights: seed 0, not seed 1"),
        ({"graph_sha256": "ef" * 32}, "of other weights or quantisation: abababababababab, not efefefefefefefef"),
        ({"images": 9}, "of other number of images: 5, not 9"),
        ({"images_sha256": "ef" * 32}, "of other images: cdcdcdcdcdcdcdcd, not efefefefefefefef"),
    ],
)
def test_outputs_of_something_else_are_refused(tmp_path, change, message):
    place = place_in(tmp_path)
    OutputSet.begin(place).close()
    with pytest.raises(InputError, match=message):
        OutputSet(replace(place, identity=replace(IDENTITY, **change)))


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b'{"format": "mpi_vta outputs", "version": 9}'])
def test_damaged_description_is_refused(tmp_path, content):
    place = place_in(tmp_path)
    OutputSet.begin(place).close()
    (tmp_path / "outputs" / "set.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"set.json"):
        OutputSet(place)


def test_outputs_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"set.json: no outputs there; go on in a folder that the hosts of the job"):
        OutputSet(place_in(tmp_path))


def test_outputs_of_another_version_are_refused(tmp_path):
    place = place_in(tmp_path)
    OutputSet.begin(place).close()
    path = tmp_path / "outputs" / "set.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 9'))
    with pytest.raises(ArtifactError, match=r"version 9; allowed: mpi_vta outputs version 1"):
        OutputSet(place)


@pytest.mark.parametrize("damage", ["missing", "header"])
def test_damaged_array_is_refused(tmp_path, damage):
    place = place_in(tmp_path)
    OutputSet.begin(place).close()
    path = tmp_path / "outputs" / "001.npy"
    path.unlink() if damage == "missing" else path.write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match="remove the folder"):
        OutputSet(place)


ODD_PLACES = [
    (lambda path: path.symlink_to(path.parent.parent / "target"), "a symbolic link, which is not followed"),
    (os.mkfifo, "a pipe or device, not a file"),
    (os.mkdir, "Is a directory"),
]


@pytest.mark.parametrize("name", ["done", "001.npy"])
@pytest.mark.parametrize(("put", "reason"), ODD_PLACES, ids=["link", "pipe", "folder"])
def test_outputs_that_are_no_files_are_refused(tmp_path, name, put, reason):
    place = place_in(tmp_path)
    OutputSet.begin(place).close()
    (tmp_path / "target").write_bytes(b"somebody else's")
    (tmp_path / "outputs" / name).unlink()
    put(tmp_path / "outputs" / name)
    with pytest.raises(ArtifactError, match=rf"outputs/{name}: the outputs cannot be opened \({reason}\); remove the"):
        OutputSet(place)
    assert (tmp_path / "target").read_bytes() == b"somebody else's"


@pytest.mark.parametrize(("put", "reason"), ODD_PLACES, ids=["link", "pipe", "folder"])
def test_new_outputs_are_not_begun_through_what_is_no_file(tmp_path, put, reason):
    (tmp_path / "target").write_bytes(b"somebody else's")
    (tmp_path / "outputs").mkdir()
    put(tmp_path / "outputs" / "done")
    with pytest.raises(InputError, match=rf"cannot write the outputs \({reason}: \S+outputs/done\)"):
        OutputSet.begin(place_in(tmp_path))
    assert (tmp_path / "target").read_bytes() == b"somebody else's"


def test_folder_of_outputs_is_no_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "outputs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"a symbolic link, which is not followed: \S+outputs\)"):
        OutputSet.begin(place_in(tmp_path))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_array_that_is_a_link_makes_way_for_new_outputs(tmp_path):
    (tmp_path / "target").write_bytes(b"somebody else's")
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "000.npy").symlink_to(tmp_path / "target")
    OutputSet.begin(place_in(tmp_path)).close()
    assert (tmp_path / "target").read_bytes() == b"somebody else's"


def test_begun_anew_keeps_the_list_that_a_lock_may_lie_on(tmp_path, monkeypatch):
    monkeypatch.setattr(output_set, "_LOCK_WAIT_S", 0.0)
    place = place_in(tmp_path)
    with OutputSet.begin(place) as outputs:
        outputs.put([0], values_of([0]))
        with pytest.raises(InputError, match="another job is writing there"):
            OutputSet.begin(place)
        assert outputs.done().tolist() == [True, False, False, False, False]
    number = (tmp_path / "outputs" / "done").stat().st_ino
    with OutputSet.begin(place) as outputs:
        assert not outputs.done().any()
    assert (tmp_path / "outputs" / "done").stat().st_ino == number


def test_outputs_that_are_not_what_was_delivered_are_not_returned(tmp_path):
    part = PartOutputs(OutputSet.begin(place_in(tmp_path)), ())
    part.put(range(IMAGES), values_of(range(IMAGES)))
    with (tmp_path / "outputs" / "001.npy").open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(bytes([values_of([IMAGES - 1])["../c"].view(np.uint8).reshape(-1)[-1] ^ 1]))
    with pytest.raises(IntegrityError, match=r"outputs: the outputs of 1 images are not those .*, first of image 4; "):
        part.close()


def test_outputs_that_were_removed_are_told_with_the_next_image(tmp_path):
    with OutputSet.begin(place_in(tmp_path)) as outputs:
        outputs.put([0], values_of([0]))
        shutil.rmtree(tmp_path / "outputs")
        with pytest.raises(OutputLostError, match="outputs: the outputs were removed while the job ran; start the job"):
            outputs.put([1], values_of([1]))


def test_second_writer_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(output_set, "_LOCK_WAIT_S", 0.1)
    place = place_in(tmp_path)
    with OutputSet.begin(place), pytest.raises(InputError, match="another job is writing there"):
        OutputSet(place)


def test_disk_without_room_is_found_before_the_run(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(output_set.os, "posix_fallocate", refuse)
    with pytest.raises(InputError, match=r"--output .*: cannot write the outputs \(No space left on device\)"):
        OutputSet.begin(place_in(tmp_path))
    assert not place_in(tmp_path).exists()


def test_full_disk_loses_no_earlier_image(tmp_path, monkeypatch):
    place = place_in(tmp_path)
    outputs = OutputSet.begin(place)
    outputs.put([0], values_of([0]))
    whole_write = os.write
    monkeypatch.setattr(output_set.os, "write", lambda file, data: whole_write(file, data[:3]))
    with pytest.raises(InputError, match=r"cannot write the outputs \(No space left on device\)"):
        outputs.put([1], values_of([1]))
    monkeypatch.undo()
    outputs.put([2], values_of([2]))
    assert outputs.done().tolist() == [True, False, True, False, False]
    outputs.close()
