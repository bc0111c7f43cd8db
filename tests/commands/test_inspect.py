import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from convolutions import conv_attrs

from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.codegen.program import Program
from mpi_vta.graph.ir import Graph, Node, Value
from mpi_vta.graph.layout import unpack_activation
from mpi_vta.graph.reference import execute
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import find
from mpi_vta.inspect import main
from mpi_vta.isa.assembly import assemble
from mpi_vta.simulator.functional import Executable
from mpi_vta.simulator.replay import CHISEL_MICRO_OPS, most_micro_ops
from mpi_vta.simulator.timing import simulate
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
    expected = Vector.load(TILED).rtl_cycles
    assert out.splitlines()[:4] == [
        "checked     inside the portable subset, no race",
        f"cycles      {expected:,} (modelled, profile rtl)",
        "bytes       every expected one came out",
        f"recorded    {expected:,} cycles, +0",
    ]
    assert any(line.startswith("total") for line in out.splitlines())


def test_replay_that_does_not_match_says_so_by_its_status(tmp_path, capsys):
    with np.load(TILED) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays["out"][5] ^= 1
    np.savez(tmp_path / "wrong.npz", **arrays)
    status, out, _ = run(capsys, "replay", tmp_path / "wrong.npz")
    assert status == 1
    assert "bytes       1 not as expected" in out


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
    assert "bytes       none expected of a compiled program" in out
    assert "expected_cycles" not in out
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


def test_export_of_every_byte_that_changes_holds_the_outputs_and_more(graph, program, tmp_path, capsys):
    exported, outputs = tmp_path / "all.npz", tmp_path / "outputs.npz"
    for path, options in ((exported, ["--all"]), (outputs, [])):
        assert run(capsys, "export", program, "--input", "random:7", "-o", path, *options)[0] == 0
    whole, part = Vector.load(exported), Vector.load(outputs)
    before = whole.image()
    after = before.copy()
    Executable(whole.config, whole.insns, after).run(after)
    claimed = np.zeros(after.size, dtype=bool)
    for extent in whole.expected:
        claimed[extent.address : extent.end] = True
        np.testing.assert_array_equal(after[extent.address : extent.end], extent.content)
    assert not (before != after)[~claimed].any()
    assert whole.expected[0].address >= part.expected[0].address
    assert whole.modelled_cycles == part.modelled_cycles == simulate(whole.config, whole.insns).cycles
    assert json.loads(run(capsys, "replay", exported, "--json")[1])["match"] is True


def test_random_input_is_that_of_its_seed(graph, program, tmp_path, capsys):
    shape = graph.values["x"].shape
    np.save(tmp_path / "x.npy", np.random.default_rng(7).integers(-128, 128, shape, dtype=np.int8))
    for name, source in (("a", "random:7"), ("b", tmp_path / "x.npy"), ("c", "random:8")):
        run(capsys, "export", program, "--input", source, "-o", tmp_path / name)
    made = [(tmp_path / name).read_bytes() for name in "abc"]
    assert made[0] == made[1] != made[2]


def test_program_that_fills_more_micro_ops_than_the_chisel_source_holds_says_so(program, tmp_path, capsys):
    load = f"LOAD memory_type=UOP y_size=1 x_size={CHISEL_MICRO_OPS}"
    for sram, notes in ((0, 0), (1, 1)):
        words = assemble(f"{load} sram_base={sram}\nFINISH", CONFIG)
        assert most_micro_ops(CONFIG, words) == CHISEL_MICRO_OPS + sram
        made = replace(Program.load(program), insns=words, insn_segment=np.full(2, -1, np.int16))
        replace(made, insn_layer=np.full(2, -1, np.int16)).save(tmp_path / "big.prog")
        out = run(capsys, "replay", tmp_path / "big.prog")[1]
        assert out.count("micro-ops: VTA's Chisel source holds 2048 unless built with more") == notes


@pytest.fixture
def vector(tmp_path):
    """Return a copy of a vector, to be written to."""
    path = tmp_path / "v.npz"
    path.write_bytes(TILED.read_bytes())
    return path


def test_record_writes_cycles_and_agreement_back(vector, tmp_path, capsys):
    before = Vector.load(vector)
    image = before.image()
    Executable(before.config, before.insns, image).run(image)
    (tmp_path / "dram").write_bytes(image.tobytes())
    status, out, _ = run(capsys, "replay", vector, "--record", "other", "--cycles", "123", "--dram", tmp_path / "dram")
    after = Vector.load(vector)
    assert status == 0
    assert (after.rtl_cycles, after.agreed) == (123, f"{before.agreed},other")
    assert after.modelled_cycles == simulate(before.config, before.insns).cycles
    assert f"bytes agreed by {after.agreed}; cycles 123 measured, {after.modelled_cycles} modelled" in out
    assert json.loads(run(capsys, "replay", vector, "--json")[1])["expected_cycles"] == 123


def test_record_of_cycles_alone_claims_no_agreement(vector, capsys):
    agreed = Vector.load(vector).agreed
    assert run(capsys, "replay", vector, "--record", "other", "--cycles", "9", "--json")[0] == 0
    assert (Vector.load(vector).rtl_cycles, Vector.load(vector).agreed) == (9, agreed)


@pytest.mark.parametrize(
    ("options", "dram_bytes", "message"),
    [
        (["--cycles", "5"], 0, "--cycles, --dram: they are for --record"),
        (["--record", "a b", "--cycles", "5"], 0, "--record: 'a b'; allowed: a name of letters"),
        (["--record", "a"], 0, "--record: nothing to record; give --cycles, --dram or both"),
        (["--record", "a", "--cycles", "0"], 0, "--cycles: 0; allowed: 1 or more"),
        (["--record", "a", "--dram", "none"], 0, "none: cannot read the DRAM"),
        (["--record", "a", "--dram", "dram"], 7, "--dram: it holds 7 bytes; allowed:"),
        (["--record", "a", "--dram", "dram"], 1 << 23, "of the expected bytes are others in what a left; find out"),
    ],
)
def test_record_that_is_refused_leaves_the_file_as_it_is(options, dram_bytes, message, vector, capsys, monkeypatch):
    monkeypatch.chdir(vector.parent)
    Path("dram").write_bytes(bytes(dram_bytes))
    before = vector.read_bytes()
    status, _, err = run(capsys, "replay", vector, "--json", *options)
    assert status == 2
    assert message in err
    assert vector.read_bytes() == before


def test_record_on_a_replay_that_does_not_match_is_refused(vector, capsys):
    with np.load(vector) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays["out"][5] ^= 1
    np.savez(vector, **arrays)
    status, _, err = run(capsys, "replay", vector, "--json", "--record", "a", "--cycles", "5")
    assert status == 2
    assert "the replay itself does not match; nothing was recorded" in err


@pytest.mark.parametrize("seed", ["", "-1", "x", "1" * 19])
def test_seed_that_is_none_is_refused(seed, program, tmp_path, capsys):
    status, _, err = run(capsys, "export", program, "--input", f"random:{seed}", "-o", tmp_path / "y.npz")
    assert status == 2
    assert f"--input: random:{seed}; allowed: random: and a whole number, such as random:0" in err


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
