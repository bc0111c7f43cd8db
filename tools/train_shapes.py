"""Train the small YOLO on scenes and write its weights: ``python tools/train_shapes.py``.

Needs torch, of the extra ``train``. The run is seeded; it takes about ten minutes on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_net import TorchNet, fit

from mpi_vta.frontend.models import DATA, TRAINING_SEED
from mpi_vta.frontend.shapes import DETECTED, SCENE_SIZE, Scene, draw_scene
from mpi_vta.frontend.small_nets import ANCHORS, build_shapes

TRAIN_SCENES = 6000
EPOCHS = 16
BATCH = 32
SEED = 0
GRIDS = (6, 12)
IGNORED_OVERLAP = 0.6  # an anchor this near to an object is not told that nothing is there
BOX_WEIGHT, CLASS_WEIGHT = 2.0, 1.0

Array = NDArray[Any]


def turned(boxes: Array, turns: int, mirrored: bool) -> Array:
    """Return boxes (n, 4) of a scene after `turns` quarter turns to the left, then a mirror left to right."""
    for _ in range(turns):
        left, top, right, bottom = boxes.T
        boxes = np.stack([top, SCENE_SIZE - right, bottom, SCENE_SIZE - left], axis=1)
    if mirrored:
        left, top, right, bottom = boxes.T
        boxes = np.stack([SCENE_SIZE - right, top, SCENE_SIZE - left, bottom], axis=1)
    return boxes


def targets(boxes: list[Array], labels: list[Array]) -> list[dict[str, Array]]:
    """Return what each head should say of a batch of scenes.

    Returns
    -------
    list of dict
        Per head: ``box`` (n, anchors, 4, g, g), x and y within the cell in 0..1, log of width and height over the
        anchor's; ``kind`` (n, anchors, classes, g, g); ``there`` (n, anchors, g, g), 1 where an object belongs;
        ``told`` (same), 0 where nothing is said because an object overlaps the anchor well.
    """
    flat = np.array([anchor for head in ANCHORS for anchor in head], np.float64)
    heads = []
    for grid in GRIDS:
        shape = (len(boxes), len(ANCHORS[0]))
        box, kind = (
            np.zeros((*shape, 4, grid, grid), np.float32),
            np.zeros((*shape, len(DETECTED), grid, grid), np.float32),
        )
        there, told = np.zeros((*shape, grid, grid), np.float32), np.ones((*shape, grid, grid), np.float32)
        heads.append({"box": box, "kind": kind, "there": there, "told": told})
    for number, (own, classes) in enumerate(zip(boxes, labels, strict=True)):
        for (left, top, right, bottom), label in zip(own, classes, strict=True):
            size = np.array([right - left, bottom - top])
            common = np.minimum(flat, size).prod(axis=1)
            overlap = common / (flat.prod(axis=1) + size.prod() - common)
            for index in np.flatnonzero((overlap > IGNORED_OVERLAP) | (overlap == overlap.max())):
                which, anchor = divmod(int(index), len(ANCHORS[0]))
                head, cell = heads[which], SCENE_SIZE / GRIDS[which]
                x, y = (left + right) / 2 / cell, (top + bottom) / 2 / cell
                column, row = int(x), int(y)
                if overlap[index] < overlap.max():
                    head["told"][number, anchor, row, column] = head["there"][number, anchor, row, column]
                    continue
                place = (number, anchor, slice(None), row, column)
                head["box"][place] = [x - column, y - row, *np.log(size / flat[index])]
                head["kind"][place] = np.eye(len(DETECTED))[label]
                head["there"][number, anchor, row, column] = head["told"][number, anchor, row, column] = 1
    return heads


def loss_of(outputs: list[Any], wanted: list[dict[str, Array]]) -> Any:
    """Return YOLO's loss: where a box lies, whether one is there, and of which class it is."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as entropy
    from torch.nn.functional import smooth_l1_loss

    total = torch.zeros(())
    for output, head in zip(outputs, wanted, strict=True):
        box, kind, there, told = (torch.from_numpy(head[name]) for name in ("box", "kind", "there", "told"))
        count = output.shape[0]
        fields = output.reshape(count, len(ANCHORS[0]), 5 + len(DETECTED), *output.shape[2:])
        centre = entropy(fields[:, :, :2], box[:, :, :2], reduction="none").sum(2)
        extent = smooth_l1_loss(fields[:, :, 2:4], box[:, :, 2:], reduction="none", beta=0.1).sum(2)
        kinds = entropy(fields[:, :, 5:], kind, reduction="none").sum(2)
        total = total + (there * (BOX_WEIGHT * (centre + extent) + CLASS_WEIGHT * kinds)).sum() / count
        total = total + (told * entropy(fields[:, :, 4], there, reduction="none")).sum() / count
    return total


def train(scenes: list[Scene], epochs: int = EPOCHS, seed: int = SEED) -> TorchNet:
    """Return the detector after training on scenes, each batch turned and mirrored at random."""
    pixels = np.stack([scene.picture for scene in scenes]).transpose(0, 3, 1, 2)

    def loss(outputs: list[Any], chosen: list[int], turns: int, mirrored: bool) -> Any:
        boxes = [turned(scenes[index].boxes, turns, mirrored) for index in chosen]
        return loss_of(outputs, targets(boxes, [scenes[index].labels for index in chosen]))

    net = TorchNet(build_shapes(seed, None))
    fit("shapes", net, pixels, loss, epochs=epochs, batch=BATCH, seed=seed)
    return net


def main() -> None:
    """Train and write ``shapes_weights.npz``."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--output", type=Path, default=DATA, help="folder for the file")
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    net = train([draw_scene(TRAINING_SEED, index) for index in range(TRAIN_SCENES)])
    arrays: dict[str, Any] = net.arrays()
    np.savez_compressed(folder / "shapes_weights.npz", **arrays)
    print(f"wrote {folder / 'shapes_weights.npz'}")


if __name__ == "__main__":
    main()
