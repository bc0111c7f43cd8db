"""The main job under mpirun: the same bits on any number of ranks, and every fault a single line."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from summaries import only_model

from mpi_vta.graph.reference import execute
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import find
from mpi_vta.job.inputs import read_inputs
from mpi_vta.job.ready_model import ready_model
from mpi_vta.plans.plan import Plan
from mpi_vta.runtime.report import output_sha256
from mpi_vta.trace.reader import read
from mpi_vta.trace.schema import EventKind

pytestmark = pytest.mark.mpi


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def pipeline(start, cache):
    """Run the command; `ranks` 0 is without mpirun."""

    def run(ranks, *options, **settings):
        return start(ranks, "-m", "mpi_vta.pipeline", *options, MPI_VTA_CACHE=str(cache), **settings)

    return run


@pytest.fixture
def digits(pipeline, tmp_path):
    """Run digits with ``--json`` and return the summary."""

    def run(ranks, *options, **settings):
        ended = pipeline(ranks, "--model", "digits", "--json", "--output", tmp_path / "out", *options, **settings)
        assert (ended.status, ended.stderr) == (0, "")
        return only_model(ended.stdout)

    return run


@pytest.fixture(scope="module")
def reference_sha256(cache):
    """Give the hash that the integer reference gives for the first images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPI_VTA_CACHE", str(cache))
        model = ready_model("digits", seed=0, weights=None)

    def of(images):
        integers = read_inputs(model, str(images), 0, with_data=True).integers
        outputs = execute(model.graph, {model.graph.inputs[0]: integers})
        return output_sha256(outputs, model.graph.outputs)

    return of


def test_real_time_gives_the_same_bits_and_says_that_times_are_measured(digits, tmp_path, reference_sha256):
    summary = digits(3, "--images", "6", "--clock", "wall")
    assert summary["output_sha256"] == reference_sha256(6)
    assert summary["time"] == "measured"
    trace = read(tmp_path / "out" / "run.h5")
    assert trace.attributes["time"] == "measured"
    assert trace.attributes["unmatched_messages"] == 0
    assert (trace.models[0].images["latency_ns"] > 0).all()
    assert len(trace.clock) == 3


@pytest.mark.parametrize(
    "ranks",
    [0, 1, 2, 5, pytest.param(12, marks=pytest.mark.slow), pytest.param(16, marks=pytest.mark.slow)],
)
def test_any_number_of_ranks_gives_the_reference_s_bits(digits, reference_sha256, ranks):
    summary = digits(ranks)
    assert summary["output_sha256"] == reference_sha256(360)
    assert summary["ranks"] == max(ranks, 1)
    assert summary["images"] == 360
    assert summary["accuracy"]["float"] > 0.97
    assert abs(summary["accuracy"]["vta"] - summary["accuracy"]["float"]) <= 0.02


@pytest.mark.parametrize(
    ("name", "ranks"),
    [pytest.param("resnet18", 12, marks=pytest.mark.long), pytest.param("yolo", 5, marks=pytest.mark.slow)],
)
def test_large_model_gives_the_reference_s_bits(pipeline, cache, tmp_path, monkeypatch, name, ranks):
    options = ("--model", name, "--weights", "seeded", "--images", "2", "--json", "--output", tmp_path / "out")
    ended = pipeline(ranks, *options, timeout_s=600)
    assert (ended.status, ended.stderr) == (0, "")
    monkeypatch.setenv("MPI_VTA_CACHE", str(cache))
    model = ready_model(name, seed=0, weights=None)
    integers = read_inputs(model, "2", 0, with_data=True).integers
    outputs = execute(model.graph, {model.graph.inputs[0]: integers})
    summary = only_model(ended.stdout)
    assert summary["output_sha256"] == output_sha256(outputs, model.graph.outputs)
    assert len(list((tmp_path / "out").glob("boxes-*.png"))) == (2 if name == "yolo" else 0)
    assert len(summary.get("classes", [])) == (2 if name == "resnet18" else 0)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("residual", marks=pytest.mark.slow),
        pytest.param("depthwise", marks=pytest.mark.long),
        pytest.param("shapes", marks=pytest.mark.long),
    ],
)
def test_trained_model_prints_float_and_vta_within_a_point(pipeline, cache, monkeypatch, tmp_path, name):
    ended = pipeline(4, "--model", name, "--output", tmp_path / "out", timeout_s=600)
    assert ended.status == 0
    line = next(line for line in ended.stdout.splitlines() if line.startswith(("accuracy", "mAP")))
    in_float, on_vta = (float(share) for share in re.findall(r"(\d+\.\d+) %", line))
    assert in_float > (90 if name == "shapes" else 95)
    assert abs(in_float - on_vta) <= 1
    summary = only_model((tmp_path / "out" / "summary.json").read_text())
    measured = summary["mean_average_precision" if name == "shapes" else "accuracy"]
    assert (100 * measured["float"], 100 * measured["vta"]) == pytest.approx((in_float, on_vta), abs=0.006)
    assert len(list((tmp_path / "out").glob("boxes-held-out-*.png"))) == (16 if name == "shapes" else 0)
    monkeypatch.setenv("MPI_VTA_CACHE", str(cache))
    model = ready_model(name, seed=0, weights=None)
    outputs = execute(model.graph, {"input": read_inputs(model, None, 0, with_data=True).integers})
    assert summary["output_sha256"] == output_sha256(outputs, model.graph.outputs)


