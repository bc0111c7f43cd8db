"""An ONNX model of the zoo run in torch, its weights as parameters: what is trained is what is shipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOMENTUM = 0.1
WEIGHT_DECAY = 1e-2
HIGHEST_RATE = 4e-3


class TorchNet:
    """A network whose tensors are trained in place; needs torch.

    Parameters
    ----------
    model : onnx.ModelProto
        As `mpi_vta.frontend.onnx_builder` writes it: batch 1 in its shapes, any batch here.

    Attributes
    ----------
    tensors : dict of str to torch.Tensor
        Every floating initialiser by name; all but the statistics of batch norm require gradients.
    """

    def __init__(self, model: Any) -> None:
        import torch
        from onnx import helper, numpy_helper

        self._nodes = [
            (
                node.op_type,
                list(node.input),
                node.output[0],
                {a.name: helper.get_attribute_value(a) for a in node.attribute},
            )
            for node in model.graph.node
        ]
        self._outputs = [output.name for output in model.graph.output]
        self.tensors = {
            entry.name: torch.from_numpy(numpy_helper.to_array(entry).copy()) for entry in model.graph.initializer
        }
        for tensor in self.parameters():
            tensor.requires_grad_(True)

    def parameters(self) -> list[Any]:
        """Return the tensors to train: weights and biases."""
        return [tensor for name, tensor in self.tensors.items() if name.endswith((".weight", ".bias"))]

    def __call__(self, images: Any, *, training: bool) -> list[Any]:
        """Return the outputs for images of shape (n, C, H, W); `training` lets batch norm gather its statistics."""
        import torch

        # with the channels innermost a small network trains twice as fast
        values = {"input": images.contiguous(memory_format=torch.channels_last), **self.tensors}
        for op, inputs, output, attrs in self._nodes:
            values[output] = _apply(op, [values.get(name) for name in inputs], attrs, training)
        return [values[name] for name in self._outputs]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the weights for `.npz`: float16 for kernels, float32 for the few numbers of batch norm and biases."""
        arrays = {name: tensor.detach().numpy() for name, tensor in self.tensors.items()}
        named = {
            name: a
            for name, a in arrays.items()
            if name.endswith((".weight", ".bias", ".running_mean", ".running_var"))
        }
        return {name: a.astype(np.float16 if a.ndim > 1 else np.float32) for name, a in named.items()}


def fit(
    name: str,
    net: TorchNet,
    pictures: NDArray[Any],
    loss_of: Callable[[list[Any], list[int], int, bool], Any],
    *,
    epochs: int,
    batch: int,
    seed: int,
) -> None:
    """Train a network on pictures, each batch turned and mirrored at random, and print the loss of every epoch.

    Parameters
    ----------
    name : str
        For what is printed.
    net : TorchNet
        Changed in place.
    pictures : ndarray of uint8 or of float32 in 0..1, shape (n, C, H, W)
        Square ones.
    loss_of : callable
        Takes the outputs, the pictures' numbers, the quarter turns to the left, and whether a mirror left to right
        followed; returns the loss as a tensor.
    epochs, batch, seed : int
        How often each picture is seen, how many at a time, and what decides the order.
    """
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    pixels, per_epoch = torch.from_numpy(np.ascontiguousarray(pictures)), len(pictures) // batch
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, HIGHEST_RATE, epochs * per_epoch)
    for epoch in range(epochs):
        total = 0.0
        for chosen in torch.randperm(len(pixels))[: per_epoch * batch].split(batch):
            turns, mirrored = int(torch.randint(4, ())), bool(torch.randint(2, ()))
            seen = pixels[chosen].float() / 255 if pixels.dtype == torch.uint8 else pixels[chosen]
            seen = torch.rot90(seen, turns, (2, 3))
            loss = loss_of(net(seen.flip(3) if mirrored else seen, training=True), chosen.tolist(), turns, mirrored)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"{name}: epoch {epoch + 1} of {epochs}, loss {total / per_epoch:.4f}", flush=True)


def _apply(op: str, inputs: list[Any], attrs: dict[str, Any], training: bool) -> Any:
    import torch
    from torch.nn import functional

    x = inputs[0]
    if op == "Conv":
        bias = inputs[2] if len(inputs) == 3 else None
        return functional.conv2d(x, inputs[1], bias, attrs["strides"], attrs["pads"][:2], 1, attrs.get("group", 1))
    if op == "BatchNormalization":
        _, weight, bias, mean, variance = inputs
        return functional.batch_norm(x, mean, variance, weight, bias, training, MOMENTUM, attrs["epsilon"])
    if op == "Gemm":
        return functional.linear(x, inputs[1], inputs[2])
    if op == "MaxPool":
        return functional.max_pool2d(x, attrs["kernel_shape"], attrs["strides"])
    if op == "Resize":
        return functional.interpolate(x, scale_factor=[float(scale) for scale in inputs[2][2:]], mode="nearest")
    simple = {
        "Relu": lambda: functional.relu(x),
        "LeakyRelu": lambda: functional.leaky_relu(x, attrs["alpha"]),
        "Clip": lambda: torch.clamp(x, float(inputs[1]), float(inputs[2])),
        "HardSwish": lambda: functional.hardswish(x),
        "Add": lambda: x + inputs[1],
        "Concat": lambda: torch.cat(inputs, 1),
        "GlobalAveragePool": lambda: x.mean((2, 3), keepdim=True),
        "Flatten": lambda: x.flatten(1),
    }
    return simple[op]()
