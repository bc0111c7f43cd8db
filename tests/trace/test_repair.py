"""A run that ended early is made into a trace; clocks of measured runs are brought together."""

import h5py
import numpy as np
import pytest
from trace_cases import IMAGES, PLAN, US, image_rows, provenance, write_ranks

from mpi_vta.errors import ArtifactError
from mpi_vta.trace.merge import RunRecord, merge
from mpi_vta.trace.reader import read
from mpi_vta.trace.repair import Opening, repair
from mpi_vta.trace.schema import CLOCK_SAMPLE_DTYPE


@pytest.fixture
def ended_early(tmp_path):
    write_ranks(tmp_path)
    Opening(PLAN.to_json(), 2, IMAGES + 3, provenance()).save(tmp_path)
    return tmp_path


def test_repaired_run_holds_the_finished_images(ended_early):
    path, missing = repair(ended_early)
    trace = read(path)
    assert missing == ()
    assert trace.images.tolist() == image_rows().tolist()
    assert (trace.attributes["repaired"], trace.attributes["images_asked"]) == (1, IMAGES + 3)
    assert trace.attributes["commit"] == "abc"
    assert trace.links["messages"].tolist() == [IMAGES, IMAGES]


def test_missing_rank_file_is_named(ended_early):
    (ended_early / "ranks" / "rank-001.h5").unlink()
    with pytest.raises(ArtifactError, match=r"files of ranks 1 are not there.*--without-missing"):
        repair(ended_early)


def test_missing_rank_can_be_left_out(ended_early):
    (ended_early / "ranks" / "rank-001.h5").unlink()
    path, missing = repair(ended_early, without_missing=True)
    trace = read(path)
    assert missing == (1,)
    assert trace.attributes["missing_ranks"].tolist() == [1]
    assert trace.attributes["unmatched_messages"] == 2 * IMAGES


def test_no_rank_at_all_is_no_run(ended_early):
    for path in (ended_early / "ranks").glob("*.h5"):
        path.unlink()
    with pytest.raises(ArtifactError, match="ranks 0, 1 are not there"):
        repair(ended_early, without_missing=True)


def test_folder_without_an_unmerged_run_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no unmerged run there"):
        repair(tmp_path)


def test_damaged_opening_is_refused(ended_early):
    (ended_early / "ranks" / "run.json").write_text("{}")
    with pytest.raises(ArtifactError, match="not a readable run opening"):
        repair(ended_early)


def test_opening_of_another_version_is_refused(ended_early):
    path = ended_early / "ranks" / "run.json"
    path.write_text(path.read_text().replace('"version": 2', '"version": 9', 1))
    with pytest.raises(ArtifactError, match="version 9"):
        repair(ended_early)


def test_rank_file_of_another_version_is_refused(ended_early):
    with h5py.File(ended_early / "ranks" / "rank-001.h5", "a") as file:
        file.attrs["version"] = 9
    with pytest.raises(ArtifactError, match=r"rank-001.h5: holds mpi_vta rank trace version 9; allowed: .* 1 or 2"):
        repair(ended_early)


def test_damaged_rank_file_is_refused(ended_early):
    path = ended_early / "ranks" / "rank-001.h5"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ArtifactError, match="not a readable rank trace"):
        repair(ended_early)


def test_rank_file_is_not_a_run(ended_early):
    with pytest.raises(ArtifactError, match=r"the trace of one rank.*python -m mpi_vta.trace merge"):
        read(ended_early / "ranks" / "rank-000.h5")


def merge_measured(folder, shift_ns, samples):
    files = write_ranks(folder, shift_ns=shift_ns)
    if samples is not None:
        path = folder / "ranks" / "rank-001.h5"
        with h5py.File(path, "a") as file:
            file["ranks/001"].create_dataset("clock_samples", data=np.array(samples, CLOCK_SAMPLE_DTYPE))
        files[1] = path.read_bytes()
    merge(folder / "run.h5", files, RunRecord(PLAN.to_json(), image_rows(), provenance(time="measured")))
    return read(folder / "run.h5")


def test_measured_times_are_brought_to_rank_0_s_clock(tmp_path):
    trace = merge_measured(tmp_path, 5_000_000, [(0, 5_000_000, 100), (10**9, 5_000_000, 100)])
    assert trace.clock["offset_ns"].tolist() == [0.0, 5_000_000.0]
    assert trace.clock["error_ns"].tolist() == [0.0, 50.0]
    assert trace.attributes["backward_messages"] == 0
    assert trace.links["message_ns"].tolist() == [4 * 6 * US, 4 * 2 * US]


def test_measured_times_without_comparison_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match="rank 1 on host1: the clock of rank 1 was never compared"):
        merge_measured(tmp_path, 0, None)


def test_wrong_clock_shows_as_backward_messages(tmp_path):
    trace = merge_measured(tmp_path, 20 * US, [(0, 0.0, 100), (10**9, 0.0, 100)])
    assert trace.attributes["backward_messages"] == IMAGES
    assert trace.links["backward"].tolist() == [IMAGES, 0]
