"""docs/your_model.md, followed literally."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from mpi_vta.frontend.models import DATA, read_weights
from mpi_vta.frontend.shapes import draw_patch
from mpi_vta.frontend.small_nets import build_residual
from mpi_vta.npy import read_npy

PAGE = Path(__file__).parents[2] / "docs" / "your_model.md"
MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)

pytestmark = [pytest.mark.mpi, pytest.mark.slow]


def normalised_net():
    """Return the shipped classifier of shapes as if it had been trained on normalised pictures."""
    weights = read_weights(DATA / "residual_weights.npz")
    kernel = weights["stem.weight"].astype(np.float32)
    weights["stem.weight"] = kernel * STD[None, :, None, None]
    moved = weights["stem.bn.running_mean"].astype(np.float32) - np.einsum("oihw,i->o", kernel, MEAN)
    weights["stem.bn.running_mean"] = moved
    return build_residual(0, {name: array.astype(np.float32) for name, array in weights.items()})


@pytest.fixture
def files(tmp_path):
    onnx.save(normalised_net(), tmp_path / "net.onnx")
    for index in range(48):
        picture, label = draw_patch(2, index)
        folder = tmp_path / "pictures" / str(int(label))
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{index:03d}.png")
    (tmp_path / "more").mkdir()
    for index in range(12):
        Image.fromarray(draw_patch(1, index)[0]).save(tmp_path / "more" / f"{index:03d}.png")
    return tmp_path


def shares(printed):
    """Return the accuracy in float and on VTA."""
    found = re.search(r"accuracy    float (\S+) %, VTA int8 (\S+) % on 48 labelled images", printed)
    return float(found[1]), float(found[2])


def test_page_is_followed(files, start):
    commands = re.findall(r"^mpirun -n 2 python (.*)$", PAGE.read_text(), re.MULTILINE)
    first, second, third = (start(2, *shlex.split(command), MPI_VTA_CACHE=str(files / "cache")) for command in commands)
    assert [ended.stderr for ended in (first, second, third)] == ["", "", ""]
    (warning,) = re.findall(r"^warning .*$", PAGE.read_text(), re.MULTILINE)
    assert warning in first.stdout.splitlines()
    assert max(shares(first.stdout)) < 60
    assert min(shares(second.stdout)) > 85
    assert "warning" not in second.stdout + third.stdout
    written = (files / "net.toml").read_text().splitlines()
    shown = PAGE.read_text().split("\n```\nmean =")[1].splitlines()
    assert written[1:] == [f"mean ={shown[0]}", *shown[1:5]]
    answers = json.loads((files / "out" / "mine" / "answers.json").read_text())
    assert [row["file_name"] for row in answers] == [f"{index:03d}.png" for index in range(12)]
    assert sum(row["class"] == draw_patch(1, index)[1] for index, row in enumerate(answers)) >= 10
    assert re.search(r"^image    0  000.png: classes \d \(0\.\d+\), ", third.stdout, re.MULTILINE)
    outputs = files / "out" / "mine" / "outputs"
    (entry,) = json.loads((outputs / "set.json").read_text())["outputs"]
    integers, real = (read_npy((outputs / name).read_bytes(), "", "") for name in ("000.npy", "real-000.npy"))
    np.testing.assert_array_equal(integers.reshape(12, 8) * 2.0 ** entry["scale_log2"], real)
