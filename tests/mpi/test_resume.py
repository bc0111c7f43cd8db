"""Jobs that are killed and gone on with: nothing is lost, nothing is done twice, the bits are those of one run."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mpi.conftest import BIN
from summaries import only_model

from mpi_vta.trace.reader import read

pytestmark = pytest.mark.mpi

DIGITS = ("--model", "digits")
TWO = (*DIGITS, "--model", "residual")
DONE_DTYPE = np.dtype([("image", "<i4"), ("crc32", "<u4")])


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def pipeline(start, cache):
    def run(ranks, *options, models=DIGITS, **settings):
        return start(ranks, "-m", "mpi_vta.pipeline", *models, *options, MPI_VTA_CACHE=str(cache), **settings)

    return run


@pytest.fixture
def killed_at(start_program, cache):
    """Run a job until a rank kills itself: in the middle of delivering its n-th image group, or after a time."""

    def run(program, ranks, *options, models=DIGITS, **environ):
        settings = {name: str(value) for name, value in environ.items()}
        return start_program(ranks, program, *models, *options, MPI_VTA_CACHE=str(cache), **settings)

    return run


@pytest.fixture
def undisturbed(pipeline, tmp_path):
    """Give the summary and the outputs' bytes of a run of some images of one model that nothing disturbs."""

    def run(*options, model="digits"):
        out = tmp_path / "undisturbed" / model
        ended = pipeline(2, *options, "--json", "--output", out, models=("--model", model))
        assert (ended.status, ended.stderr) == (0, "")
        return only_model(ended.stdout), (out / "outputs/000.npy").read_bytes()

    return run


def listed_images(folder):
    """Return the images that are listed as delivered, in that order."""
    return np.fromfile(folder / "outputs/done", DONE_DTYPE)["image"].tolist()


def finished_images(trace):
    """Return the job's numbers of the images that the trace of a later part holds."""
    first, last = str(trace.attributes["image_numbers"]).split("..")
    return [list(range(int(first), int(last) + 1))[image] for image in trace.images["image"]]


def damage(path):
    """Change one byte of an image's outputs: of image 10 of 12, if an image has 10 of them."""
    outputs = path.read_bytes()
    path.write_bytes(outputs[:-15] + bytes([outputs[-15] ^ 1]) + outputs[-14:])


@pytest.mark.parametrize("config", ["pynq_1x16", pytest.param("pynq_2x16", marks=pytest.mark.slow)])
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
    found = only_model(ended.stdout)
    assert found["output_sha256"] == summary["output_sha256"]
    assert found["accuracy"] == summary["accuracy"]
    assert (out / "outputs/000.npy").read_bytes() == outputs
    group_images = 2 if config == "pynq_2x16" else 1
    before = (10 + 8) * group_images
    assert found["resumed"] == {"part": 2, "images_before": before, "images_of_job": 60}
    assert found["images"] == 60 - before
    assert sorted(path.name for path in out.iterdir()) == [
        ".lock",
        "answers.json",
        "outputs",
        "parts",
        "run.h5",
        "summary.json",
    ]
    # every image was delivered once: the last part ran the others
    assert listed_images(out) == list(range(60))
    assert sorted(path.name for path in (out / "parts").iterdir()) == ["part-000.h5", "part-001.h5"]
    assert finished_images(read(out / "run.h5").of_model(0)) == list(range(before, 60))


def test_job_with_every_output_runs_nothing(pipeline, undisturbed, tmp_path):
    summary, _ = undisturbed("--images", "12")
    ended = pipeline(2, "--images", "12", "--resume", tmp_path / "undisturbed/digits")
    assert (ended.status, ended.stderr) == (0, "")
    assert f"nothing left to run; outputs sha256 {summary['output_sha256']}" in ended.stdout
    assert only_model((tmp_path / "undisturbed/digits/summary.json").read_text()) == summary