@pytest.mark.parametrize("config", ["pynq_1x32", "pynq_2x16", pytest.param("pynq_4x8", marks=pytest.mark.slow)])
def test_other_builds_give_the_same_bits_with_a_part_filled_last_group(digits, reference_sha256, config):
    assert digits(2, "--config", config, "--images", "7")["output_sha256"] == reference_sha256(7)


def test_scatter_gather_gives_the_same_bits_and_uses_every_board(digits, reference_sha256):
    summary = digits(3, "--strategy", "scatter-gather", "--images", "11")
    assert summary["output_sha256"] == reference_sha256(11)
    assert [row["rank"] for row in summary["stages"]] == [0, 1, 2]


def test_run_takes_exactly_the_predicted_time(digits, tmp_path):
    summary = digits(3, "--images", "20")
    predicted = Plan.from_json(read(tmp_path / "out" / "run.h5").models[0].plan_json).predicted
    assert summary["throughput_images_per_s"] == predicted["throughput_images_per_s"]
    assert summary["latency_ms"]["p50"] == predicted["latency_ms"]
    assert summary["speedup"] == predicted["speedup"]
    assert summary["ideal_fraction"] == predicted["ideal_fraction"]


def test_device_without_data_takes_the_same_time(digits):
    options = ("--images", "20", "--strategy", "pipeline")
    with_data, without = digits(3, *options), digits(3, *options, "--device", "timing")
    assert without["output_sha256"] is None
    assert "accuracy" not in without
    for key in ("throughput_images_per_s", "latency_ms", "stages", "speedup"):
        assert without[key] == with_data[key]


def test_trace_holds_every_launch_and_where_the_run_comes_from(digits, tmp_path):
    summary = digits(2, "--images", "6")
    trace = read(tmp_path / "out" / "run.h5")
    launches = {rank: int((record.events["kind"] == EventKind.LAUNCH).sum()) for rank, record in trace.ranks.items()}
    assert launches == {row["rank"]: 6 for row in summary["stages"]}
    assert trace.models[0].attributes["output_sha256"] == summary["output_sha256"]
    assert "--images 6" in trace.attributes["argv"]
    assert trace.attributes["time"] == "modelled"
    assert len(trace.models[0].images) == 6
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".lock",
        "answers.json",
        "outputs",
        "run.h5",
        "summary.json",
    ]
    assert only_model((tmp_path / "out" / "summary.json").read_text()) == summary


def test_people_get_a_table_with_figures_and_accuracy(pipeline, tmp_path):
    ended = pipeline(2, "--model", "digits", "--images", "10", "--output", tmp_path / "out")
    assert (ended.status, ended.stderr) == (0, "")
    for part in ("all times modelled", "throughput", "speed-up", "on the host", "accuracy    float"):
        assert part in ended.stdout


def test_summary_of_one_model_has_the_form_of_several(pipeline, digits, tmp_path):
    options = ("--images", "4", "--device", "timing")
    two = pipeline(2, "--model", "digits", "--model", "digits", "--json", "--output", tmp_path / "two", *options)
    assert (two.status, two.stderr) == (0, "")
    several = json.loads(two.stdout)
    digits(2, *options)
    one = json.loads((tmp_path / "out" / "summary.json").read_text())
    (model,) = one["models"]
    assert several.keys() == one.keys()
    assert several["models"][0].keys() == model.keys()
    assert (one["format"], one["version"]) == ("mpi_vta summary", 2)
    assert (model["name"], model["on_ranks"], one["ranks"]) == ("digits", [0, 1], 2)
    assert several["images"] == 8
    latencies = [model["latency_ms"]["p99"] for model in several["models"]]
    assert several["latency_ms"]["p99"] == max(latencies)
    # both begin at 0, so the whole job takes as long as the slower one
    slowest = min(model["throughput_images_per_s"] for model in several["models"])
    assert several["throughput_images_per_s"] == pytest.approx(2 * slowest)
    assert several["makespan_ms"] == pytest.approx(4e3 / slowest)


