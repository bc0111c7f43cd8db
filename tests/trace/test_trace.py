"""A trace written by ranks, merged and read back; and what the reader refuses."""

import h5py
import numpy as np
import pytest
from trace_cases import run_record

from mpi_vta.errors import ArtifactError, OutputLostError
from mpi_vta.trace.merge import merge
from mpi_vta.trace.reader import read
from mpi_vta.trace.schema import EVENT_DTYPE, IMAGE_DTYPE, VERSION, EventKind, RankInfo
from mpi_vta.trace.seal import SEAL_BYTES, seal
from mpi_vta.trace.writer import BATCH_RECORDS, RankTrace


def info(rank):
    return RankInfo(rank, "here", "pynq_z1", "pynq_1x16", "sim", 1.5, 2.5, "a data sheet", 100.0, 100_000, 512, 8)


def rank_file(tmp_path, rank, launches):
    trace = RankTrace(tmp_path / f"rank-{rank}.h5", info(rank))
    for image, (start_ns, end_ns) in enumerate(launches):
        trace.record(EventKind.LAUNCH, start_ns, end_ns, stage=rank, image=image)
    return trace.close()


@pytest.fixture
def run_file(tmp_path):
    files = [rank_file(tmp_path, 0, [(0, 10), (30, 40)]), rank_file(tmp_path, 1, [(20, 50)])]
    images = np.array([(0, 0, 50, 50)], IMAGE_DTYPE)
    merge(tmp_path / "run.h5", files, run_record('{"format": "plan"}', images, {"commit": "abc", "time": "modelled"}))
    return tmp_path / "run.h5"


def test_merged_trace_reads_back(run_file):
    trace = read(run_file)
    assert trace.attributes["commit"] == "abc"
    assert trace.attributes["complete"] == 1
    assert trace.models[0].plan_json == '{"format": "plan"}'
    assert trace.models[0].images["latency_ns"].tolist() == [50]
    assert trace.clock["offset_ns"].tolist() == [0.0, 0.0]
    assert trace.ranks[0].events["start_ns"].tolist() == [0, 30]
    assert trace.ranks[1].attributes["board"] == "pynq_z1"


def test_power_is_busy_during_launches_and_covers_the_run(run_file):
    power = read(run_file).ranks[0].power
    assert power.tolist() == [(0, 10, 2.5), (10, 30, 1.5), (30, 40, 2.5), (40, 50, 1.5)]


def test_events_beyond_one_batch_are_kept_in_order(tmp_path):
    count = 2 * BATCH_RECORDS + 3
    data = rank_file(tmp_path, 0, [(i, i + 1) for i in range(count)])
    merge(tmp_path / "run.h5", [data], run_record("{}", np.zeros(0, IMAGE_DTYPE), {}))
    events = read(tmp_path / "run.h5").ranks[0].events
    assert np.array_equal(events["start_ns"], np.arange(count))
    assert set(events["kind"].tolist()) == {EventKind.LAUNCH}


def test_flushed_events_survive_a_killed_writer(tmp_path):
    trace = RankTrace(tmp_path / "rank.h5", info(0))
    trace.record(EventKind.SEND, 1, 2, stage=0, image=7, peer=3, size_bytes=99)
    trace.flush()
    copy = tmp_path / "copy.h5"
    copy.write_bytes((tmp_path / "rank.h5").read_bytes())
    with h5py.File(copy, "r") as file:
        event = file["ranks/000/events"][0]
    assert (event["image"], event["peer"], event["bytes"]) == (7, 3, 99)
    trace.close()


def test_merge_leaves_no_partial_file(run_file):
    assert not list(run_file.parent.glob("*.part"))


def test_missing_trace_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no such trace"):
        read(tmp_path / "none.h5")


def test_file_that_is_not_hdf5_is_refused(tmp_path):
    (tmp_path / "run.h5").write_text("no")
    with pytest.raises(ArtifactError, match="not a readable trace"):
        read(tmp_path / "run.h5")


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("format", "else", "not a trace"),
        ("version", VERSION + 1, f"trace of version {VERSION + 1}; allowed: version 1 or 2 or {VERSION}"),
        ("complete", 0, "was not finished"),
    ],
)
def test_trace_of_another_kind_version_or_state_is_refused(run_file, attribute, value, message):
    with h5py.File(run_file, "a") as file:
        file.attrs[attribute] = value
    seal(run_file)
    with pytest.raises(ArtifactError, match=message):
        read(run_file)


def test_trace_that_lacks_a_part_is_refused(run_file):
    with h5py.File(run_file, "a") as file:
        del file["models/000/images"]
    seal(run_file)
    with pytest.raises(ArtifactError, match="not a readable trace"):
        read(run_file)


