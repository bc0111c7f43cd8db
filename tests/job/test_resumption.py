"""What an output folder says of the job that it holds, and what a part finds of the parts before it."""

import json
import shutil

import pytest

from mpi_vta.errors import ArtifactError, InputError, OutputLostError
from mpi_vta.job.model_list import folders_there, list_path, save_labels
from mpi_vta.job.prepare import prepare, to_run
from mpi_vta.job.results import answer_lines, conclude, open_run
from mpi_vta.job.resumption import check_folder, keep_earlier_trace, next_part, part_path
from mpi_vta.pipeline import parse
from mpi_vta.runtime.output_set import OutputSet
from mpi_vta.runtime.progress import Silent
from mpi_vta.runtime.session import command_rank, follow
from mpi_vta.runtime.transport.local import run_ranks
from mpi_vta.trace.reader import read
from mpi_vta.trace.repair import opening_path

pytestmark = pytest.mark.usefixtures("shared_cache")

TWO = ("--model", "digits", "--model", "digits")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def request_of(out):
    def make(*options, models=TWO, resume=False):
        return parse([*models, "--images", "6", "--resume" if resume else "--output", str(out), *options])

    return make


def run_request(request, ranks):
    """Run a request over threads, and return rank 0's summary."""
    summaries = []

    def command(leader):
        models = prepare(request, leader.ranks, Silent())
        running = to_run(models)
        if running:
            open_run(request, running)
        results = leader.run([model.job for model in running]) if running else ()
        summaries.append(conclude(request, models, results))
        return 0

    assert set(run_ranks(ranks, lambda t: command_rank(t, command) if t.rank == 0 else follow(t))) == {0}
    return summaries[0]


def end_early(request, ranks, images_by_model):
    """Leave what a job leaves that ends when so many images of each model, of zeros, are there; None: not begun."""
    models = to_run(prepare(request, ranks, Silent()))
    open_run(request, models)
    for model, images in zip(models, images_by_model, strict=True):
        if images is not None:
            with OutputSet.begin(model.remainder.outputs) as outputs:
                outputs.put(range(images), {name: array[:images] for name, array in outputs.arrays().items()})


def test_list_of_models_is_read_as_it_was_written(out):
    assert folders_there(out) == ()
    save_labels(out, ["a", "b-1", "b-2"])
    assert folders_there(out) == (out / "a", out / "b-1", out / "b-2")


def test_only_model_needs_no_list(out):
    save_labels(out, ["a"])
    assert not out.exists()
    (out / "outputs").mkdir(parents=True)
    (out / "outputs" / "set.json").write_text("")
    assert folders_there(out) == (out,)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"format": "mpi_vta models", "version": 1}',
        '{"format": "mpi_vta models", "version": 1, "models": []}',
        '{"format": "mpi_vta models", "version": 1, "models": [1]}',
        '{"format": "mpi_vta models", "version": 1, "models": ["../other"]}',
        '{"format": "mpi_vta models", "version": 1, "models": ["a", ".."]}',
        '{"format": "mpi_vta models", "version": 1, "models": ["a"]}',
    ],
)
def test_damaged_list_of_models_is_refused(request_of, out, text):
    out.mkdir()
    list_path(out).write_text(text)
    for resume in (False, True):
        with pytest.raises(ArtifactError, match=r"models.json: not a readable list of models .*; remove the folder"):
            prepare(request_of(resume=resume), 2, Silent())


def test_list_of_models_of_another_version_is_refused(out):
    save_labels(out, ["a", "b"])
    list_path(out).write_text(json.dumps({**json.loads(list_path(out).read_text()), "version": 9}))
    with pytest.raises(ArtifactError, match=r"holds mpi_vta models version 9; allowed: mpi_vta models version 1"):
        folders_there(out)


@pytest.mark.parametrize("begun", [(2, None), (None, 6), (None, None)], ids=["first", "all of second", "none"])
def test_model_that_was_not_come_to_is_run_with_the_rest(request_of, out, begun):
    whole = run_request(request_of(), 2)
    summary_hash = whole["models"][0]["output_sha256"]
    end_early(request_of(), 2, begun)
    found = run_request(request_of(resume=True), 2)
    done = [images or 0 for images in begun]
    assert [single["images"] for single in found["models"]] == [6 - images for images in done]
    assert [single["resumed"]["images_before"] for single in found["models"]] == done
    assert [bool(single["on_ranks"]) for single in found["models"]] == [images < 6 for images in done]
    # a model that was not begun is whole; zeros are not the other one's outputs
    same = [single["output_sha256"] == summary_hash for single in found["models"]]
    assert same == [not images for images in done]
    assert found["ranks"] == 2


