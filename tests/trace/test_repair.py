"""A run that ended early is made into a trace; clocks of measured runs are brought together."""

import json

import h5py
import numpy as np
import pytest
from trace_cases import IMAGES, PLAN, SOURCE, US, image_rows, info, opening, provenance, run_record, write_ranks

from mpi_vta.errors import ArtifactError
from mpi_vta.plans.plan import SINK, Plan, Stage
from mpi_vta.trace.merge import merge
from mpi_vta.trace.reader import read
from mpi_vta.trace.repair import ModelOpening, Opening, opening_path, repair
from mpi_vta.trace.run import Run
from mpi_vta.trace.schema import CLOCK_SAMPLE_DTYPE, EventKind
from mpi_vta.trace.summary import summary_lines
from mpi_vta.trace.writer import RankTrace


@pytest.fixture
def ended_early(tmp_path):
    write_ranks(tmp_path)
    opening(IMAGES + 3).save(tmp_path)
    return tmp_path


SMALL_PLAN = Plan("small", "fused", 1, (Stage(0, ("d",), (0,), 900, (9 * US,), (0,)),), (), 1, {})


@pytest.fixture
def two_ended_early(tmp_path):
    """Leave what a run of two models leaves: one on ranks 0 and 1, the other, `small`, of 3 of 5 images, on rank 2."""
    write_ranks(tmp_path)
    two = RankTrace(tmp_path / "ranks" / "rank-002.h5", info(2))
    two.note_stages({0: 900})
    for i in range(3):
        two.record(EventKind.START, 10 * i * US, 10 * i * US, stage=SOURCE, image=i, model=1)
        two.record(EventKind.LAUNCH, 10 * i * US, (10 * i + 9) * US, stage=0, image=i, model=1)
        two.record(EventKind.FINISH, (10 * i + 9) * US, (10 * i + 9) * US, stage=SINK, image=i, model=1)
    two.close()
    models = (
        ModelOpening(PLAN.to_json(), IMAGES + 3, {"name": "net", "ranks": [0, 1]}),
        ModelOpening(SMALL_PLAN.to_json(), 5, {"name": "small", "ranks": [2], "model": "small", "strategy": "fused"}),
    )
    Opening(3, provenance(), models).save(tmp_path)
    return tmp_path


def test_repaired_run_of_several_models_holds_each_one_s_images(two_ended_early):
    trace = read(repair(two_ended_early)[0])
    assert [part.attributes["name"] for part in trace.models] == ["net", "small"]
    assert trace.models[0].images.tolist() == image_rows().tolist()
    assert trace.models[1].images.tolist() == [(i, 10 * i * US, (10 * i + 9) * US, 9 * US) for i in range(3)]
    lines = summary_lines(Run(trace, 1))
    assert lines[0] == "small, fused, 1 rank (modelled)"
    assert lines[-1] == "warning     the run ended early: 3 of 5 images; ranks left out: none"


@pytest.mark.parametrize(("lost", "finished"), [(0, (0, 3)), (1, (IMAGES, 3)), (2, (IMAGES, 0))])
def test_rank_of_one_of_several_models_can_be_left_out(two_ended_early, lost, finished):
    (two_ended_early / "ranks" / f"rank-00{lost}.h5").unlink()
    path, missing = repair(two_ended_early, without_missing=True)
    assert missing == (lost,)
    trace = read(path)
    assert tuple(len(part.images) for part in trace.models) == finished
    for number, images in enumerate(finished):
        if images:
            assert len(Run(trace, number).images) == images
        else:
            with pytest.raises(ArtifactError, match="no image was finished"):
                Run(trace, number)


def test_opening_of_several_models_is_read_as_it_was_written(two_ended_early):
    opening = Opening.load(two_ended_early)
    assert [(model.images, model.attributes["name"]) for model in opening.models] == [(IMAGES + 3, "net"), (5, "small")]
    assert opening.models[1].plan_json == SMALL_PLAN.to_json()


@pytest.mark.parametrize(
    ("attributes", "message"),
    [({"name": "small", "ranks": [3]}, "3 is not a whole number from 0 to 2"), ({"ranks": [2]}, "'name' is missing")],
)
def test_opening_of_several_models_is_checked(two_ended_early, attributes, message):
    path = opening_path(two_ended_early)
    data = json.loads(path.read_text())
    data["models"][1]["attributes"] = attributes
    path.write_text(json.dumps(data))
    with pytest.raises(ArtifactError, match=f"not a readable run opening .{message}"):
        repair(two_ended_early)


