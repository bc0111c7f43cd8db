"""VTA builds compared: the best one for each model and mix, for sure and in doubt, and for one image in a launch."""

from __future__ import annotations

from collections.abc import Sequence

from mpi_vta.study.groups import DOUBT, Group, Row
from mpi_vta.study.words import counted_boards, listed


def which_build(groups: Sequence[Group]) -> list[str]:
    """Say which build is best for each model and mix."""
    return [text for group in groups if compares_builds(group) for text in best_builds(group)]


def compares_builds(group: Group) -> bool:
    """Return whether the group looks for the VTA build of most images a second."""
    return len(group.configs) > 1 and group.objective == "throughput"


def best_builds(group: Group) -> list[str]:
    """Say which build is best for a group's models, whether it surely fits, and what is best with GEMM batch 1."""
    boards = group.boards[-1]
    rows = [row for row in group.valid if row["boards"] == boards]
    best, worst = (choose(rows, key=group.merit) for choose in (max, min))
    builds = len({row["config"] for row in rows})
    sentences = [
        f"Of {builds} builds on {counted_boards(boards)} of {group.cluster} the best for {group.models} is "
        f"{_told(best)}; the last of them gives {worst['throughput_images_per_s']:.4g} images/s."
    ]
    sure = [row for row in rows if not doubts(row)]
    if doubts(best):
        sentences.append(f"It may not fit: {listed(doubts(best))}.")
        if sure:
            sentences.append(f"Of those that surely fit it is {_told(max(sure, key=group.merit))}.")
    single = [row for row in sure if gemm_batch(row["config"]) == 1]
    if single and gemm_batch(max(sure, key=group.merit)["config"]) != 1:
        sentences.append(f"With one image in a launch it is {_told(max(single, key=group.merit))}.")
    return sentences


def doubts(row: Row) -> list[str]:
    """Return why it is in doubt that the row's build fits its boards; empty if it surely does."""
    return [note.removeprefix(DOUBT) for note in row["notes"].split(" | ") if note.startswith(DOUBT)]


def gemm_batch(config: str) -> int | None:
    """Return the GEMM batch that a build's usual name holds; None if there is none in it."""
    batch, times, _ = gemm_shape(config).partition("x")
    return int(batch) if times and batch.isdigit() else None


def gemm_shape(config: str) -> str:
    """Return GEMM batch and block, as in ``1x16``, of a build's usual name."""
    return config.split("_i")[0].rpartition("_")[2]


def _told(row: Row) -> str:
    return (
        f"`{row['config']}` ({row['throughput_images_per_s']:.4g} images/s, half of the images within "
        f"{row['latency_p50_ms']:.4g} ms, {row['energy_j_per_image']:.4g} J)"
    )
