"""Exported programs against PyTorch and against the ONNX way; files that would execute something are refused."""

from __future__ import annotations

import io
import json
import logging
import os
import zipfile

import numpy as np
import onnx
import pytest
from onnx_nets import ops

from mpi_vta.errors import ModelError
from mpi_vta.frontend.models import load_model
from mpi_vta.frontend.onnx_builder import OnnxBuilder
from mpi_vta.frontend.onnx_import import import_model
from mpi_vta.graph.reference import execute

pytestmark = pytest.mark.torch


@pytest.fixture
def torch():
    import torch

    torch.manual_seed(0)
    return torch


def every_operator(torch):
    nn, functional = torch.nn, torch.nn.functional

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
            self.depthwise = nn.Conv2d(8, 8, 3, groups=8, stride=2, padding=1, bias=False)
            self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
            self.last = nn.Conv2d(8, 6, 3, padding=(0, 1), dilation=2)
            self.fc = nn.Linear(6, 5)

        def forward(self, x):
            x = functional.leaky_relu(self.bn1(self.conv1(x - 0.5)), 0.1)
            x = functional.silu(self.depthwise(functional.relu6(x)))
            x = functional.hardswish(self.up(x))
            x = functional.max_pool2d(functional.pad(x, (1, 0, 2, 1)), 3, 2, padding=1, ceil_mode=True)
            x = torch.cat([x[:, :2], functional.relu(x[:, 2:]), x], 1)[:, :, 1:, 2:]
            x = functional.interpolate(x[:, :8].mul(2), scale_factor=2, mode="nearest")
            x = torch.tanh(functional.avg_pool2d(self.last(functional.hardsigmoid(x)), 2))
            x = torch.flatten(functional.adaptive_avg_pool2d(x + x.sigmoid() * x, 1), 1)
            return torch.softmax(self.fc(x), -1)

    net = Net().eval()
    for parameter in net.buffers():
        if parameter.dtype == torch.float32:
            parameter.copy_(torch.rand_like(parameter) + 0.5)
    return net


def saved(torch, net, path, shape=(1, 3, 16, 16), **more):
    program = torch.export.export(net, (torch.randn(shape),), **more)
    torch.export.save(program, path)
    return path


def test_a_program_computes_what_pytorch_computes(torch, tmp_path):
    net = every_operator(torch)
    path = saved(torch, net, tmp_path / "mine.pt2")
    model = load_model(str(path))
    assert (model.name, model.weights_note) == ("mine", "weights of mine.pt2")
    assert {"conv1", "depthwise", "up", "last", "fc"} <= {node.name for node in model.graph.nodes}
    image = torch.randn(1, 3, 16, 16)
    found = execute(model.graph, {model.graph.inputs[0]: image.numpy()})[model.graph.outputs[0]]
    np.testing.assert_allclose(found, net(image).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_what_programs_spell_out_is_recognized(torch, tmp_path):
    """Parts of unequal size, slopes per channel, ELU, GELU and Mish by their formulas, shuffled channels, a head."""
    nn, functional = torch.nn, torch.nn.functional

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.bend, self.last = nn.Conv2d(3, 12, 3), nn.PReLU(6), nn.Conv2d(12, 6, 1)

        def forward(self, x):
            a, b, c = self.first(x).split([2, 6, 4], 1)
            x = torch.cat([functional.elu(a), self.bend(b), functional.mish(c)], 1)
            x = functional.gelu(functional.channel_shuffle(x, 3), approximate="tanh") + functional.softplus(x)
            x = self.last(x).view(1, 2, 3, -1).transpose(1, 2)
            return functional.log_softmax(x * x.sum(3, keepdim=True).abs().sqrt(), 1)

    net = Net().eval()
    with torch.no_grad():
        net.bend.weight.copy_(torch.linspace(-0.2, 1.5, 6))
    graph = load_model(str(saved(torch, net, tmp_path / "mine.pt2", (1, 3, 6, 6)))).graph
    kinds = {node.attrs["kind"] for node in graph.nodes if node.op == "activation"}
    assert {"elu", "mish", "gelu", "softplus"} <= kinds
    image = torch.randn(1, 3, 6, 6)
    found = execute(graph, {graph.inputs[0]: image.numpy()})[graph.outputs[0]]
    np.testing.assert_allclose(found, net(image).detach().numpy(), rtol=1e-3, atol=1e-3)


def test_the_graph_is_that_of_the_onnx_model(torch, tmp_path):
    """The same residual net written as ONNX and as a module: same operators, extents and constants."""
    nn = torch.nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
            self.conv2, self.fc = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 5)

        def forward(self, x):
            x = torch.relu(self.bn1(self.conv1(x)))
            x = torch.relu(self.conv2(x) + x)
            return self.fc(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))

    net = Net().eval()
    weights = {name: array.numpy() for name, array in net.state_dict().items()}
    written = OnnxBuilder("same", (1, 3, 6, 6), seed=0, weights=weights)
    x = written.activation(written.batch_norm(written.conv("input", "conv1", 8, 3), "bn1"), "relu1", "Relu")
    x = written.activation(written.add(written.conv(x, "conv2", 8, 3, bias=True), x, "sum"), "relu2", "Relu")
    wanted = import_model(
        written.model([written.dense(written.global_average_pool(x, "mean"), "fc", 5)]), "same", "same"
    )
    graph = load_model(str(saved(torch, net, tmp_path / "same.pt2", (1, 3, 6, 6)))).graph
    assert ops(graph) == ops(wanted)
    for ours, theirs in zip(graph.nodes, wanted.nodes, strict=True):
        assert ours.attrs == theirs.attrs
        assert graph.values[ours.output].shape == wanted.values[theirs.output].shape
        for role in theirs.params:
            np.testing.assert_array_equal(graph.param(ours, role), wanted.param(theirs, role))


