import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from convolutions import conv_attrs

from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.graph.ir import Graph, Node, Value
from mpi_vta.graph.layout import unpack_activation
from mpi_vta.graph.reference import execute
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import find
from mpi_vta.inspect import main
from mpi_vta.isa.assembly import assemble
from mpi_vta.simulator.vectors import Vector

VECTORS = Path(__file__).parent.parent / "data" / "vectors"
SERIAL, TILED = VECTORS / "fuzz_pynq_1x16_1000.npz", VECTORS / "tiled_pynq_1x16_2000.npz"
CONFIG = VTAConfig.load(find("vta_configs", "pynq_1x16", ".json"))


def convolution(channels, kernel=3):
    """Return a graph of one convolution with random weights."""
    rng = np.random.default_rng(5)
    pad = kernel // 2
    attrs = conv_attrs(pad, shift=9, lo=0)
    constants = {
        "w": rng.integers(-128, 128, (24, channels, kernel, kernel), dtype=np.int8),
        "b": rng.integers(-500, 500, 24, dtype=np.int32),
    }
    node = Node("conv", "conv2d", ("x",), "y", attrs, {"weight": "w", "bias": "b"})
    values = {"x": Value("x", (1, channels, 8, 8), "int8", -4), "y": Value("y", (1, 24, 8, 8), "int8", -4)}
    return Graph("one", "int8", ("x",), ("y",), (node,), values, constants)


@pytest.fixture(params=[32, 3], ids=["plain", "patches gathered by the host"])
def graph(request):
    return convolution(request.param)


@pytest.fixture
def program(graph, tmp_path):
    path = tmp_path / "one.prog"
    compile_graph(graph, CONFIG).save(path)
    return path


