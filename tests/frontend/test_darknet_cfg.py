"""Darknet's ``.cfg``: YOLOv3-tiny is the zoo's, other layers are what darknet computes, faults are named."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_nets import ops

from mpi_vta.errors import ModelError
from mpi_vta.frontend.darknet_cfg import read_cfg
from mpi_vta.frontend.darknet_layers import build_cfg
from mpi_vta.frontend.detection import YOLOV3_TINY
from mpi_vta.frontend.models import load_model
from mpi_vta.frontend.onnx_import import import_model
from mpi_vta.graph.reference import execute

NET = "[net]\nwidth=416\nheight=416\nchannels=3\n"
ANCHORS = "anchors = 10,14,  23,27,  37,58,  81,82,  135,169,  344,319"


def conv(filters, size, options="batch_normalize=1", activation="leaky", stride=1):
    return (
        f"[convolutional]\n{options}\nfilters={filters}\nsize={size}\nstride={stride}\npad=1\nactivation={activation}\n"
    )


def pool(stride):
    return f"[maxpool]\nsize=2\nstride={stride}\n"


def yolo(mask):
    return f"[yolo]\nmask = {mask}\n{ANCHORS}\nclasses=80\nnum=6\n"


def yolov3_tiny():
    sections = [NET, "# comment\n"]
    for filters in (16, 32, 64, 128, 256):
        sections += [conv(filters, 3), pool(2)]
    sections += [conv(512, 3), pool(1), conv(1024, 3), conv(256, 1), conv(512, 3)]
    sections += [conv(255, 1, "", "linear"), yolo("3,4,5"), "[route]\nlayers = -4\n", conv(128, 1)]
    sections += ["[upsample]\nstride=2\n", "[route]\nlayers = -1, 8\n", conv(256, 3), conv(255, 1, "", "linear")]
    return "\n".join([*sections, yolo("0,1,2")])


def write(tmp_path, *sections, net=NET, name="net.cfg"):
    path = tmp_path / name
    path.write_text(net + "\n".join(sections), encoding="utf-8")
    return path


def test_yolov3_tiny_is_the_zoo_s_with_its_anchors(tmp_path):
    path = write(tmp_path, yolov3_tiny(), net="", name="yolov3-tiny.cfg")
    weights = tmp_path / "yolov3-tiny.weights"
    numbers = np.arange(8_858_734, dtype="<f4") % 1009 / 1009
    weights.write_bytes(np.array([0, 2, 0, 0, 0], "<i4").tobytes() + numbers.tobytes())
    model, zoo = (load_model(name, weights=weights) for name in (str(path), "yolo"))
    assert model.graph.nodes == zoo.graph.nodes
    assert all(np.array_equal(model.graph.constants[n], array) for n, array in zoo.graph.constants.items())
    assert (model.detector, model.task, model.preprocess) == (YOLOV3_TINY, zoo.task, zoo.preprocess)
    assert (model.name, model.weights_note, model.has_meaning) == (
        "yolov3-tiny",
        "weights of yolov3-tiny.weights",
        True,
    )


def test_without_weights_they_are_seeded_and_say_so(tmp_path):
    path = write(tmp_path, conv(4, 3), net="[net]\nwidth=8\nheight=6\n")
    model = load_model(str(path), seed=3)
    assert (model.task, model.has_meaning) == ("plain", False)
    assert model.weights_note == "synthetic weights (seed 3): results mean nothing"
    assert model.calibration.shape == (4, 3, 6, 8)


def test_weights_of_another_network_are_refused(tmp_path):
    path = write(tmp_path, conv(4, 3), net="[net]\nwidth=8\nheight=6\n")
    (tmp_path / "w.weights").write_bytes(b"\0" * 100)
    with pytest.raises(ModelError, match=r"w\.weights: 100 bytes; allowed: 512 bytes: the weights of net\.cfg"):
        load_model(str(path), weights=tmp_path / "w.weights")


def outputs_of(path, x):
    graph = import_model(build_cfg(read_cfg(path), 0, None), "net", "net")
    return graph, execute(graph, {"input": x})[graph.outputs[0]]


def test_shortcuts_groups_and_activations(tmp_path):
    sections = [conv(8, 3), conv(8, 3, "groups=4"), "[shortcut]\nfrom=-2\nactivation=linear\n"]
    sections += ["[route]\nlayers=-1\ngroups=2\ngroup_id=1\n", conv(4, 1, activation="mish")]
    sections += [conv(4, 1, activation="swish"), conv(4, 1, activation="relu"), "[dropout]\nprobability=.5\n"]
    sections += ["[avgpool]\n", "[softmax]\n"]
    graph, found = outputs_of(write(tmp_path, *sections), np.random.default_rng(0).random((1, 3, 416, 416), np.float32))
    wanted = ["conv2d", "leaky_relu", "conv2d", "leaky_relu", "add", "slice", "conv2d", "activation", "conv2d"]
    wanted += ["activation", "conv2d", "relu", "global_avg_pool2d", "flatten", "softmax"]
    assert ops(graph) == wanted
    assert [node.attrs["kind"] for node in graph.nodes if node.op == "activation"] == ["mish", "silu"]
    assert found.shape == (1, 4)


@pytest.mark.parametrize(("size", "stride", "extent"), [(2, 2, 7), (2, 1, 6), (3, 2, 8), (3, 1, 5)])
def test_pooling_is_padded_as_darknet_does(tmp_path, size, stride, extent):
    """Darknet begins windows at -(size - 1) // 2 and has (extent + size - 1 - size) // stride + 1 of them."""
    path = write(
        tmp_path, f"[maxpool]\nsize={size}\nstride={stride}\n", net=f"[net]\nwidth={extent}\nheight={extent}\n"
    )
    x = np.random.default_rng(0).normal(size=(1, 3, extent, extent)).astype(np.float32)
    _, found = outputs_of(path, x)
    count, first = (extent - 1) // stride + 1, -((size - 1) // 2)
    starts = [first + index * stride for index in range(count)]
    wanted = [[x[0, :, max(r, 0) : r + size, max(c, 0) : c + size].max(axis=(1, 2)) for c in starts] for r in starts]
    np.testing.assert_array_equal(found[0], np.array(wanted).transpose(2, 0, 1))


