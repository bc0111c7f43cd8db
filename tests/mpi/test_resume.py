"""Jobs that are killed and gone on with: nothing is lost, nothing is done twice, the bits are those of one run."""

import json
import random
import re

import numpy as np
import pytest

from mpi_vta.trace.reader import read

pytestmark = pytest.mark.mpi

DIGITS = ("--model", "digits")
KILLS = 100


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def pipeline(start, cache):
    def run(ranks, *options, **settings):
        return start(ranks, "-m", "mpi_vta.pipeline", *DIGITS, *options, MPI_VTA_CACHE=str(cache), **settings)

    return run


@pytest.fixture
def killed_at(start_program, cache):
    """Run digits until one rank kills itself: in the middle of delivering its n-th image group, or after a time."""

    def run(program, ranks, *options, **environ):
        settings = {name: str(value) for name, value in environ.items()}
        return start_program(ranks, program, *DIGITS, *options, MPI_VTA_CACHE=str(cache), timeout_s=60, **settings)

    return run


@pytest.fixture
def undisturbed(pipeline, tmp_path):
    """Give the summary and the outputs' bytes of a run of some images that nothing disturbs."""

    def run(*options):
        ended = pipeline(2, *options, "--json", "--output", tmp_path / "undisturbed")
        assert (ended.status, ended.stderr) == (0, "")
        return json.loads(ended.stdout), (tmp_path / "undisturbed/outputs/000.npy").read_bytes()

    return run


def finished_images(path):
    """Return the job's numbers of the images that the trace of a later part holds."""
    trace = read(path)
    first, last = str(trace.attributes["image_numbers"]).split("..")
    return [list(range(int(first), int(last) + 1))[image] for image in trace.images["image"]]


@pytest.mark.parametrize("config", ["pynq_1x16", "pynq_2x16"])
def test_killed_job_is_finished_by_fewer_boards_and_another_strategy(
    pipeline, killed_at, undisturbed, tmp_path, config
):
    out = tmp_path / "out"
    options = ("--images", "60", "--config", config)
    killed_at("killed_while_delivering.py", 4, *options, "--output", out, GROUP=11)
    killed_at("killed_while_delivering.py", 2, *options, "--strategy", "scatter-gather", "--resume", out, GROUP=9)
    ended = pipeline(3, "--images", "60", "--strategy", "fused", "--resume", out, "--json")
    assert (ended.status, ended.stderr) == (0, "")
    summary, outputs = undisturbed("--images", "60")
    found = json.loads(ended.stdout)
    assert found["output_sha256"] == summary["output_sha256"]
    assert found["accuracy"] == summary["accuracy"]
    assert (out / "outputs/000.npy").read_bytes() == outputs
    group_images = 2 if config == "pynq_2x16" else 1
    before = (10 + 8) * group_images
    assert found["resumed"] == {"part": 2, "images_before": before, "images_of_job": 60}
    assert found["images"] == 60 - before
    assert sorted(path.name for path in out.iterdir()) == ["outputs", "parts", "run.h5", "summary.json"]
    # every image was delivered once: the last part ran the others
    listed = np.fromfile(out / "outputs/done", np.dtype([("image", "<i4"), ("crc32", "<u4")]))
    assert listed["image"].tolist() == list(range(60))
    assert sorted(path.name for path in (out / "parts").iterdir()) == ["part-000.h5", "part-001.h5"]
    assert finished_images(out / "run.h5") == list(range(before, 60))


def test_job_with_every_output_runs_nothing(pipeline, undisturbed, tmp_path):
    summary, _ = undisturbed("--images", "12")
    ended = pipeline(2, "--images", "12", "--resume", tmp_path / "undisturbed")
    assert (ended.status, ended.stderr) == (0, "")
    assert f"nothing left to run; outputs sha256 {summary['output_sha256']}" in ended.stdout
    assert json.loads((tmp_path / "undisturbed/summary.json").read_text()) == summary