def run(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.npz"))[::4], ids=lambda path: path.stem)
def test_replay_prints_the_result_as_json(path, capsys):
    status, out, err = run(capsys, "replay", path, "--json")
    expected = Vector.load(path).rtl_cycles
    result = json.loads(out)
    assert (status, err) == (0, "")
    assert list(result) == ["match", "mismatched_bytes", "cycles", "expected_cycles"]
    assert (result["match"], result["mismatched_bytes"], result["expected_cycles"]) == (True, 0, expected)
    assert expected in (-1, result["cycles"])


def test_replay_without_json_says_what_is_modelled(capsys):
    status, out, _ = run(capsys, "replay", TILED, "--check", "--profile")
    assert status == 0
    assert json.loads(out.splitlines()[0])["match"] is True
    assert "inside the portable subset, no race" in out
    assert "cycles are modelled: profile rtl" in out
    assert any(line.startswith("total") for line in out.splitlines())


def test_replay_that_does_not_match_says_so_by_its_status(tmp_path, capsys):
    with np.load(TILED) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays["out"][5] ^= 1
    np.savez(tmp_path / "wrong.npz", **arrays)
    status, out, _ = run(capsys, "replay", tmp_path / "wrong.npz")
    assert status == 1
    assert json.loads(out.splitlines()[0])["mismatched_bytes"] == 1
    assert "every expected byte" not in out


def test_timing_profile_is_a_choice(capsys):
    _, out, _ = run(capsys, "replay", TILED, "--timing", "hls")
    assert "profile hls" in out


def test_timeline_is_drawn(tmp_path, capsys):
    picture = tmp_path / "out.png"
    assert run(capsys, "replay", TILED, "--json", "--timeline", picture)[0] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_program_is_timed_per_layer(program, capsys):
    status, out, _ = run(capsys, "replay", program, "--profile", "--check")
    assert status == 0
    assert json.loads(out.splitlines()[0])["match"] is None
    assert any(line.startswith("conv ") for line in out.splitlines())


def test_disassembly_of_a_vector_assembles_to_it(capsys):
    status, out, _ = run(capsys, "disassemble", SERIAL)
    vector = Vector.load(SERIAL)
    assert status == 0
    np.testing.assert_array_equal(assemble(out, vector.config), vector.insns)


def test_program_is_disassembled(program, capsys):
    _, out, _ = run(capsys, "disassemble", program)
    assert out.startswith("# one.prog: pynq_1x16_i8w8a32_15_15_18_17\n")
    assert out.endswith("FINISH pop_next\n")


def test_reader_that_has_seen_enough_is_no_error(program):
    command = [sys.executable, "-m", "mpi_vta.inspect", "disassemble", str(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_exported_program_replays_and_holds_what_the_reference_says(graph, program, tmp_path, capsys):
    images = np.random.default_rng(1).integers(-128, 128, (1, *graph.values["x"].shape[1:]), dtype=np.int8)
    np.save(tmp_path / "x.npy", images)
    exported = tmp_path / "vector.npz"
    status, out, err = run(capsys, "export", program, "--input", tmp_path / "x.npy", "-o", exported)
    assert (status, err) == (0, "")
    assert out.startswith(f"{exported}: ")
    vector = Vector.load(exported)
    got = unpack_activation(vector.expected[0].content, (1, 24, 8, 8), CONFIG, 1)
    np.testing.assert_array_equal(got, execute(graph, {"x": images})["y"])
    status, out, _ = run(capsys, "replay", exported, "--json", "--check")
    assert status == 0
    assert json.loads(out)["match"] is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "command line: the following arguments are required: command"),
        (["replay"], "command line: the following arguments are required: file"),
        (["replay", "none.npz"], "none.npz: cannot read the vector"),
        (["disassemble", "none.npz"], "none.npz: cannot read the vector"),
        (["export", "none.prog", "--input", "x.npy", "-o", "y.npz"], "none.prog: cannot read the program"),
        (["replay", str(TILED), "--timeline", "/proc/nowhere/t.png"], "/proc/nowhere/t.png: cannot write the picture"),
        (["replay", str(TILED), "--timing", "fpga"], "argument --timing: invalid choice: 'fpga'"),
        (["replay", str(SERIAL), "--check"], "rule 7: an accumulator is used again after 1 micro-op"),
    ],
)
def test_fault_is_one_line_and_status_2(arguments, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, _, err = run(capsys, *arguments)
    assert status == 2
    assert err.startswith("mpi_vta.inspect: error: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((1, 3, 8, 8), dtype=np.uint8), "uint8 of shape (1, 3, 8, 8); allowed: int8 of shape (1..1, 3, 8, 8)"),
        (np.zeros((1, 3, 8, 9), dtype=np.int8), "int8 of shape (1, 3, 8, 9); allowed:"),
        (np.zeros((2, 3, 8, 8), dtype=np.int8), "int8 of shape (2, 3, 8, 8); allowed:"),
        (np.zeros((8, 8), dtype=np.int8), "int8 of shape (8, 8); allowed:"),
    ],
)
def test_input_that_does_not_fit_the_program_is_refused(array, message, tmp_path, capsys):
    compile_graph(convolution(3), CONFIG).save(tmp_path / "one.prog")
    np.save(tmp_path / "x.npy", array)
    status, _, err = run(
        capsys, "export", tmp_path / "one.prog", "--input", tmp_path / "x.npy", "-o", tmp_path / "y.npz"
    )
    assert status == 2
    assert message in err


def test_input_that_is_no_array_is_refused(program, tmp_path, capsys):
    (tmp_path / "x.npy").write_bytes(b"no array")
    status, _, err = run(capsys, "export", program, "--input", tmp_path / "x.npy", "-o", tmp_path / "y.npz")
    assert status == 2
    assert "x.npy: the input is not a NumPy array" in err


def test_number_of_inputs_is_checked(program, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 8, 8), dtype=np.int8))
    inputs = ["--input", tmp_path / "x.npy"] * 2
    status, _, err = run(capsys, "export", program, *inputs, "-o", tmp_path / "y.npz")
    assert status == 2
    assert "--input: 2 inputs; allowed: 1: x" in err


def test_damaged_program_is_refused(program, tmp_path, capsys):
    data = bytearray(program.read_bytes())
    data[len(data) // 2] ^= 0xFF
    program.write_bytes(data)
    status, _, err = run(capsys, "disassemble", program)
    assert status == 2
    assert "one.prog" in err