def test_an_unsupported_operator_is_named(torch, tmp_path):
    class Net(torch.nn.Module):
        def forward(self, x):
            return torch.cumsum(x, 1)

    path = saved(torch, Net(), tmp_path / "odd.pt2")
    with pytest.raises(ModelError, match=r"odd\.pt2: operator cumsum is not supported; allowed: conv2d, "):
        load_model(str(path))


def test_windows_that_overlap_are_refused_with_the_file_s_name(torch, tmp_path):
    path = saved(torch, torch.nn.AdaptiveAvgPool2d(3), tmp_path / "pool.pt2")
    with pytest.raises(
        ModelError, match=r"pool\.pt2: adaptive pooling of \(16, 16\) to \(3, 3\); allowed: whole windows; use"
    ):
        load_model(str(path))


def test_a_symbolic_size_is_refused(torch, tmp_path):
    net = torch.nn.Conv2d(3, 4, 3)
    dynamic = {"input": {2: torch.export.Dim("height", min=4, max=64)}}
    path = saved(torch, net, tmp_path / "dynamic.pt2", dynamic_shapes=dynamic)
    with pytest.raises(ModelError, match=r"dynamic\.pt2: a symbolic size .*export without dynamic_shapes"):
        load_model(str(path))


def rewritten(path, change):
    """Replace entries of an archive: `change` maps a name to bytes, or to None to keep it."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    change(entries)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return str(path)


class Bomb:
    """A pickle of it makes a folder when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.fixture
def small(torch, tmp_path):
    return saved(torch, torch.nn.Conv2d(3, 4, 3), tmp_path / "small.pt2")


def test_pickled_example_inputs_are_not_loaded(torch, small, tmp_path, monkeypatch):
    sign = tmp_path / "executed"
    buffer = io.BytesIO()
    torch.save((Bomb(sign),), buffer)

    def change(entries):
        (name,) = [name for name in entries if name.endswith("sample_inputs/model.pt")]
        entries[name] = buffer.getvalue()

    rewritten(small, change)
    assert ops(load_model(str(small)).graph) == ["conv2d"]
    assert not sign.exists()
    # PyTorch's own warning about it cannot be formatted in some releases
    monkeypatch.setattr(logging.getLogger("torch._export.serde.serialize"), "disabled", True)
    torch.export.load(str(small))  # what PyTorch does with the same file
    assert sign.exists()


def test_pickled_weights_are_refused(small):
    def change(entries):
        (name,) = [name for name in entries if name.endswith("model_weights_config.json")]
        config = json.loads(entries[name])
        for entry in config["config"].values():
            entry["use_pickle"] = True
        entries[name] = json.dumps(config).encode()

    with pytest.raises(ModelError, match=r"small\.pt2: weight_\d is pickled; allowed: tensors as plain numbers"):
        load_model(rewritten(small, change))


def test_native_code_and_foreign_operators_are_refused(small):
    root = "small/"

    def pack(entries):
        entries[f"{root}data/aotinductor/model/code.so"] = b"\x7fELF"

    with pytest.raises(ModelError, match=r"holds data/aotinductor/model/code\.so"):
        load_model(rewritten(small, pack))

    def rename(entries):
        del entries[f"{root}data/aotinductor/model/code.so"]
        name = f"{root}models/model.json"
        entries[name] = entries[name].replace(b"torch.ops.aten.conv2d.default", b"torch.ops.mine.explode.default")

    with pytest.raises(ModelError, match=r"operator torch\.ops\.mine\.explode\.default; allowed: PyTorch's own"):
        load_model(rewritten(small, rename))


def test_other_files_are_refused(tmp_path, small):
    text = tmp_path / "text.pt2"
    text.write_text("hello")
    with pytest.raises(ModelError, match=r"text\.pt2: not a \.pt2 file"):
        load_model(str(text))
    onnx.save(onnx.ModelProto(), tmp_path / "model.onnx")
    with zipfile.ZipFile(tmp_path / "zip.pt2", "w") as archive:
        archive.writestr("a/b", "c")
    with pytest.raises(ModelError, match=r"zip\.pt2: holds no exported program"):
        load_model(str(tmp_path / "zip.pt2"))

    def spoil(entries):
        entries["small/models/model.json"] = b"{"

    with pytest.raises(ModelError, match=r"models/model\.json is not JSON"):
        load_model(rewritten(small, spoil))


def test_training_mode_and_other_inputs_are_refused(torch, tmp_path):
    path = saved(torch, torch.nn.Linear(3, 4), tmp_path / "flat.pt2", (1, 3))
    with pytest.raises(ModelError, match=r"flat\.pt2: input input: float32 \(1, 3\); allowed: float32 \(1, C, H, W\)"):
        load_model(str(path))