def test_damaged_image_is_run_again(pipeline, undisturbed, tmp_path):
    summary, _ = undisturbed("--images", "12")
    damage(tmp_path / "undisturbed/digits/outputs/000.npy")
    ended = pipeline(2, "--images", "12", "--resume", tmp_path / "undisturbed/digits", "--json")
    assert (ended.status, ended.stderr) == (0, "")
    found = only_model(ended.stdout)
    assert (found["images"], found["output_sha256"]) == (1, summary["output_sha256"])
    assert read(tmp_path / "undisturbed/digits/run.h5").models[0].attributes["image_numbers"] == "10"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--images", "13"), r"\S+outputs: what is there is of other number of images: 12, not 13; repeat .*"),
        (("--images", "12", "--device", "timing"), r"--device timing: a run without data has no outputs .*"),
        (("--images", "12", "--output", "x"), r"--output: the results go to the folder that is gone on with; .*"),
        (
            ("--images", "12", "--model", "residual"),
            r"--resume \S+: what is there is of other models: digits; repeat .*",
        ),
    ],
    ids=["images", "device", "output", "several"],
)
def test_folder_of_something_else_is_refused(pipeline, undisturbed, tmp_path, options, message):
    _, outputs = undisturbed("--images", "12")
    ended = pipeline(2, *options, "--resume", tmp_path / "undisturbed/digits")
    (line,) = ended.error_lines
    assert re.fullmatch(f"mpi_vta: error: {message}", line)
    assert ended.status == 2
    assert (tmp_path / "undisturbed/digits/outputs/000.npy").read_bytes() == outputs


def test_folder_without_a_job_is_refused(pipeline, tmp_path):
    (line,) = pipeline(2, "--resume", tmp_path / "nowhere").error_lines
    assert line.endswith("nowhere: no job that could be gone on with; start it without --resume")


def test_unfinished_job_is_not_overwritten(pipeline, killed_at, tmp_path):
    out = tmp_path / "out"
    killed_at("killed_while_delivering.py", 2, "--images", "60", "--output", out, GROUP=11)
    ended = pipeline(2, "--images", "60", "--output", out)
    (line,) = ended.error_lines
    assert "it holds a job that ended early, which would be lost; go on with --resume" in line
    assert ended.status == 2


@pytest.fixture
def two_models(pipeline, tmp_path):
    """Run two models at once on 12 images that nothing disturbs; return the folder and each one's hash."""
    out = tmp_path / "two"
    ended = pipeline(2, "--images", "12", "--output", out, "--json", models=TWO)
    assert (ended.status, ended.stderr) == (0, "")
    return out, {single["name"]: single["output_sha256"] for single in json.loads(ended.stdout)["models"]}


@pytest.mark.slow
def test_killed_job_of_two_models_is_finished_by_fewer_boards_and_another_strategy(
    pipeline, killed_at, undisturbed, tmp_path
):
    out, images = tmp_path / "out", 24
    options = ("--images", images)
    died = killed_at("killed_while_delivering.py", 5, *options, "--output", out, models=TWO, GROUP=5)
    assert f"go on with --resume {out}" in died.stderr
    resume = (*options, "--resume", out, "--share", "digits=1,residual=1")
    killed_at("killed_while_delivering.py", 3, *resume, "--strategy", "scatter-gather", models=TWO, GROUP=4)
    before = {name: len(listed_images(out / name)) for name in ("digits", "residual")}
    assert sum(before.values()) >= 4 + 3
    ended = pipeline(2, *resume, "--strategy", "fused", "--json", models=TWO)
    assert (ended.status, ended.stderr) == (0, "")
    traces = [read(path) for path in (*sorted((out / "parts").iterdir()), out / "run.h5")]
    assert len(traces) == 3
    for number, found in enumerate(json.loads(ended.stdout)["models"]):
        name = found["name"]
        summary, outputs = undisturbed(*options, model=name)
        assert [found[key] for key in ("output_sha256", "accuracy")] == [
            summary[key] for key in ("output_sha256", "accuracy")
        ]
        assert (out / name / "outputs/000.npy").read_bytes() == outputs
        assert found["resumed"] == {"part": 2, "images_before": before[name], "images_of_job": images}
        assert found["images"] == images - before[name]
        # every image was delivered once: the last part ran the others
        assert listed_images(out / name) == list(range(images))
        assert finished_images(traces[2].of_model(number)) == list(range(before[name], images))
        # what the killed ranks left is there for both models
        for trace in traces:
            assert trace.models[number].attributes["name"] == name
            assert trace.of_model(number).ranks
    assert sorted(path.name for path in out.iterdir()) == [
        *(".lock", "digits", "models.json", "parts", "residual", "run.h5", "summary.json")
    ]


