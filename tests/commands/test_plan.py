"""``python -m mpi_vta.plan``: what it prints, writes and refuses."""

import json

import pytest

from mpi_vta.plan import main
from mpi_vta.plans.plan import Plan

DIGITS = ["--model", "digits"]


def json_of(capsys, *arguments):
    assert main([*DIGITS, "--json", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    return found if arguments[:1] == ("--model",) or "--pareto" in arguments else {**found, **found["models"][0]}


def test_json_has_stages_and_predicted_figures(capsys):
    found = json_of(capsys, "--ranks", "2", "--images", "16")
    assert [len(stage["ranks"]) for stage in found["stages"]] == [1, 1]
    assert {"throughput_images_per_s", "latency_ms", "energy_j_per_image"} <= found["predicted"].keys()
    assert found["ideal_fraction"] == found["predicted"]["ideal_fraction"]
    assert found["planner_seconds"] < 2
    assert (found["ranks"], found["model"], found["strategy"]) == (2, "digits", "pipeline")


def test_stage_cycles_are_those_of_the_compiled_stages(capsys):
    one = json_of(capsys)["stages"][0]
    assert one["cycles"] > 1000
    assert one["compute_ns"] == [one["cycles"] * 10 + 100_000]


def test_cluster_gives_the_number_of_ranks_and_their_boards(capsys):
    found = json_of(capsys, "--cluster", "mixed17", "--strategy", "scatter-gather", "--images", "200")
    assert found["ranks"] == 17
    assert found["stages"][0]["boards"] == ["pynq_z1"] * 12 + ["ultra96"] * 5


def test_configuration_is_replaced(capsys):
    found = json_of(capsys, "--config", "pynq_4x8", "--ranks", "2", "--strategy", "auto")
    assert found["cluster"] == "2 x pynq_z1 (default)"
    assert found["notes"][-1].startswith("auto chose ")


def test_ranks_come_from_the_launcher(capsys, monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "3")
    monkeypatch.setenv("PMI_RANK", "0")
    assert json_of(capsys)["ranks"] == 3


def test_other_ranks_print_nothing(capsys, monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "3")
    monkeypatch.setenv("PMI_RANK", "1")
    assert main([*DIGITS, "--json"]) == 0
    assert capsys.readouterr().out == ""


def test_written_plan_can_be_read_back(capsys, tmp_path):
    path = tmp_path / "plan.json"
    found = json_of(capsys, "--ranks", "2", "-o", str(path))
    plan = Plan.from_json(path.read_text())
    assert [list(stage.nodes) for stage in plan.stages] == [stage["nodes"] for stage in found["stages"]]


def test_table_names_boards_and_labels_times_as_modelled(capsys):
    assert main([*DIGITS, "--ranks", "2"]) == 0
    out = capsys.readouterr().out
    assert "all times modelled" in out
    assert out.count("pynq_z1") >= 2


def test_choice_by_hand_is_shown_beside_the_planner_s(capsys, tmp_path):
    found = json_of(capsys, "--cluster", "pynq4", "--strategy", "auto")
    assert found["planner_alternative"] is None
    path = tmp_path / "plan.json"
    for options in (["--cut", "conv2"], ["--allocate", "conv2=2"], ["--boards", "2"], ["--plan", str(path)]):
        chosen = json_of(capsys, "--cluster", "pynq4", *options, *(["-o", str(path)] if "--cut" in options else []))
        for name, value in chosen["planner_alternative"].items():
            assert value == found["predicted"].get(name, value)
        assert (
            chosen["planner_alternative"]["throughput_images_per_s"] >= chosen["predicted"]["throughput_images_per_s"]
        )
        assert chosen["notes"][-1].startswith("by hand: ")
        assert len([note for note in chosen["notes"] if note.startswith("by hand: ")]) == 1
    assert main([*DIGITS, "--ranks", "2", "--cut", "conv2"]) == 0
    assert "the planner would have got" in capsys.readouterr().out


def test_pareto_front_is_printed_and_labelled(capsys):
    found = json_of(capsys, "--cluster", "pynq4", "--pareto", "--images", "16")
    assert len(found["pareto"]) >= 1
    assert "modelled estimate" in found["energy"]
    best = max(row["throughput_images_per_s"] for row in found["pareto"])
    assert best >= json_of(capsys, "--cluster", "pynq4", "--images", "16")["predicted"]["throughput_images_per_s"]
    assert main([*DIGITS, "--ranks", "1", "--pareto"]) == 0
    out = capsys.readouterr().out
    assert "all modelled" in out
    assert "energy is a modelled estimate" in out


def test_several_models_share_the_boards(capsys):
    found = json_of(capsys, "--model", "digits", "--cluster", "pynq4", "--share", "digits-1=3,digits-2=1")
    assert [(model["name"], model["on_ranks"]) for model in found["models"]] == [
        ("digits-1", [0, 1, 2]),
        ("digits-2", [3]),
    ]
    assert found["ranks"] == 4
    assert main([*DIGITS, *DIGITS, "--cluster", "pynq4"]) == 0
    out = capsys.readouterr().out
    table = out[out.index("digits-2: on ranks 2, 3 of the job") :]
    assert [int(row.split("│")[2]) for row in table.splitlines() if row.startswith("│")] == [2, 3]


def test_boards_limits_the_ranks_used(capsys):
    found = json_of(capsys, "--cluster", "pynq4", "--boards", "2", "--strategy", "scatter-gather")
    assert found["ranks"] == 4
    assert {rank for stage in found["stages"] for rank in stage["ranks"]} <= {0, 1}


WRONG = {
    "model": (["--model", "nosuch"], "nosuch: no such model"),
    "cluster": ([*DIGITS, "--cluster", "nosuch"], "nosuch: no such file and no shipped clusters entry"),
    "boards": ([*DIGITS, "--cluster", "pynq4", "--ranks", "5"], "cluster pynq4: 5 ranks but only 4 boards"),
    "config": ([*DIGITS, "--config", "nosuch"], "nosuch: no such file and no shipped vta_configs entry"),
    "strategy": ([*DIGITS, "--strategy", "nosuch"], "--strategy nosuch: no such strategy"),
    "objective": ([*DIGITS, "--objective", "nosuch"], "--objective nosuch: no such objective"),
    "images": ([*DIGITS, "--images", "0"], "--images: 0 images"),
    "many images": ([*DIGITS, "--images", "99999999999"], "--images: 99,999,999,999 images; allowed: 1 to"),
    "endless plan": (
        [*DIGITS, "--plan", "/dev/zero"],
        "/dev/zero: cannot read the plan (a pipe or device",
    ),
    "stages": ([*DIGITS, "--ranks", "99", "--stages", "98"], "--stages: 98 stages, but digits can be cut into 4 only"),
    "too many boards": ([*DIGITS, "--ranks", "2", "--boards", "3"], "--boards: 3 boards; allowed: 1..2"),
    "cut": ([*DIGITS, "--ranks", "2", "--cut", "conf2"], "--cut conf2: no such layer; allowed: a layer of the model"),
    "allocate": ([*DIGITS, "--allocate", "conf*=1"], "--allocate conf*=1: no layer matches"),
    "pareto": (
        [*DIGITS, "--pareto", "--cut", "conv2"],
        "--pareto: it tries every strategy; leave out --cut",
    ),
    "share": ([*DIGITS, "--share", "digits=1"], "--share: there is one model only; name several with --model"),
    "several": ([*DIGITS, *DIGITS, "--ranks", "2", "--pareto"], "--pareto: it is for one model; plan one"),
    "several, written": (
        [*DIGITS, *DIGITS, "--ranks", "2", "-o", "p.json"],
        "--output: it is for one model; plan one",
    ),
    "plan": ([*DIGITS, "--plan", "/nowhere.json"], "/nowhere.json: cannot read the plan"),
    "option": ([*DIGITS, "--nosuch"], "command line: unrecognized arguments: --nosuch"),
    "output": ([*DIGITS, "-o", "/proc/nowhere/plan.json"], "/proc/nowhere/plan.json: cannot write the plan"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG.keys())
def test_bad_input_is_one_line_and_exit_status_2(capsys, arguments, message):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"mpi_vta: error: {message}")
    assert error.count("\n") == 1


def test_cycles_are_shown_for_the_build_that_they_belong_to(capsys):
    assert main([*DIGITS, "--cluster", "mixed17", "--strategy", "scatter-gather", "--images", "200"]) == 0
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    cycles = {row[4].strip(): row[6].strip() for row in rows}
    assert cycles["pynq_z1"]
    assert cycles["ultra96"]
    assert cycles["ultra96"] != cycles["pynq_z1"]
