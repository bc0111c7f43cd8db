from __future__ import annotations

import json
import math

import numpy as np
import pytest

from mpi_vta.__main__ import main as all_commands
from mpi_vta.frontend.models import load_model
from mpi_vta.graph.reference import execute_all
from mpi_vta.quantize.__main__ import main
from mpi_vta.quantize.model import dequantize
from mpi_vta.quantize.options import QuantizeOptions
from mpi_vta.quantize.quantizer import quantize_with_decisions, sqnr_db
from mpi_vta.quantize.report import draw_errors, layer_errors


@pytest.fixture(scope="module")
def made():
    loaded = load_model("digits")
    options = QuantizeOptions(per_channel="always")
    return loaded, quantize_with_decisions(loaded.graph, loaded.calibration, options)


def test_accumulated_errors_are_those_of_the_whole_run(made):
    loaded, made = made
    images = loaded.truth.images[:5]
    exact = execute_all(made.body, {"input": images})
    values = execute_all(made.model.graph, made.model.quantize_input(images))
    for layer, entry in zip(made.layers, layer_errors(made, images), strict=True):
        real = dequantize(values[layer.output], made.model.graph.values[layer.output].scale_log2)
        assert entry.accumulated_db == pytest.approx(sqnr_db(exact[layer.output], real), abs=1e-3)


def test_a_layer_s_own_error_is_smaller_than_that_of_all_and_exact_where_nothing_rounds(made):
    loaded, made = made
    errors = {entry.name: entry for entry in layer_errors(made, loaded.truth.images[:5])}
    assert math.isinf(errors["pool2"].own_db)
    assert math.isfinite(errors["pool2"].accumulated_db)
    assert all(entry.own_db >= entry.accumulated_db - 1e-6 for entry in errors.values())


def test_a_scale_per_channel_states_its_cycles(made):
    loaded, made = made
    errors = {entry.name: entry for entry in layer_errors(made, loaded.truth.images[:1])}
    assert errors["conv2"].is_per_channel
    assert errors["conv2"].shift_cycles == 2 * 8 * 8 * 2
    assert errors["pool2"].shift_cycles == 0
    assert errors["pool2"].channel_gain_db is None


def test_the_picture_is_drawn(made, tmp_path):
    loaded, made = made
    draw_errors("digits", layer_errors(made, loaded.truth.images[:2]), tmp_path / "errors.png")
    assert (tmp_path / "errors.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_prints_a_row_per_layer(capsys, tmp_path):
    assert all_commands(["quantize", "--model", "digits", "--report", "--plot", str(tmp_path / "errors.svg")]) == 0
    printed = capsys.readouterr().out
    assert "digits: SQNR against floats, measured on 32 images" in printed
    assert all(name in printed for name in ("conv1", "pool3", "fc", "exact", "equalised", "per channel"))
    assert (tmp_path / "errors.svg").exists()


def test_json_holds_the_options_and_finite_numbers(capsys):
    assert main(["--model", "digits", "--json", "--per-channel", "never", "--calibration", "minmax"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["options"].pop("pictures")["mean"] is None
    assert report["options"] == {
        "calibration": "minmax",
        "per_channel": "never",
        "equalize": "auto",
        "bias_correction": "on",
        "input_shape": None,
        "fast_slopes": False,
    }
    rows = {row["name"]: row for row in report["layers"]}
    assert rows["pool2"]["own_db"] is None
    assert not any(row["is_per_channel"] for row in rows.values())
    assert np.isfinite([row["accumulated_db"] for row in rows.values()]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "mpi_vta.quantize: nothing to do; allowed: --report, --json, --plot, --output"),
        (["--report", "--images", "0"], "--images: 0 images; allowed: 1 or more"),
        (["--report", "--calibration", "best"], "--calibration: 'best'; allowed: minmax, percentile, mse"),
        (["--plot", "/proc/nowhere/errors.png"], "/proc/nowhere/errors.png: cannot write the picture"),
        (["--plot", "errors.words"], "errors.words: no such picture format"),
    ],
)
def test_wrong_options_are_one_line(capsys, monkeypatch, tmp_path, options, message):
    monkeypatch.chdir(tmp_path)
    assert main(["--model", "digits", *options]) == 2
    assert message in capsys.readouterr().err
