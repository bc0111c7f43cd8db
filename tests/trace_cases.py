"""Small runs whose times are known by hand, as trace files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mpi_vta.plans.plan import SINK, SOURCE, Edge, Plan, Stage
from mpi_vta.trace.merge import ModelRecord, RunRecord, merge
from mpi_vta.trace.repair import ModelOpening, Opening
from mpi_vta.trace.schema import IMAGE_DTYPE, PROFILE_DTYPE, EventKind, RankInfo, StageProfile
from mpi_vta.trace.writer import RankTrace

US = 1000
IMAGES = 4
# stage 0 on rank 0 takes 10 µs, stage 1 on rank 1 takes 30 µs; messages of 1000 and 100 bytes take 4 µs and 2 µs
PLAN = Plan(
    "net",
    "pipeline",
    1,
    (Stage(0, ("a",), (0,), 800, (10 * US,), (2 * US,)), Stage(1, ("b", "c"), (1,), 2800, (30 * US,), (0,))),
    (Edge("y", 0, 1, 1000), Edge("z", 1, SINK, 100), Edge("x", SOURCE, 0, 64)),
    4,
    {"throughput_images_per_s": 30_000.0, "latency_ms": 0.05},
)
NETWORK = {"bytes_per_s": 1_000_000_000, "latency_ns": 1000, "per_message_ns": 1000, "per_byte_ps": 0}


def info(rank: int) -> RankInfo:
    return RankInfo(rank, f"host{rank}", "pynq_z1", "pynq_1x16", "sim", 1.5, 2.5, "a data sheet", 100.0, 2000, 512, 8)


def profile(stage: int, layers: tuple[str, ...], cycles: int) -> StageProfile:
    rows = np.zeros(len(layers), PROFILE_DTYPE)
    rows["stage"], rows["layer"] = stage, np.arange(len(layers))
    for kind, share in (("gemm", 50), ("alu", 20), ("load_acc", 10), ("wait_load", 15), ("fetch", 5)):
        rows[kind] = cycles // len(layers) * share // 100
    rows["gemm_uops"], rows["load_bytes"], rows["store_bytes"] = 300, 4000, 500
    return StageProfile(layers, rows)


def write_ranks(folder: Path, images: int = IMAGES, shift_ns: int = 0) -> list[bytes]:
    """Write both ranks' files. Rank 1's launches follow one another; it starts at 18 µs."""
    zero = RankTrace(folder / "ranks" / "rank-000.h5", info(0))
    one = RankTrace(folder / "ranks" / "rank-001.h5", info(1))
    zero.note_stages({0: 800})
    one.note_stages({1: 2800})
    zero.note_profiles({0: profile(0, ("a",), 800)})
    one.note_profiles({1: profile(1, ("b", "c"), 2800)})
    for i in range(images):
        begun, sent, run = 12 * i, 12 * i + 12, 18 + 30 * i
        zero.record(EventKind.START, 0, 0, stage=SOURCE, image=i)
        zero.record(EventKind.HOST, begun * US, (begun + 2) * US, stage=0, image=i)
        zero.record(EventKind.LAUNCH, (begun + 2) * US, sent * US, stage=0, image=i)
        zero.record(EventKind.SEND, sent * US, (sent + 3) * US, stage=0, image=i, peer=1, edge=0, size_bytes=1000)
        one.record(
            EventKind.RECEIVE,
            (sent + 4) * US - shift_ns,
            (sent + 6) * US - shift_ns,
            stage=1,
            image=i,
            peer=0,
            edge=0,
            size_bytes=1000,
        )
        one.record(EventKind.LAUNCH, run * US - shift_ns, (run + 30) * US - shift_ns, stage=1, image=i)
        done = run + 30
        one.record(
            EventKind.SEND,
            done * US - shift_ns,
            (done + 1) * US - shift_ns,
            stage=1,
            image=i,
            peer=0,
            edge=1,
            size_bytes=100,
        )
        zero.record(
            EventKind.RECEIVE, (done + 1) * US, (done + 2) * US, stage=SINK, image=i, peer=1, edge=1, size_bytes=100
        )
        zero.record(EventKind.FINISH, (done + 2) * US, (done + 2) * US, stage=SINK, image=i)
    return [zero.close(), one.close()]


def provenance(**other: object) -> dict[str, object]:
    return {
        "time": "modelled",
        "model": "net",
        "strategy": "pipeline",
        "device": "sim",
        "cluster": "two",
        "network": json.dumps(NETWORK),
        "network_power": json.dumps({"port_w": 0.5, "switch_w": 3.0, "switch_port_w": 0.25, "source": "a switch"}),
        "argv": "mpi_vta.pipeline --model net",
        "commit": "abc",
        **other,
    }


def image_rows(images: int = IMAGES) -> np.ndarray:
    return np.array([(i, 0, (50 + 30 * i) * US, (50 + 30 * i) * US) for i in range(images)], IMAGE_DTYPE)


def run_record(
    plan_json: str, images: np.ndarray, provenance: Mapping[str, object], ranks: Sequence[int] = (0, 1)
) -> RunRecord:
    """Return what a trace records of a run of one model."""
    return RunRecord(provenance, (ModelRecord(plan_json, images, {"name": "net", "ranks": list(ranks)}),))


def opening(images: int) -> Opening:
    """Return what rank 0 knows of a run of `PLAN` before it starts."""
    return Opening(2, provenance(), (ModelOpening(PLAN.to_json(), images, {"name": "net", "ranks": [0, 1]}),))


def write_run(folder: Path, images: int = IMAGES) -> Path:
    files = write_ranks(folder, images)
    merge(folder / "run.h5", files, run_record(PLAN.to_json(), image_rows(images), provenance()))
    return folder / "run.h5"


__all__ = [
    "IMAGES",
    "PLAN",
    "SOURCE",
    "US",
    "image_rows",
    "opening",
    "provenance",
    "run_record",
    "write_ranks",
    "write_run",
]
