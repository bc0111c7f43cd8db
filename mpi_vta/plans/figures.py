"""The figures by which plans, runs and studies are compared: one name, and one heading, for each."""

from __future__ import annotations

from collections.abc import Mapping

THROUGHPUT, LATENCY, ENERGY = "throughput_images_per_s", "latency_ms", "energy_j_per_image"
# keys of `Plan.predicted` and columns of studies, and what tables call them
HEADINGS: Mapping[str, str] = {
    THROUGHPUT: "images/s",
    LATENCY: "latency p50, ms",
    "latency_alone_ms": "one image alone, ms",
    ENERGY: "J per image",
    "images_per_s_per_w": "images/s per W",
}
# objective -> (figure, 1 if more is better, -1 if less is)
OBJECTIVES: Mapping[str, tuple[str, int]] = {
    "throughput": (THROUGHPUT, 1),
    "latency": (LATENCY, -1),
    "energy": (ENERGY, -1),
}
