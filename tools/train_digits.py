"""Train the digits model and write the data that is shipped: ``python tools/train_digits.py``.

Needs the extra ``train`` (torch, scikit-learn). The run is seeded; it takes about a minute on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DATA = Path(__file__).parent / "data"
HELD_OUT = 360
CALIBRATION = 128
EPOCHS = 60
SEED = 0

Array = NDArray[Any]


def split_digits(seed: int = SEED) -> dict[str, Array]:
    """Return scikit-learn's 1797 digits, shuffled and split: images uint8 (n, 8, 8) in 0..16 and labels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    images, labels = digits.images[order].astype(np.uint8), digits.target[order].astype(np.int64)
    return {
        "train_images": images[HELD_OUT:],
        "train_labels": labels[HELD_OUT:],
        "held_out_images": images[:HELD_OUT],
        "held_out_labels": labels[:HELD_OUT],
    }


def train(data: dict[str, Array], epochs: int = EPOCHS, seed: int = SEED) -> tuple[dict[str, Array], float]:
    """Train; return the weights by initialiser name and the accuracy on the held-out digits."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    layers = {"conv1": nn.Conv2d(1, 16, 3, padding=1), "conv2": nn.Conv2d(16, 32, 3, padding=1)}
    layers |= {"conv3": nn.Conv2d(32, 64, 3, padding=1), "fc": nn.Linear(256, 10)}
    pool = nn.MaxPool2d(2)
    network = nn.Sequential(
        *(layers["conv1"], nn.ReLU(), layers["conv2"], nn.ReLU(), pool),
        *(layers["conv3"], nn.ReLU(), pool, nn.Flatten(), nn.Dropout(0.3), layers["fc"]),
    )
    images = torch.from_numpy(data["train_images"][:, None].astype(np.float32) / 16)
    labels = torch.from_numpy(data["train_labels"])
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        network.train()
        for batch in torch.randperm(len(labels)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[batch]), labels[batch]).backward()
            optimizer.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        scores = network(torch.from_numpy(data["held_out_images"][:, None].astype(np.float32) / 16))
    accuracy = float((scores.argmax(1).numpy() == data["held_out_labels"]).mean())
    weights = {
        f"{name}.{role}": tensor.detach().numpy()
        for name, layer in layers.items()
        for role, tensor in layer.named_parameters()
    }
    return weights, accuracy


def _write(path: Path, arrays: dict[str, Any]) -> None:
    np.savez_compressed(path, **arrays)


def main() -> None:
    """Train and write ``digits_weights.npz`` and ``digits_data.npz``."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--output", type=Path, default=DATA, help="folder for the two files")
    folder = parser.parse_args().output
    data = split_digits()
    weights, accuracy = train(data)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "digits_weights.npz", weights)
    shipped = {
        "calibration_images": data["train_images"][:CALIBRATION],
        "held_out_images": data["held_out_images"],
        "held_out_labels": data["held_out_labels"],
    }
    _write(folder / "digits_data.npz", shipped)
    print(f"held-out accuracy {accuracy:.4f} on {HELD_OUT} digits; wrote {folder}")


if __name__ == "__main__":
    main()
