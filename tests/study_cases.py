"""Studies with figures that are easily checked by hand."""

from __future__ import annotations

from mpi_vta.study.groups import Group, groups_of
from mpi_vta.trace.study_file import Study
from mpi_vta.trace.study_rows import BoardTypeRow, ModelRow, PointRow

STRATEGIES = ("scatter-gather", "pipeline")


def row(point, boards, strategy, images_per_s, latency_ms, joule, **other):
    values = {
        "point": point,
        "models": "net",
        "cluster": "stack",
        "boards": boards,
        "config": "one",
        "strategy": strategy,
        "strategy_used": strategy,
        "objective": "throughput",
        "images": 64,
        "valid": True,
        "throughput_images_per_s": images_per_s,
        "steady_images_per_s": 1.02 * images_per_s,
        "latency_ms": latency_ms,
        "energy_j_per_image": joule,
        "network_j_per_image": joule / 4,
        "average_power_w": images_per_s * joule,
        "images_per_s_per_w": 1 / joule,
        "speedup": images_per_s / 10,
        "ideal_fraction": images_per_s / 10 / boards,
        "key": f"key{point}",
        "types": (BoardTypeRow("z", boards, 1, 0.5),),
        **other,
    }
    part = ModelRow(
        model="net",
        ranks=",".join(map(str, range(boards))),
        throughput_images_per_s=values["throughput_images_per_s"],
        bottleneck_rank=1,
        period_ms=12.5,
        division="a..b x2; c",
        bottleneck="nic_in" if strategy == "pipeline" else "vta",
    )
    return PointRow(**{"parts": (part,), **values})


def study_of(rows, *, complete=True, name="small"):
    attributes = {
        "name": name,
        "argv": f"python -m mpi_vta.explore {name}.toml",
        "commit": "0123456789abcdef",
        "mpi_vta_version": "9.9",
        "graph_sha256": '{"resnet18": ""}',
        "complete": complete,
    }
    return Study(attributes, tuple(rows))


def throughput_rows():
    """Scatter-gather scales 10, 20, 30; pipeline 10, 16, 18 with less latency; four boards cannot be had."""
    rows = []
    for boards, (gathered, piped) in {1: (10.0, 10.0), 2: (20.0, 16.0), 3: (30.0, 18.0)}.items():
        rows.append(row(len(rows), boards, "scatter-gather", gathered, 100.0, 0.5))
        rows.append(row(len(rows), boards, "pipeline", piped, 100.0 - 10 * boards, 0.5 + 0.1 * (boards - 1)))
    for strategy in STRATEGIES:
        bare = {"models": "net", "cluster": "stack", "objective": "throughput", "images": 64, "config": "one"}
        bare |= {"boards": 4, "strategy": strategy, "valid": False, "reason": "only 3 boards"}
        rows.append(PointRow(point=len(rows), **bare))
    return rows


def latency_rows():
    given = enumerate([(1, 80.0, 0.4), (2, 50.0, 0.5), (4, 20.0, 0.8), (6, 19.8, 1.2)])
    same = {"objective": "latency", "images": 1}
    return [row(i, boards, "fused", 1000 / ms, ms, joule, **same) for i, (boards, ms, joule) in given]


def group_of(rows) -> Group:
    (group,) = groups_of(study_of(rows))
    return group