def test_several_models_at_once_give_what_each_gives_alone(pipeline, digits, tmp_path):
    options = ("--images", "7", "--strategy", "auto")
    ended = pipeline(5, "--model", "digits", "--model", "digits", "--json", "--output", tmp_path / "two", *options)
    assert (ended.status, ended.stderr) == (0, "")
    first, second = json.loads(ended.stdout)["models"]
    assert (first["name"], second["name"]) == ("digits-1", "digits-2")
    assert sorted(first["on_ranks"] + second["on_ranks"]) == [0, 1, 2, 3, 4]
    for model in (first, second):
        alone = digits(len(model["on_ranks"]), *options)
        for key in ("output_sha256", "throughput_images_per_s", "latency_ms", "accuracy"):
            assert model[key] == alone[key]
        assert {row["rank"] for row in model["stages"]} <= set(model["on_ranks"])
    trace = read(tmp_path / "two" / "run.h5")
    assert [part.attributes["name"] for part in trace.models] == ["digits-1", "digits-2"]
    for part, model in zip(trace.models, (first, second), strict=True):
        assert part.attributes["ranks"].tolist() == model["on_ranks"]
        assert part.attributes["output_sha256"] == model["output_sha256"]
    for rank, record in trace.ranks.items():
        model = 0 if rank in first["on_ranks"] else 1
        assert set(record.events["model"].tolist()) <= {model}
        peers = set(record.events["peer"].tolist()) - {-1}
        assert peers <= set((first, second)[model]["on_ranks"])
    assert trace.attributes["unmatched_messages"] == trace.attributes["backward_messages"] == 0


@pytest.mark.slow
def test_each_model_of_several_has_a_page(pipeline, tmp_path):
    ended = pipeline(2, "--model", "digits", "--model", "digits", "--images", "4", "--output", tmp_path / "two")
    assert (ended.status, ended.stderr) == (0, "")
    for label in ("digits-1", "digits-2"):
        page = tmp_path / "two" / label / "report.html"
        assert f"report      {page}" in ended.stdout
        assert "<html" in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_each_model_of_several_may_be_planned_and_no_more(pipeline, tmp_path):
    several = ("--model", "digits", "--model", "digits")
    ended = pipeline(4, *several, "--dry-run", "--share", "digits-1=3,digits-2=1", "--output", tmp_path / "dry")
    assert ended.status == 0
    plans = [Plan.from_json((tmp_path / "dry" / f"plan-digits-{i}.json").read_text()) for i in (1, 2)]
    assert [len(plan.ranks) for plan in plans] == [3, 1]
    (line,) = pipeline(1, *several).error_lines
    assert line.startswith("mpi_vta: error: --model: 2 models on 1 board; allowed: at most 1 model, as each has")
    (line,) = pipeline(2, *several, "--cut", "conv2").error_lines
    assert line == "mpi_vta: error: --cut: it is for one model; run one model, or leave it out"
    (line,) = pipeline(2, "--model", "digits", "--share", "digits=1").error_lines
    assert line == "mpi_vta: error: --share: there is one model only; name several with --model"


def test_planned_run_can_be_run_from_its_file(pipeline, digits, reference_sha256, tmp_path):
    ended = pipeline(2, "--model", "digits", "--dry-run", "--images", "9", "--output", tmp_path / "plan")
    assert (ended.status, ended.stderr) == (0, "")
    assert not (tmp_path / "plan" / "run.h5").exists()
    summary = digits(3, "--plan", tmp_path / "plan" / "plan.json", "--images", "9")
    assert summary["output_sha256"] == reference_sha256(9)
    assert {row["rank"] for row in summary["stages"]} == {0, 1}


def test_picture_of_the_user_is_run(pipeline, tmp_path):
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(tmp_path / "digit.png")
    ended = pipeline(2, "--model", "digits", "--images", tmp_path / "digit.png", "--json")
    assert (ended.status, ended.stderr) == (0, "")
    assert only_model(ended.stdout)["images"] == 1


def test_help_is_printed_once(pipeline):
    ended = pipeline(3, "--help")
    assert (ended.status, ended.stderr) == (0, "")
    assert ended.stdout.count("usage:") == 1