@pytest.mark.parametrize("models", [TWO[:2], TWO], ids=["one", "two"])
def test_job_that_an_earlier_release_began_is_gone_on_with(request_of, out, models):
    request, resumed = request_of(models=models), request_of(models=models, resume=True)
    whole = run_request(request, 2)
    end_early(request, 2, [2] * (len(models) // 2))
    path = opening_path(out)
    opening = json.loads(path.read_text())
    first = opening["models"][0]
    notes = {name: value for name, value in first["attributes"].items() if name not in ("name", "ranks")}
    opening |= {"version": 3, "plan_json": first["plan_json"], "images": first["images"]}
    opening["provenance"] |= notes
    path.write_text(json.dumps({**opening, "models": opening["models"] if len(models) > 2 else []}))
    found = run_request(resumed, 2)
    assert [model["resumed"]["images_before"] for model in found["models"]] == [2] * len(found["models"])
    assert [model["name"] for model in found["models"]] == [model["name"] for model in whole["models"]]


def test_models_may_be_named_in_another_order(request_of, out):
    save_labels(out, ["a", "b"])
    check_folder(request_of(resume=True), [out / "b", out / "a"])
    with pytest.raises(InputError, match=r"what is there is of other models: a, b; repeat the --model options"):
        check_folder(request_of(resume=True), [out / "b", out / "c"])


def test_nothing_left_of_several_models(request_of, out):
    first = run_request(request_of(), 2)
    (out / "summary.json").unlink()
    found = run_request(request_of(resume=True), 3)
    assert (found["ranks"], [single["images"] for single in found["models"]]) == (0, [0, 0])
    for before, after in zip(first["models"], found["models"], strict=True):
        assert after["output_sha256"] == before["output_sha256"]
        assert after["resumed"] == {"part": 1, "images_before": 6, "images_of_job": 6}
        assert not any(line.startswith("resumed") for line in answer_lines(after))
    assert json.loads((out / "summary.json").read_text()) == found


def test_unfinished_job_is_kept_from_every_other_job(request_of, out):
    end_early(request_of(), 2, (1, 1))
    for other in (request_of(), request_of(models=TWO[:2]), request_of("--device", "timing")):
        with pytest.raises(InputError, match=r"--output .*: it holds a job that ended early, which would be lost; go"):
            prepare(other, 2, Silent())
    prepare(request_of("--dry-run"), 2, Silent())


def test_finished_job_is_replaced_without_a_trace(request_of, out):
    run_request(request_of(), 2)
    open_run(request_of(models=TWO[:2]), to_run(prepare(request_of(models=TWO[:2]), 2, Silent())))
    assert folders_there(out) == ()
    assert not list(out.rglob("set.json"))
    assert not (out / "summary.json").exists()


def test_trace_of_an_earlier_part_is_made_once(request_of, out):
    end_early(request_of(), 2, (0, 0))
    assert next_part(out) == 1
    target = part_path(out, 0)
    target.parent.mkdir()
    target.write_bytes(b"merged before the job was killed, and some of the ranks' files removed")
    keep_earlier_trace(out, 1)
    assert target.read_bytes().startswith(b"merged before")
    assert not (out / "ranks").exists()


def test_trace_holds_the_models_that_a_part_ran(request_of, out):
    run_request(request_of(), 2)
    end_early(request_of(), 2, (6, 2))
    run_request(request_of(resume=True), 2)
    trace = read(out / "run.h5")
    (part,) = trace.models
    assert (part.attributes["name"], part.attributes["ranks"].tolist()) == ("digits-2", [0, 1])
    assert (part.attributes["image_numbers"], part.attributes["images_of_job"]) == ("2..5", 6)
    assert trace.attributes["part"] == 1


def test_part_of_another_type_is_refused(request_of, out):
    end_early(request_of(), 2, (1, 1))
    path = opening_path(out)
    data = json.loads(path.read_text())
    data["provenance"]["part"] = "x"
    path.write_text(json.dumps(data))
    with pytest.raises(ArtifactError, match=r"run\.json: not a readable run opening \(part: 'x' is not a whole number"):
        prepare(request_of(resume=True), 2, Silent())


@pytest.mark.parametrize("name", ["ranks", "parts"])
def test_folder_in_the_output_folder_is_no_link(request_of, out, tmp_path, name):
    end_early(request_of(), 2, (1, 1))
    request = request_of(resume=True)
    models = to_run(prepare(request, 2, Silent()))
    if (out / name).exists():
        (out / name).rename(tmp_path / "elsewhere")
    else:
        (tmp_path / "elsewhere").mkdir()
    (out / name).symlink_to(tmp_path / "elsewhere")
    before = sorted((tmp_path / "elsewhere").iterdir())
    with pytest.raises(
        InputError, match=rf"--resume \S+: cannot write the trace of .* link, .*: \S+{name}\); make room"
    ):
        open_run(request, models)
    assert sorted((tmp_path / "elsewhere").iterdir()) == before


def test_folder_removed_before_the_run_is_told(request_of, out):
    models = to_run(prepare(request_of(), 2, Silent()))
    shutil.rmtree(out)
    with pytest.raises(OutputLostError, match=r"--output .*: the folder was removed or renamed while the job ran"):
        open_run(request_of(), models)
    assert not out.exists()