@pytest.mark.parametrize(
    ("noted", "message"),
    [
        ({"part": "x"}, "part: 'x' is not a whole number"),
        ({"part": [1]}, r"part: \(1,\) is not a whole number"),
        ({"part": 1000}, "part: 1000 is not a whole number from 0 to 999"),
        ({"part": 10**30}, r"part: 1e\+30 is not a whole number"),
        ({"time": 5}, "time: 5 is not a text"),
        ({"models": "net"}, "models: 'net' is not a list"),
        ({"image_numbers": [1]}, r"image_numbers: \(1,\) is not a text"),
        ({"commit": "a\0b"}, r"commit: 'a.x00b' is not a text of Unicode characters"),
        ({"commit": "\ud800"}, r"commit: '.ud800' is not a text of Unicode characters"),
        ({"noted": [1] * 5000}, "noted: 5000 values, more than 4096"),
        ({"noted": {}}, r"provenance.noted: \{\} is not a list"),
        ({"version": 3}, "'version' is no name of a note"),
        ({"complete": 1}, "'complete' is no name of a note"),
        ({"": 1}, "'' is no name of a note"),
    ],
)
def test_provenance_of_another_type_is_refused(ended_early, noted, message):
    path = opening_path(ended_early)
    data = json.loads(path.read_text())
    data["provenance"] |= noted
    path.write_text(json.dumps(data))
    with pytest.raises(ArtifactError, match=f"run.json: not a readable run opening .{message}"):
        repair(ended_early)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_opening_of_an_earlier_version_is_read(ended_early, version):
    path = opening_path(ended_early)
    data = json.loads(path.read_text())
    (model,) = data.pop("models")
    del model["attributes"]
    for rank in (ended_early / "ranks").glob("*.h5"):
        with h5py.File(rank, "a") as file:
            file.attrs["version"] = min(version, 2)
    path.write_text(json.dumps({**data, **model, "version": version, **({"models": []} if version == 3 else {})}))
    (found,) = read(repair(ended_early)[0]).models
    assert found.images.tolist() == image_rows().tolist()
    assert (found.attributes["name"], found.attributes["ranks"].tolist()) == ("net", [0, 1])


def test_opening_of_several_models_of_version_3_is_read(two_ended_early):
    path = opening_path(two_ended_early)
    data = json.loads(path.read_text())
    first = data["models"][0]
    of_first = {"plan_json": first["plan_json"], "images": first["images"]}
    path.write_text(json.dumps({**data, **of_first, "version": 3}))
    trace = read(repair(two_ended_early)[0])
    assert [(part.attributes["name"], len(part.images)) for part in trace.models] == [("net", IMAGES), ("small", 3)]


def test_opening_without_models_is_refused(ended_early):
    path = opening_path(ended_early)
    path.write_text(json.dumps({**json.loads(path.read_text()), "models": []}))
    with pytest.raises(ArtifactError, match=r"not a readable run opening \(no models\)"):
        repair(ended_early)


def test_repaired_run_holds_the_finished_images(ended_early):
    path, missing = repair(ended_early)
    trace = read(path)
    assert missing == ()
    (model,) = trace.models
    assert model.images.tolist() == image_rows().tolist()
    assert (trace.attributes["repaired"], model.attributes["images_asked"]) == (1, IMAGES + 3)
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
    path.write_text(path.read_text().replace('"version": 4', '"version": 9', 1))
    with pytest.raises(
        ArtifactError, match=r"holds .* version 9; allowed: .* version 1, 2, 3, 4; use the release that"
    ):
        repair(ended_early)


def test_rank_file_of_another_version_is_refused(ended_early):
    with h5py.File(ended_early / "ranks" / "rank-001.h5", "a") as file:
        file.attrs["version"] = 9
    with pytest.raises(
        ArtifactError, match=r"rank-001.h5: holds mpi_vta rank trace version 9; allowed: .* 1 or 2 or 3"
    ):
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
    merge(folder / "run.h5", files, run_record(PLAN.to_json(), image_rows(), provenance(time="measured")))
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
