"""Train the two small classifiers and write their weights: ``python tools/train_patches.py``.

Needs torch, of the extra ``train``. The run is seeded; it takes some minutes on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_net import TorchNet, fit

from mpi_vta.frontend.models import DATA, HELD_OUT_SEED, TRAINING_SEED
from mpi_vta.frontend.shapes import draw_patch
from mpi_vta.frontend.small_nets import build_depthwise, build_residual

BUILDERS: dict[str, Callable[..., Any]] = {"residual": build_residual, "depthwise": build_depthwise}
TRAIN_PATCHES = 12000
EPOCHS = {"residual": 14, "depthwise": 20}
BATCH = 64
SEED = 0


def patches(seed: int, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return pictures 0..count-1 of a seed as inputs (n, 3, H, W) in 0..1, and their classes."""
    drawn = [draw_patch(seed, index) for index in range(count)]
    pixels = np.stack([picture for picture, _ in drawn]).transpose(0, 3, 1, 2)
    return pixels.astype(np.float32) / np.float32(255), np.array([label for _, label in drawn], np.int64)


def train(name: str, images: NDArray[np.float32], labels: NDArray[np.int64], epochs: int, seed: int = SEED) -> TorchNet:
    """Return the network after training on pictures, each turned and mirrored at random in every epoch."""
    import torch
    from torch.nn import functional

    def loss(outputs: list[Any], chosen: list[int], _turns: int, _mirrored: bool) -> Any:
        return functional.cross_entropy(outputs[0], torch.from_numpy(labels[chosen]), label_smoothing=0.02)

    net = TorchNet(BUILDERS[name](seed, None))
    fit(name, net, images, loss, epochs=epochs, batch=BATCH, seed=seed)
    return net


def accuracy(net: TorchNet, images: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the share of pictures that the network names rightly."""
    import torch

    with torch.no_grad():
        scores = net(torch.from_numpy(images), training=False)[0]
    return float((scores.argmax(1).numpy() == labels).mean())


def main() -> None:
    """Train and write ``residual_weights.npz`` and ``depthwise_weights.npz``."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--output", type=Path, default=DATA, help="folder for the files")
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = patches(TRAINING_SEED, TRAIN_PATCHES)
    unseen, truth = patches(HELD_OUT_SEED, 1000)
    for name in BUILDERS:
        net = train(name, images, labels, EPOCHS[name])
        arrays: dict[str, Any] = net.arrays()
        np.savez_compressed(folder / f"{name}_weights.npz", **arrays)
        print(f"{name}: accuracy {accuracy(net, unseen, truth):.4f} on {len(truth)} unseen pictures; wrote {folder}")


if __name__ == "__main__":
    main()