@pytest.fixture
def bad_files(tmp_path):
    """Write one of each kind of unusable file."""
    from onnx import TensorProto, helper

    shape = [1, 1, 8, 8]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Cos", ["x"], ["y"])], "strange", ends[:1], ends[1:])
    (tmp_path / "strange.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    (tmp_path / "broken.onnx").write_bytes(b"\x00not a model")
    (tmp_path / "picture.png").write_text("not a picture")
    config = VTAConfig.load(find("vta_configs", "pynq_1x16", ".json")).to_dict()
    (tmp_path / "illegal.json").write_text(json.dumps({**config, "LOG_ACC_BUFF_SIZE": 20, "LOG_INP_WIDTH": 4}))
    (tmp_path / "plan.json").write_text("{}")
    (tmp_path / "file").write_text("")
    return tmp_path


DIGITS = ("--model", "digits")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "missing.onnx"), r"missing.onnx: no such file; allowed: .*"),
        (("--model", "broken.onnx"), r"broken.onnx: .*"),
        (("--model", "strange.onnx"), r".*Cos.*"),
        ((*DIGITS, "--config", "illegal.json"), r"illegal.json: illegal VTA configuration: .*LOG_INP_WIDTH.*"),
        ((*DIGITS, "--config", "nowhere"), r"nowhere: no such file .*allowed: .*pynq_1x16.*"),
        ((*DIGITS, "--cluster", "nowhere"), r"nowhere: no such file .*"),
        ((*DIGITS, "--images", "picture.png"), r"picture.png: not a picture; .*"),
        ((*DIGITS, "--images", "nowhere"), r"nowhere: no such picture or folder; .*"),
        ((*DIGITS, "--images", "0"), r"--images: 0 images; allowed: 1 or more.*"),
        ((*DIGITS, "--stages", "99"), r"--stages: 99 stages, but digits can be cut into 4 only: .*; allowed: 1..2"),
        ((*DIGITS, "--stages", "3"), r"--stages: 3 stages on 2 ranks; .*mpirun -n 3.*"),
        ((*DIGITS, "--strategy", "magic"), r"--strategy magic: no such strategy; allowed: .*pipeline.*"),
        ((*DIGITS, "--device", "abacus"), r"--device: no device named 'abacus'; allowed: sim, timing, rtl, pynq"),
        ((*DIGITS, "--plan", "plan.json"), r"plan.json: not a readable plan .*"),
        ((*DIGITS, "--plan", "nowhere.json"), r"nowhere.json: cannot read the plan .*"),
        ((*DIGITS, "--output", "file"), r"--output file: cannot write there .*"),
        ((*DIGITS, "--watchdog-s", "-1"), r"--watchdog-s: -1 s; allowed: 0 or more"),
        ((*DIGITS, "--seed", "x"), r"command line: argument --seed: 'x'; allowed: 0 to 2147483647; .*"),
        ((*DIGITS, "--fly"), r"command line: unrecognized arguments: --fly; .*"),
        ((), r"command line: the following arguments are required: --model; .*"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_line_from_rank_0_and_no_hang(pipeline, bad_files, options, message):
    ended = pipeline(2, *options, "--images", "4") if "--images" not in options else pipeline(2, *options)
    (line,) = ended.error_lines
    assert re.fullmatch(f"mpi_vta: error: {message}", line)
    assert ended.status == 2
    assert not list(bad_files.rglob("*.h5"))


def test_fewer_ranks_than_the_plan_needs_is_refused(pipeline, tmp_path):
    assert pipeline(5, *DIGITS, "--dry-run", "--stages", "4", "--output", tmp_path / "plan").status == 0
    ended = pipeline(2, *DIGITS, "--plan", tmp_path / "plan" / "plan.json")
    (line,) = ended.error_lines
    assert re.fullmatch(r"mpi_vta: error: .*plan.json: the plan needs 4 ranks, there are 2; start mpirun -n 4", line)
    assert ended.status == 2


@pytest.mark.parametrize("variables", [("PMI_SIZE", "PMI_RANK"), ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK")])
def test_launcher_of_another_mpi_is_found_out_and_only_one_process_says_so(pipeline, variables):
    size, rank = variables
    ended = [pipeline(0, *DIGITS, **{size: "4", rank: str(r)}) for r in (0, 1)]
    assert [e.status for e in ended] == [2, 2]
    (line,) = ended[0].error_lines
    assert "started 4 processes, but MPI sees a world of 1" in line
    assert (ended[1].stdout, ended[1].stderr) == ("", "")


FAST_BOARD = """
name = "slow_vta"
part = "none"
config = "{config}"
clock_mhz = 5.0
memory_mib = 256
cpu_ns_per_packed_byte = 0.1
launch_overhead_ns = 100
power = {{ idle_w = 1.0, active_w = 2.0, source = "a test" }}
"""
FAST_CLUSTER = """
name = "fast links"
link = {{ bandwidth_mb_s = 10000.0, latency_ns = 100, per_message_ns = 100, per_byte_ns = 0.01 }}
switch = {{ latency_ns = 10 }}
boards = [{{ board = "board.toml", count = {ranks} }}]
"""


@pytest.mark.parametrize(
    ("ranks", "config"),
    [
        pytest.param(2, "pynq_1x16", marks=pytest.mark.slow),
        (3, "pynq_1x16"),
        pytest.param(5, "pynq_1x16", marks=pytest.mark.slow),
        (3, "pynq_2x16"),
    ],
)
@pytest.mark.parametrize("objective", ["latency", "throughput"])
def test_layers_split_over_boards_give_the_reference_s_bits(
    digits, tmp_path, reference_sha256, ranks, config, objective
):
    (tmp_path / "board.toml").write_text(FAST_BOARD.format(config=config))
    (tmp_path / "cluster.toml").write_text(FAST_CLUSTER.format(ranks=ranks))
    options = ("--strategy", "core-assignment", "--objective", objective, "--cluster", tmp_path / "cluster.toml")
    summary = digits(ranks, *options, "--images", "7")
    assert summary["output_sha256"] == reference_sha256(7)
    plan = Plan.from_json(read(tmp_path / "out" / "run.h5").models[0].plan_json)
    # shares of the eight rows get no smaller with a fifth board
    assert {stage.ranks[0] for stage in plan.stages if stage.part is not None} == set(range(min(ranks, 4)))
    assert summary["latency_ms"]["p50"] == plan.predicted["latency_ms"]
    assert summary["throughput_images_per_s"] == plan.predicted["throughput_images_per_s"]


@pytest.mark.slow
def test_edited_split_is_run_or_refused_by_name(digits, pipeline, tmp_path, reference_sha256):
    (tmp_path / "board.toml").write_text(FAST_BOARD.format(config="pynq_1x16"))
    (tmp_path / "cluster.toml").write_text(FAST_CLUSTER.format(ranks=2))
    options = ("--cluster", tmp_path / "cluster.toml", "--images", "3")
    digits(2, *options, "--strategy", "core-assignment")
    plan = json.loads(read(tmp_path / "out" / "run.h5").models[0].plan_json)
    first, second = (stage["part"]["share"] for stage in plan["stages"][:2])
    border = first["rows"][1] - 1
    first["rows"][1] = second["rows"][0] = border
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(plan))
    assert digits(2, *options, "--plan", file)["output_sha256"] == reference_sha256(3)
    run = Plan.from_json(read(tmp_path / "out" / "run.h5").models[0].plan_json)
    assert run.stages[0].share.rows[1] == run.stages[1].share.rows[0] == border
    second["rows"][0] = border + 1
    file.write_text(json.dumps(plan))
    ended = pipeline(2, "--model", "digits", *options, "--plan", file, "--output", tmp_path / "out")
    assert ended.status != 0
    assert "overlap or are not all of it" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.long
def test_resnet18_split_over_12_boards_gives_the_reference_s_bits_four_times_as_soon(
    pipeline, cache, tmp_path, monkeypatch
):
    options = ("--model", "resnet18", "--cluster", "zynq12", "--images", "2", "--json", "--objective", "latency")
    output = tmp_path / "out"
    ended = pipeline(12, *options, "--strategy", "core-assignment", "--output", output, timeout_s=900)
    assert (ended.status, ended.stderr) == (0, "")
    summary = only_model(ended.stdout)
    monkeypatch.setenv("MPI_VTA_CACHE", str(cache))
    model = ready_model("resnet18", seed=0, weights=None)
    integers = read_inputs(model, "2", 0, with_data=True).integers
    outputs = execute(model.graph, {model.graph.inputs[0]: integers})
    assert summary["output_sha256"] == output_sha256(outputs, model.graph.outputs)
    assert (
        summary["latency_ms"]["p50"]
        == Plan.from_json(read(output / "run.h5").models[0].plan_json).predicted["latency_ms"]
    )
    alone = pipeline(0, *options, "--output", tmp_path / "alone", timeout_s=300)
    assert only_model(alone.stdout)["latency_ms"]["p50"] >= 4 * summary["latency_ms"]["p50"]
