"""VTA builds compared: the best one for each model and mix, for sure and in doubt, and for one image in a launch."""

from __future__ import annotations

from collections.abc import Sequence

from mpi_vta.study.groups import DOUBT, Group, Row
from mpi_vta.study.phrases import counted_boards, figure, listed


def which_build(groups: Sequence[Group]) -> list[str]:
    """Say which build is best for each model and mix."""
    compared: dict[tuple[str, str, int], list[Group]] = {}
    for group in groups:
        if compares_builds(group):
            compared.setdefault((group.study, group.cluster, group.boards[-1]), []).append(group)
    return [text for alike in compared.values() for text in best_builds(alike)]


def compares_builds(group: Group) -> bool:
    """Return whether the group looks for the VTA build of most images a second."""
    return len(group.configs) > 1 and group.objective == "throughput"


def best_builds(groups: Sequence[Group]) -> list[str]:
    """Say which build is best for models on the same boards, whether it surely fits, and the best for GEMM batch 1."""
    boards = groups[0].boards[-1]
    rows_of = [[row for row in group.valid if row["boards"] == boards] for group in groups]
    best = [max(rows, key=group.merit) for group, rows in zip(groups, rows_of, strict=True)]
    sure = [max(fit, key=group.merit) for group, rows in zip(groups, rows_of, strict=True) if (fit := _sure(rows))]
    single = [
        max(alone, key=group.merit)
        for group, rows in zip(groups, rows_of, strict=True)
        if (alone := [row for row in _sure(rows) if gemm_batch(row["config"]) == 1])
    ]
    builds = len({row["config"] for rows in rows_of for row in rows})
    sentences = [
        f"Of {builds} builds on {counted_boards(boards)} of {groups[0].cluster} most images a second come from "
        f"{_told(best)}."
    ]
    if doubtful := dict.fromkeys((row["config"], text) for row in best for text in doubts(row)):
        sentences += [f"Whether `{config}` fits is in doubt: {text}." for config, text in doubtful]
        if sure:
            sentences.append(f"Of those that surely fit it is {_told(sure)}.")
    if single and any(gemm_batch(row["config"]) != 1 for row in sure):
        sentences.append(f"With one image in a launch it is {_told(single)}.")
    return sentences


def _sure(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if not doubts(row)]


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


def _told(rows: Sequence[Row]) -> str:
    """Return the builds of rows, each with the models for which it was chosen and its figures."""
    texts: dict[str, list[str]] = {}
    for row in rows:
        texts.setdefault(row["config"], []).append(
            f"{row['models']}: {figure(row['throughput_images_per_s'])} images/s, median latency "
            f"{figure(row['latency_p50_ms'])} ms, {figure(row['energy_j_per_image'])} J"
        )
    return listed([f"`{config}` ({'; '.join(told)})" for config, told in texts.items()])
