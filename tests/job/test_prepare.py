"""From a request to a job, and from its result to what the user sees; all ranks in one process."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mpi_vta.errors import ConfigError, InputError, PlanError
from mpi_vta.graph.reference import execute
from mpi_vta.job.prepare import prepare
from mpi_vta.job.results import answer_lines, conclude
from mpi_vta.job.resumption import clear
from mpi_vta.pipeline import parse
from mpi_vta.runtime.progress import Silent
from mpi_vta.runtime.report import output_sha256
from mpi_vta.runtime.session import Leader, command_rank, follow
from mpi_vta.runtime.transport.local import run_ranks
from mpi_vta.trace.reader import read

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture
def request_of(tmp_path):
    def make(*options):
        return parse(["--model", "digits", "--output", str(tmp_path / "out"), *map(str, options)])

    return make


def prepare_one(request, ranks):
    """Prepare a request of one model."""
    (prepared,) = prepare(request, ranks, Silent())
    return prepared


def run_request(request, ranks):
    """Run a request over threads; return the statuses by rank and the model's summary."""
    summaries = []

    def command(leader: Leader):
        models = prepare(request, leader.ranks, Silent())
        summaries.append(conclude(request, models, leader.run([model.job for model in models]))["models"][0])
        return 0

    statuses = run_ranks(ranks, lambda t: command_rank(t, command) if t.rank == 0 else follow(t))
    return statuses, summaries[0]


def test_run_over_threads_gives_the_reference_s_bits(request_of, digits):
    statuses, summary = run_request(request_of("--images", "6"), 3)
    assert statuses == [0, 0, 0]
    integers = digits.quantized.quantize_input(digits.truth.images[:6])
    assert summary["output_sha256"] == output_sha256(execute(digits.graph, integers), digits.graph.outputs)


def test_classes_are_given_for_pictures_without_a_label(request_of, tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "dark.png")
    _, summary = run_request(request_of("--images", tmp_path / "dark.png"), 1)
    ((best, *_),) = summary["classes"]
    assert 0 < best["probability"] <= 1
    assert any(f"classes {best['class']} (" in line for line in answer_lines(summary))
    assert "accuracy" not in summary


def test_trace_says_what_ran_and_nothing_else_is_left(request_of, tmp_path):
    _, summary = run_request(request_of("--images", "3"), 2)
    trace = read(tmp_path / "out" / "run.h5")
    assert trace.models[0].attributes["output_sha256"] == summary["output_sha256"]
    assert len(trace.models[0].attributes["program_sha256"]) == len({row["stage"] for row in summary["stages"]})
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".lock",
        "answers.json",
        "outputs",
        "run.h5",
        "summary.json",
    ]


def test_new_job_in_a_folder_leaves_no_answers_of_the_one_before(request_of, tmp_path):
    run_request(request_of("--images", "3"), 1)
    folder = tmp_path / "out"
    written = [folder / "answers.json", folder / "outputs" / "real-000.npy"]
    assert all(path.is_file() for path in written)
    clear(folder)
    assert not any(path.exists() for path in written)


def test_fault_while_preparing_dismisses_the_others_with_its_status(request_of, capsys):
    request = request_of("--stages", "99")

    def command(leader: Leader):
        prepare_one(request, leader.ranks)
        return 0

    assert run_ranks(3, lambda t: command_rank(t, command) if t.rank == 0 else follow(t)) == [2, 2, 2]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mpi_vta: error: --stages: 99 stages")


def test_stages_of_a_plan_file_are_taken_and_its_figures_made_anew(request_of, tmp_path):
    plan = prepare_one(request_of("--stages", "2", "--images", "5"), 2).job.plan
    first, second = plan.stages
    edited = replace(plan, stages=(replace(first, nodes=(*first.nodes, second.nodes[0]), cycles=1), second), edges=())
    edited = replace(edited, stages=(edited.stages[0], replace(second, nodes=second.nodes[1:])))
    edited.save(tmp_path / "plan.json")
    found = prepare_one(request_of("--plan", tmp_path / "plan.json", "--images", "5"), 2).job.plan
    assert [stage.nodes for stage in found.stages] == [stage.nodes for stage in edited.stages]
    assert found.stages[0].cycles > first.cycles
    assert found.edges