def test_model_that_is_done_takes_no_board(pipeline, two_models):
    out, hashes = two_models
    damage(out / "residual/outputs/000.npy")
    ended = pipeline(1, "--images", "12", "--resume", out, "--json", models=TWO)
    assert (ended.status, ended.stderr) == (0, "")
    digits, residual = json.loads(ended.stdout)["models"]
    assert {single["name"]: single["output_sha256"] for single in (digits, residual)} == hashes
    assert [(single["images"], single["on_ranks"]) for single in (digits, residual)] == [(0, []), (1, [0])]
    assert digits["resumed"] == {"part": 1, "images_before": 12, "images_of_job": 12}
    assert residual["resumed"] == {"part": 1, "images_before": 11, "images_of_job": 12}
    trace = read(out / "run.h5")
    assert [(part.attributes["name"], part.attributes["image_numbers"]) for part in trace.models] == [
        ("residual", "10")
    ]


def test_two_models_with_every_output_run_nothing(pipeline, two_models):
    out, hashes = two_models
    summary = (out / "summary.json").read_text()
    ended = pipeline(2, "--images", "12", "--resume", out, models=TWO)
    assert (ended.status, ended.stderr) == (0, "")
    for name, output_sha256 in hashes.items():
        assert f"{name}: without a board\nnothing left to run; outputs sha256 {output_sha256}\n" in ended.stdout
    assert (out / "summary.json").read_text() == summary


@pytest.mark.slow
def test_job_of_other_models_is_refused(pipeline, two_models):
    out, _ = two_models
    for models in (DIGITS, (*DIGITS, "--model", "depthwise"), (*TWO, *DIGITS)):
        ended = pipeline(2, "--images", "12", "--resume", out, models=models)
        (line,) = ended.error_lines
        assert line == (
            f"mpi_vta: error: --resume {out}: what is there is of other models: digits, residual; "
            "repeat the --model options of the run that began it, or choose another folder"
        )
        assert ended.status == 2
    (out / "summary.json").unlink()
    for models in (DIGITS, TWO):
        (line,) = pipeline(2, "--output", out, models=models).error_lines
        assert "it holds a job that ended early, which would be lost; go on with --resume" in line


def test_every_model_with_images_left_needs_a_board(pipeline, two_models):
    out, _ = two_models
    for name in ("digits", "residual"):
        damage(out / name / "outputs/000.npy")
    (line,) = pipeline(1, "--images", "12", "--resume", out, models=TWO).error_lines
    assert line.startswith("mpi_vta: error: --model: 2 models on 1 board; allowed: at most 1 model")


@pytest.fixture
def waiting(tmp_path, cache):
    """Start a job whose rank 0 waits in the middle of its images; call what is returned to let it go on to its end."""
    running = []

    def begin(*options, models=DIGITS):
        go = tmp_path / f"go-{len(running)}"
        environ = {**os.environ, "MPI_VTA_CACHE": str(cache), "GO": str(go), "GROUP": "5", "OPENBLAS_NUM_THREADS": "1"}
        program = Path(__file__).parent / "programs/waits_while_delivering.py"
        command = [
            BIN / "mpirun",
            "-n",
            "2",
            sys.executable,
            program,
            *models,
            *map(str, options),
            "--json",
            "--watchdog-s",
            "0",
        ]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, env=environ, cwd=tmp_path, **pipes)
        running.append(process)
        while not Path(f"{go}.reached").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)

        def end():
            go.touch()
            out, err = process.communicate()
            return process.returncode, out, err

        return end

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def test_second_start_is_refused_and_the_first_ends_right(pipeline, waiting, undisturbed, tmp_path):
    out = tmp_path / "out"
    end = waiting("--images", "60", "--output", out)
    before = sorted((path, path.stat().st_ino) for path in out.rglob("*"))
    others = (
        (("--images", "60", "--output", out), DIGITS),
        (("--images", "50", "--resume", out, "--strategy", "fused"), TWO),
    )
    for options, models in others:
        ended = pipeline(2, *options, models=models)
        (line,) = ended.error_lines
        there = r"another job is at work there: \S+, process \d+, since [-+:\d ]+; wait for its end, or end it"
        assert re.fullmatch(rf"mpi_vta: error: {options[2]} {out}: {there}", line), line
        assert ended.status == 2
        assert "sha256" not in ended.stdout
    assert sorted((path, path.stat().st_ino) for path in out.rglob("*")) == before
    status, stdout, stderr = end()
    summary, outputs = undisturbed("--images", "60")
    assert (status, stderr) == (0, "")
    assert only_model(stdout)["output_sha256"] == summary["output_sha256"]
    assert (out / "outputs/000.npy").read_bytes() == outputs