def test_damaged_image_is_run_again(pipeline, undisturbed, tmp_path):
    summary, outputs = undisturbed("--images", "12")
    path = tmp_path / "undisturbed/outputs/000.npy"
    path.write_bytes(outputs[:-15] + bytes([outputs[-15] ^ 1]) + outputs[-14:])
    ended = pipeline(2, "--images", "12", "--resume", tmp_path / "undisturbed", "--json")
    assert (ended.status, ended.stderr) == (0, "")
    found = json.loads(ended.stdout)
    assert (found["images"], found["output_sha256"]) == (1, summary["output_sha256"])
    assert read(tmp_path / "undisturbed/run.h5").attributes["image_numbers"] == "10"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--images", "13"), r"\S+outputs: what is there is of other number of images: 12, not 13; repeat .*"),
        (("--images", "12", "--device", "timing"), r"--device timing: a run without data has no outputs .*"),
        (("--images", "12", "--output", "x"), r"--output: the results go to the folder that is gone on with; .*"),
        (("--images", "12", "--model", "digits"), r"--resume: it is for one model; .*"),
    ],
    ids=["images", "device", "output", "several"],
)
def test_folder_of_something_else_is_refused(pipeline, undisturbed, tmp_path, options, message):
    _, outputs = undisturbed("--images", "12")
    ended = pipeline(2, *options, "--resume", tmp_path / "undisturbed", timeout_s=60)
    (line,) = ended.error_lines
    assert re.fullmatch(f"mpi_vta: error: {message}", line)
    assert ended.status == 2
    assert (tmp_path / "undisturbed/outputs/000.npy").read_bytes() == outputs


def test_folder_without_a_job_is_refused(pipeline, tmp_path):
    (line,) = pipeline(2, "--resume", tmp_path / "nowhere", timeout_s=60).error_lines
    assert line.endswith("nowhere: no job that could be gone on with; start it without --resume")


def test_unfinished_job_is_not_overwritten(pipeline, killed_at, tmp_path):
    out = tmp_path / "out"
    killed_at("killed_while_delivering.py", 2, "--images", "60", "--output", out, GROUP=11)
    ended = pipeline(2, "--images", "60", "--output", out, timeout_s=60)
    (line,) = ended.error_lines
    assert "it holds a job that ended early, which would be lost; go on with --resume" in line
    assert ended.status == 2


@pytest.mark.slow
def test_100_random_kills_are_resumed_to_the_same_bits(pipeline, killed_at, undisturbed, tmp_path):
    summary, outputs = undisturbed("--images", "2000")
    chance = random.Random(0)
    strategies = ("pipeline", "scatter-gather", "fused")
    whole = []  # images with outputs at each kill
    jobs = 0
    while len(whole) < KILLS:
        out = tmp_path / f"job-{jobs}"
        folder = ("--output", out)
        while True:
            ranks = chance.randint(2, 4)
            options = ("--images", "2000", "--strategy", chance.choice(strategies), *folder)
            died = killed_at(
                "killed.py", ranks, *options, RANK=chance.randrange(ranks), AFTER_S=chance.uniform(0.0, 1.5)
            )
            if died.status == 0:
                break
            assert "signal 9" in died.stdout, died.stderr
            started = (out / "outputs/set.json").exists()
            if started:
                folder = ("--resume", out)
            whole.append((out / "outputs/done").stat().st_size // 8 if started else 0)
        jobs += 1
        assert json.loads((out / "summary.json").read_text())["output_sha256"] == summary["output_sha256"]
        assert (out / "outputs/000.npy").read_bytes() == outputs
        listed = np.fromfile(out / "outputs/done", np.dtype([("image", "<i4"), ("crc32", "<u4")]))
        assert sorted(listed["image"].tolist()) == list(range(2000))
    print(f"{len(whole)} kills, {jobs} jobs; {whole.count(0)} before the first image, {whole.count(2000)} after all")