def test_notes_of_a_plan_file_are_made_anew(request_of, tmp_path):
    plan = prepare_one(request_of("--stages", "3", "--images", "3"), 3).job.plan
    assert plan.notes
    plan.save(tmp_path / "plan.json")
    found = prepare_one(request_of("--plan", tmp_path / "plan.json", "--images", "3"), 3).job.plan
    assert len(set(map(str, found.notes))) == len(found.notes)


def test_plan_by_hand_is_run_on_its_boards_beside_the_planner_s_figures(request_of):
    _, summary = run_request(request_of("--boards", "2", "--cut", "conv2", "--images", "4"), 3)
    assert sorted({row["rank"] for row in summary["stages"]}) == [0, 1]
    assert [row["layers"][0] for row in summary["stages"]] == ["conv1", "conv2"]
    assert summary["planner_alternative"]["throughput_images_per_s"] > 0
    assert summary["notes"][-1].startswith("by hand: ")


def test_plan_file_and_borders_contradict(request_of, tmp_path):
    prepare_one(request_of(), 1).job.plan.save(tmp_path / "plan.json")
    with pytest.raises(PlanError, match=r"plan.json: the plan file says where the stages are; leave out --cut"):
        prepare_one(request_of("--plan", tmp_path / "plan.json", "--cut", "conv2"), 1)


def test_plan_file_that_loses_a_layer_is_refused(request_of, tmp_path):
    plan = prepare_one(request_of("--stages", "2"), 2).job.plan
    short = replace(plan, stages=(plan.stages[0], replace(plan.stages[1], nodes=plan.stages[1].nodes[1:])))
    short.save(tmp_path / "plan.json")
    with pytest.raises(PlanError, match="do not hold every layer of digits once: missing: conv3"):
        prepare_one(request_of("--plan", tmp_path / "plan.json"), 2)


def test_plan_file_for_more_ranks_is_refused(request_of, tmp_path):
    prepare_one(request_of("--stages", "3"), 3).job.plan.save(tmp_path / "plan.json")
    with pytest.raises(PlanError, match="the plan needs 3 ranks, there are 2; start mpirun -n 3"):
        prepare_one(request_of("--plan", tmp_path / "plan.json"), 2)


def test_one_program_serves_every_replica_of_the_same_build(request_of):
    job = prepare_one(request_of("--strategy", "scatter-gather", "--images", "4"), 3).job
    assert {rank for _, rank in job.programs} == {0, 1, 2}
    assert len({id(program) for program in job.programs.values()}) == 1


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (("--watchdog-s", "-1"), InputError, "-1 s; allowed: 0 or more"),
        (("--watchdog-s", "nan"), InputError, "nan s; allowed: 0 or more"),
        (("--images", "99999999999"), InputError, r"--images: 99,999,999,999 images; allowed: 1 to \d+, by the memory"),
        (("--device", "abacus"), InputError, "no device named 'abacus'; allowed: sim, timing"),
        (("--config", "abacus"), ConfigError, "allowed: .*pynq_4x8"),
    ],
)
def test_option_out_of_range_is_refused(request_of, options, kind, message):
    with pytest.raises(kind, match=message):
        prepare_one(request_of(*options), 1)


def test_output_that_cannot_be_written_is_refused_before_the_run(tmp_path):
    (tmp_path / "file").write_text("")
    request = parse(["--model", "digits", "--output", str(tmp_path / "file")])
    with pytest.raises(InputError, match="cannot write there"):
        prepare_one(request, 1)


def test_default_folder_is_named_after_model_and_strategy():
    assert parse(["--model", "some/net.onnx", "--strategy", "fused"]).folder == Path("out/net-fused")


def test_wrong_option_is_an_input_error():
    with pytest.raises(InputError, match="unrecognized arguments: --fly"):
        parse(["--model", "digits", "--fly"])


def test_work_on_processors_is_listed_in_the_order_of_the_data(request_of):
    prepared = prepare_one(request_of("--images", "2"), 1)
    assert [(work.name, work.op) for work in prepared.host_work] == [
        ("input", "quantise"),
        ("input", "gather patches and pack"),
        ("classes", "softmax, sort"),
    ]
    assert [work.timed for work in prepared.host_work] == [False, True, False]
    json.dumps([vars(work) for work in prepared.host_work])