@pytest.mark.slow
def test_second_resume_is_refused_and_the_first_ends_right(pipeline, killed_at, waiting, undisturbed, tmp_path):
    out = tmp_path / "out"
    killed_at("killed_while_delivering.py", 2, "--images", "60", "--output", out, GROUP=11)
    end = waiting("--images", "60", "--resume", out)
    ended = pipeline(2, "--images", "60", "--resume", out)
    (line,) = ended.error_lines
    assert "another job is at work there" in line
    assert ended.status == 2
    status, stdout, stderr = end()
    summary, outputs = undisturbed("--images", "60")
    assert (status, stderr) == (0, "")
    assert only_model(stdout)["output_sha256"] == summary["output_sha256"]
    assert (out / "outputs/000.npy").read_bytes() == outputs


def test_folder_removed_while_the_job_runs_is_one_line_without_a_hint_to_go_on(waiting, tmp_path):
    out = tmp_path / "out"
    end = waiting("--images", "60", "--output", out)
    shutil.rmtree(out)
    status, stdout, stderr = end()
    (line,) = [line for line in stderr.splitlines() if line]
    what = rf"{out}/outputs: the outputs were removed while the job ran; start the job again"
    assert re.fullmatch(rf"mpi_vta: error: rank 0 on \S+, board pynq_z1: {what}; last edge .*, last image \d+", line)
    assert (status, stdout) == (2, "")
    assert not out.exists()


def test_outputs_changed_while_the_job_runs_give_no_hash(waiting, tmp_path):
    out = tmp_path / "out"
    end = waiting("--images", "60", "--output", out)
    outputs = out / "outputs/000.npy"
    with outputs.open("r+b") as stream:
        stream.seek(-600, os.SEEK_END)
        byte = stream.read(1)[0]
        stream.seek(-600, os.SEEK_END)
        stream.write(bytes([byte ^ 1]))
    status, stdout, stderr = end()
    (line,) = [line for line in stderr.splitlines() if line]
    assert "the outputs of 1 images are not those that were delivered, first of image 0; something else wrote" in line
    assert (status, stdout) == (2, "")


@pytest.mark.parametrize(
    ("models", "images", "kills"),
    [
        pytest.param(("digits",), 300, 4, marks=pytest.mark.slow),
        pytest.param(("digits", "residual"), 100, 2, marks=pytest.mark.slow),
        pytest.param(("digits",), 2000, 100, marks=pytest.mark.long),
        pytest.param(("digits", "residual"), 600, 40, marks=pytest.mark.long),
    ],
)
def test_random_kills_are_resumed_to_the_same_bits(pipeline, killed_at, undisturbed, tmp_path, models, images, kills):
    alone = {name: undisturbed("--images", images, model=name) for name in models}
    chance = random.Random(0)
    strategies = ("pipeline", "scatter-gather", "fused")
    whole = []  # images with outputs at each kill
    jobs = 0
    while len(whole) < kills:
        out = tmp_path / f"job-{jobs}"
        folders = {name: out / name if len(models) > 1 else out for name in models}
        folder = ("--output", out)
        while True:
            ranks = chance.randint(2, 4)
            died = killed_at(
                "killed.py",
                ranks,
                *("--images", images, "--strategy", chance.choice(strategies), *folder),
                models=[part for name in models for part in ("--model", name)],
                RANK=chance.randrange(ranks),
                AFTER_S=chance.uniform(0.0, 1.5),
            )
            if died.status == 0:
                break
            assert "signal 9" in died.stdout, died.stderr
            begun = [path for path in folders.values() if (path / "outputs/set.json").exists()]
            if begun or (out / "models.json").exists():
                folder = ("--resume", out)
            whole.append(sum(len(listed_images(path)) for path in begun))
        jobs += 1
        summary = json.loads((out / "summary.json").read_text())
        for name, single in zip(models, summary["models"], strict=True):
            expected, outputs = alone[name]
            assert single["output_sha256"] == expected["output_sha256"]
            assert (folders[name] / "outputs/000.npy").read_bytes() == outputs
            assert sorted(listed_images(folders[name])) == list(range(images))
    after_all = whole.count(images * len(models))
    print(f"{len(whole)} kills, {jobs} jobs; {whole.count(0)} before the first image, {after_all} after all")
