from __future__ import annotations

import numpy as np
import pytest

from mpi_vta.errors import ModelError
from mpi_vta.frontend.darknet import YOLOV3_TINY_CONVOLUTIONS, read_darknet
from mpi_vta.frontend.models import load_model

NUMBERS = 8_858_734  # of yolov3-tiny.weights, whose size is 35 434 956 bytes


def write(path, version=(0, 2, 0), count=NUMBERS):
    seen = np.array([32013312], "<i8" if version >= (0, 2, 0) else "<i4")
    numbers = np.arange(count, dtype="<f4") % 1009 / 1009
    path.write_bytes(np.array(version, "<i4").tobytes() + seen.tobytes() + numbers.tobytes())
    return numbers


@pytest.mark.parametrize("version", [(0, 2, 0), (0, 1, 0)])
def test_numbers_are_taken_in_the_order_of_the_file(tmp_path, version):
    numbers = write(tmp_path / "tiny.weights", version)
    arrays = read_darknet(tmp_path / "tiny.weights")
    assert sum(array.size for array in arrays.values()) == NUMBERS
    first = [arrays[f"layer0.bn.{role}"] for role in ("bias", "weight", "running_mean", "running_var")]
    np.testing.assert_array_equal(np.concatenate(first), numbers[:64])
    np.testing.assert_array_equal(arrays["layer0.conv.weight"].reshape(-1), numbers[64 : 64 + 432])
    last = arrays["layer22.conv.weight"]
    assert last.shape == (255, 256, 1, 1)
    np.testing.assert_array_equal(last.reshape(-1), numbers[-last.size :])
    np.testing.assert_array_equal(arrays["layer22.conv.bias"], numbers[-last.size - 255 : -last.size])


def test_they_fit_the_zoo_s_yolo(tmp_path):
    write(tmp_path / "tiny.weights")
    model = load_model("yolo", weights=tmp_path / "tiny.weights")
    assert model.has_meaning
    assert model.weights_note == "weights of tiny.weights"
    assert len(YOLOV3_TINY_CONVOLUTIONS) == sum(node.op == "conv2d" for node in model.graph.nodes)


def test_another_size_is_refused(tmp_path):
    write(tmp_path / "other.weights", count=1000)
    with pytest.raises(ModelError, match=r"other\.weights: 4020 bytes; allowed: 35434956 bytes"):
        read_darknet(tmp_path / "other.weights")
    (tmp_path / "empty.weights").write_bytes(b"")
    with pytest.raises(ModelError, match=r"empty\.weights: 0 bytes"):
        read_darknet(tmp_path / "empty.weights")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"absent\.weights: cannot read the weights \(No such file"):
        read_darknet(tmp_path / "absent.weights")