def test_a_flipped_bit_anywhere_is_found(run_file):
    whole = run_file.read_bytes()
    for place in range(0, len(whole), 997):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        run_file.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=r"run.h5: .*(does not match its SHA-256|not an HDF5 file)"):
            read(run_file)


def test_a_cut_file_is_found(run_file):
    whole = run_file.read_bytes()
    for length in range(0, len(whole), 2999):
        run_file.write_bytes(whole[:length])
        with pytest.raises(ArtifactError, match=r"run.h5: .*(does not match its SHA-256|not an HDF5 file)"):
            read(run_file)


def test_a_trace_without_its_seal_is_refused(run_file):
    run_file.write_bytes(run_file.read_bytes()[SEAL_BYTES:])
    with pytest.raises(ArtifactError, match="the trace has lost its SHA-256; take the file that the pipeline wrote"):
        read(run_file)


def test_a_trace_of_version_1_is_read(run_file):
    new = read(run_file)
    narrow = np.dtype([(name, "<i2" if name == "edge" else EVENT_DTYPE[name]) for name in EVENT_DTYPE.names])
    with h5py.File(run_file, "a") as file:
        file.attrs["version"] = 1
        for rank in file["ranks"].values():
            events = rank["events"][:].astype(narrow)
            del rank["events"]
            rank.create_dataset("events", data=events)
    run_file.write_bytes(run_file.read_bytes()[SEAL_BYTES:])
    old = read(run_file)
    for rank, record in old.ranks.items():
        assert np.array_equal(record.events, new.ranks[rank].events)
        assert record.events.dtype == EVENT_DTYPE


def test_edges_beyond_16_bits_are_kept(tmp_path):
    trace = RankTrace(tmp_path / "rank.h5", info(0))
    trace.record(EventKind.SEND, 1, 2, stage=0, image=0, peer=0, edge=64 * 63 * 21, size_bytes=1)
    merge(tmp_path / "run.h5", [trace.close()], run_record("{}", np.zeros(0, IMAGE_DTYPE), {}))
    assert read(tmp_path / "run.h5").ranks[0].events["edge"].tolist() == [64 * 63 * 21]


@pytest.mark.parametrize("kind", ["external", "virtual", "soft link", "external link"])
def test_no_other_file_is_opened(run_file, tmp_path, kind):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file.create_dataset("images", data=np.zeros(3, IMAGE_DTYPE))
    with h5py.File(run_file, "a") as file:
        model = file["models/000"]
        del model["images"]
        if kind == "external":
            external = [(str(secret), 0, 3 * IMAGE_DTYPE.itemsize)]
            model.create_dataset("images", shape=(3,), dtype=IMAGE_DTYPE, external=external)
        elif kind == "virtual":
            layout = h5py.VirtualLayout((3,), IMAGE_DTYPE)
            layout[:] = h5py.VirtualSource(str(secret), "images", (3,))
            model.create_virtual_dataset("images", layout)
        else:
            link = h5py.SoftLink("plan") if kind == "soft link" else h5py.ExternalLink(str(secret), "images")
            model["images"] = link
    seal(run_file)
    with pytest.raises(ArtifactError, match=r"not a readable trace \(images (keeps its data in another|is not there)"):
        read(run_file)


def test_a_claimed_size_is_not_believed(run_file):
    with h5py.File(run_file, "a") as file:
        del file["models/000/images"]
        file.create_dataset("models/000/images", shape=(10**12,), dtype=IMAGE_DTYPE, chunks=(1000,))
    seal(run_file)
    with pytest.raises(ArtifactError, match="images claims 1000000000000 rows, and the file holds 0 bytes of them"):
        read(run_file)


def test_trace_that_was_removed_is_told_and_never_another_one_read(tmp_path):
    trace = RankTrace(tmp_path / "rank.h5", info(0))
    (tmp_path / "rank.h5").unlink()
    with pytest.raises(
        OutputLostError, match=r"rank\.h5: the trace was removed while the job ran; start the job again"
    ):
        trace.flush()


def test_trace_is_not_written_through_a_link(tmp_path):
    (tmp_path / "target").write_bytes(b"somebody else's")
    (tmp_path / "rank.h5.part").symlink_to(tmp_path / "target")
    trace = RankTrace(tmp_path / "rank.h5", info(0))
    assert trace.close() == (tmp_path / "rank.h5").read_bytes()
    assert (tmp_path / "target").read_bytes() == b"somebody else's"


def test_removing_a_trace_leaves_that_of_another_job(tmp_path):
    trace = RankTrace(tmp_path / "ranks" / "rank.h5", info(0))
    trace.close()
    (tmp_path / "ranks" / "rank.h5").unlink()
    (tmp_path / "ranks" / "rank.h5").write_bytes(b"another job's")
    trace.remove()
    assert (tmp_path / "ranks" / "rank.h5").read_bytes() == b"another job's"