REFUSED = {
    "layer": (["[lstm]\n"], r"line 5 \[lstm\]: layer lstm is not supported; allowed: convolutional, "),
    "activation": (
        [conv(4, 3, activation="selu")],
        r"line 5 \[convolutional\]: activation selu; allowed: linear, leaky",
    ),
    "number": ([conv("many", 3)], "filters is 'many'; allowed: whole numbers"),
    "missing": (["[route]\n"], "layers is missing"),
    "route": (["[route]\nlayers=-3\n"], r"reads layers \(-3,\)"),
    "groups": ([conv(4, 3, "groups=2")], "2 groups for 3 channels and 4 filters; allowed: a divisor of both"),
    "shortcut": ([conv(4, 3), conv(8, 3), "[shortcut]\nfrom=-2\n"], r"adds \[8, 4\] channels; allowed: equal"),
    "shapes": (
        [conv(4, 3), conv(4, 3, stride=2), "[shortcut]\nfrom=-2\n"],
        r"adds \(1, 4, 208, 208\) and \(1, 4, 416, 416\)",
    ),
    "joined": (
        [conv(4, 3), conv(4, 3, stride=2), "[route]\nlayers=-1,-2\n"],
        r"joins .*allowed: equal heights and widths",
    ),
    "part": ([conv(4, 3), "[route]\nlayers=-1\ngroups=2\ngroup_id=2\n"], "group 2 of 2"),
    "head": ([conv(4, 3), yolo("0,1,2")], "reads 4 channels; allowed: 255 for its anchors"),
    "mask": ([conv(255, 1), yolo("0,1,9")], r"mask \(0, 1, 9\) with 12 numbers of anchors"),
    "boxes": (
        [conv(255, 1), yolo("0,1,2") + "scale_x_y = wide\n"],
        "scale_x_y is 'wide'; allowed: a number above 0",
    ),
    "window": (["[maxpool]\nsize=9\nstride=0\n"], r"size 9, strides \(0, 0\)"),
    **{
        key: ([conv(4, 3, f"{key}={value}")], rf"option {key}={value} is not supported; allowed: {key}=0")
        for key, value in (("xnor", 1), ("antialiasing", 1), ("assisted_excitation", "0.4"), ("flipped", 1))
    },
    "dilation": ([conv(4, 2, "dilation=2")], "dilation 2 with size 2 and padding 1; allowed: an odd size, and pad=1"),
    "depth": (["[maxpool]\nmaxpool_depth=1\nout_channels=2\n"], "option maxpool_depth=1 is not supported"),
    "weighted": (
        [conv(4, 3), conv(4, 3), "[shortcut]\nfrom=-2\nweights_type=per_feature\n"],
        "option weights_type=per_feature is not supported; allowed: weights_type=none",
    ),
    "scaled": (["[upsample]\nscale=0.5\n"], "option scale=0.5 is not supported; allowed: scale=1"),
    "softmax": (["[softmax]\ntemperature=2\n"], "option temperature=2 is not supported; allowed: temperature=1"),
    "behind softmax": (["[softmax]\n", conv(4, 1)], r"line 7 \[convolutional\]: follows a softmax"),
    "loose": (["junk\n"], r"line 5: 'junk'; allowed: \[section\] and then key=value"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_has_no_counterpart_is_refused_with_its_line(tmp_path, kind):
    sections, message = REFUSED[kind]
    with pytest.raises(ModelError, match=message):
        load_model(str(write(tmp_path, *sections)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no section"),
        (b"\xff\xfe\x00", "not a text file"),
        (b"[convolutional]\nfilters=1\n", r"begins with \[convolutional\]"),
        (b"[net]\nheight=4\nwidth=4\n", r"begins with \[net\]"),
        (b"[net]\nheight=0\nwidth=4\n[dropout]\n", r"an input of \(1, 3, 0, 4\)"),
        (b"[net]\nwidth=4\n[dropout]\n", "height is missing"),
    ],
)
def test_files_that_are_no_network_are_refused(tmp_path, content, message):
    (tmp_path / "bad.cfg").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_cfg(tmp_path / "bad.cfg")
    with pytest.raises(ModelError, match=r"absent\.cfg: cannot read the network"):
        read_cfg(tmp_path / "absent.cfg")
