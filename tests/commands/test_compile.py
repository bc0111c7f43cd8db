"""``python -m mpi_vta.compile``: the table of layers and the program file."""

import json
import re
from pathlib import Path

import onnx
import pytest
from onnx_nets import Net

from mpi_vta.codegen.program import Program
from mpi_vta.compile import main
from mpi_vta.errors import CompileError
from mpi_vta.plan import main as plan_model

DIGITS = ["--model", "digits"]


def json_of(capsys, *arguments):
    assert main([*DIGITS, "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_layers_and_cycles_sum_up(capsys):
    found = json_of(capsys)
    assert sum(layer["cycles"] for layer in found["layers"]) == found["total_cycles"] > 0
    assert found["total_ms"] == pytest.approx(found["total_cycles"] / 100_000)
    assert found["bound_fraction"] == pytest.approx(found["bound_cycles"] / found["total_cycles"])
    assert all(layer["gemm_uops"] > 0 for layer in found["layers"] if layer["op"].startswith("conv2d"))


def test_program_file_holds_what_was_shown(capsys, tmp_path):
    path = tmp_path / "digits.program"
    found = json_of(capsys, "-o", str(path))
    program = Program.load(path)
    assert (program.sha256, len(program.insns)) == (found["sha256"], found["instructions"])
    assert [layer.name for layer in program.layers] == [layer["name"] for layer in found["layers"]]


def test_plot_is_a_picture(tmp_path):
    path = tmp_path / "roofline.png"
    assert main([*DIGITS, "--plot", str(path)]) == 0
    assert path.read_bytes().startswith(b"\x89PNG")


def test_check_says_what_was_checked(capsys):
    assert main([*DIGITS, "--check"]) == 0
    assert "no race, no deadlock" in capsys.readouterr().out


def test_configuration_changes_program_and_board(capsys):
    found = json_of(capsys, "--config", "ultra96_1x16")
    assert (found["board"], found["clock_mhz"]) == ("ultra96", 333.0)
    assert found["total_cycles"] != json_of(capsys)["total_cycles"]


def test_second_start_compiles_nothing(capsys, monkeypatch):
    first = json_of(capsys)

    def refuse(*_, **__):
        raise AssertionError("compiled again")

    monkeypatch.setattr("mpi_vta.job.planning.compile_graph", refuse)
    assert json_of(capsys)["sha256"] == first["sha256"]


def test_table_names_layers_and_labels_cycles_as_modelled(capsys):
    assert main(DIGITS) == 0
    out = capsys.readouterr().out
    assert "cycles are modelled" in out
    assert "conv1" in out
    assert "total" in out


WRONG = {
    "model": (["--model", str(Path("missing.onnx"))], "missing.onnx: no such file"),
    "config": ([*DIGITS, "--config", "nosuch"], "nosuch: no such file and no shipped vta_configs entry"),
    "endless model": (
        ["--model", "/dev/zero"],
        "/dev/zero: cannot read the model (a pipe or device, not a file); allowed: a file that can be read",
    ),
    "seed": ([*DIGITS, "--seed", "-1"], "command line: argument --seed: '-1'; allowed: 0 to 2147483647"),
    "option": ([], "command line: the following arguments are required: --model"),
    "output": ([*DIGITS, "-o", "/proc/nowhere/x.program"], "/proc/nowhere/x.program: cannot write the program"),
    "plot": ([*DIGITS, "--plot", "roof.xyz"], "roof.xyz: no such picture format"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG.keys())
def test_bad_input_is_one_line_and_exit_status_2(capsys, arguments, message):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"mpi_vta: error: {message}")
    assert error.count("\n") == 1


def test_layer_that_cannot_be_compiled_is_named_with_its_file(capsys, monkeypatch, tmp_path):
    def refuse(graph, *_, **__):
        raise CompileError("no tiling fits the buffers", where=graph.nodes[0].name, remedy="use larger buffers")

    monkeypatch.setattr("mpi_vta.job.planning.compile_graph", refuse)
    net = Net((1, 3, 8, 8))
    path = tmp_path / "net.onnx"
    onnx.save(net.model(net.conv("input", 3, 4, name="first")), path)
    message = f"{path}: first: no tiling fits the buffers; use larger buffers\n"
    for command in (main, plan_model):
        assert command(["--model", str(path)]) == 2
        assert capsys.readouterr().err.endswith(message)
    other = tmp_path / "other.onnx"
    onnx.save(net.model(net.conv("first", 4, 4, name="second")), other)
    assert plan_model(["--model", str(other), "--model", str(path), "--cluster", "pynq4"]) == 2
    assert re.search(r"other\.onnx: (first|second): no tiling fits", capsys.readouterr().err)
