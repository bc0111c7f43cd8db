"""``summary.json``: one form for one model and for several, and older files in today's form."""

import json
from pathlib import Path

import pytest

from mpi_vta.errors import ArtifactError
from mpi_vta.job.summary import FORMAT, VERSION, job_summary, read_summary
from mpi_vta.trace.reader import read
from mpi_vta.trace.run import Run

EARLIER = Path(__file__).parents[1] / "data" / "earlier"
OF_RUN = ("makespan_ms", "throughput_images_per_s", "latency_ms", "wall_s")


def test_whole_job_is_that_of_all_models():
    trace = read(EARLIER / "two.h5")
    runs = [Run(trace, number) for number in range(2)]
    latencies = [{"p50": 1.0, "p99": 5.0}, {"p50": 2.0, "p99": 4.0}]
    models = [{"on_ranks": [n], "images": 4, "latency_ms": latency} for n, latency in enumerate(latencies)]
    models.append({"on_ranks": [], "images": 0})
    found = job_summary(models, runs, time="modelled", device="sim", wall_s=0.5)
    end_ns = max(int(run.images["end_ns"].max()) for run in runs)
    assert (found["ranks"], found["images"], found["makespan_ms"]) == (2, 8, end_ns / 1e6)
    assert found["throughput_images_per_s"] == 8e9 / end_ns
    assert found["latency_ms"] == {"p50": 2.0, "p99": 5.0}
    assert (found["format"], found["version"], found["wall_s"], found["models"]) == (FORMAT, VERSION, 0.5, models)


def test_job_that_ran_nothing_has_no_figures():
    found = job_summary([{"on_ranks": [], "images": 0}], [], time="modelled", device="sim", wall_s=None)
    assert (found["ranks"], found["images"]) == (0, 0)
    assert all(found[name] is None for name in OF_RUN)


def test_summary_is_read_as_it_was_written(tmp_path):
    written = job_summary([{"on_ranks": [], "images": 0}], [], time="modelled", device="sim", wall_s=None)
    (tmp_path / "summary.json").write_text(json.dumps(written))
    assert read_summary(tmp_path / "summary.json") == written


def test_summary_of_one_model_from_before_there_were_versions():
    told, found = json.loads((EARLIER / "one.json").read_text()), read_summary(EARLIER / "one.json")
    (model,) = found["models"]
    assert (model["name"], model["on_ranks"]) == ("digits", [0, 1])
    for name in ("time", "device", "ranks", "wall_s"):
        assert found[name] == told[name]
        assert name not in model
    for name in ("images", "throughput_images_per_s", "latency_ms"):
        assert found[name] == model[name] == told[name]
    assert found["makespan_ms"] is None
    assert model["stages"] == told["stages"]


def test_summary_of_several_models_from_before_there_were_versions():
    told, found = json.loads((EARLIER / "two.json").read_text()), read_summary(EARLIER / "two.json")
    assert (found["device"], found["time"], found["ranks"], found["images"]) == ("timing", "modelled", 2, 8)
    assert all(found[name] is None for name in OF_RUN)
    for model, before in zip(found["models"], told["models"], strict=True):
        assert model == {name: value for name, value in before.items() if name in model}
        assert before.keys() - model.keys() == {"time", "device", "ranks"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"no such summary; allowed: a summary\.json"),
        ("{", r"not a readable summary \(JSONDecodeError\)"),
        ("[]", "not a readable summary"),
        ('{"models": []}', "not a readable summary"),
        ('{"format": "mpi_vta summary", "version": 9}', "holds mpi_vta summary version 9; allowed: mpi_vta summary"),
    ],
)
def test_what_is_no_summary_is_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "summary.json").write_text(text)
    with pytest.raises(ArtifactError, match=rf"summary\.json: {message}"):
        read_summary(tmp_path / "summary.json")
