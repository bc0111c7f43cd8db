"""VTA builds compared: the best one for each model and mix, for sure and in doubt, and for one image in a launch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from mpi_vta.study.finding import Finding
from mpi_vta.study.groups import Group
from mpi_vta.trace.study_rows import PointRow


def which_build(groups: Sequence[Group]) -> Iterator[Finding]:
    """Find which build is best for each model and mix."""
    compared: dict[tuple[str, str, int], list[Group]] = {}
    for group in groups:
        if compares_builds(group):
            compared.setdefault((group.study, group.cluster, group.boards[-1]), []).append(group)
    for alike in compared.values():
        yield from best_builds(alike)


def compares_builds(group: Group) -> bool:
    """Return whether the group looks for the VTA build of most images a second."""
    return len(group.configs) > 1 and group.objective == "throughput"


def best_builds(groups: Sequence[Group]) -> Iterator[Finding]:
    """Find which build is best for models on the same boards, whether it surely fits, and the best for GEMM batch 1."""
    boards, cluster = groups[0].boards[-1], groups[0].cluster
    best = _best(groups, lambda row: True)
    sure = _best(groups, lambda row: not row.fit_doubt)
    single = _best(groups, lambda row: not row.fit_doubt and gemm_batch(row.config) == 1)
    builds = len({row.config for group in groups for row in group.valid if row.boards == boards})
    yield Finding("best builds", builds=builds, boards=boards, cluster=cluster, best=_told(best))
    if doubtful := dict.fromkeys((row.config, row.fit_doubt) for row in best if row.fit_doubt):
        for config, doubt in doubtful:
            yield Finding("doubt", config=config, doubt=doubt)
        if sure:
            yield Finding("best sure builds", best=_told(sure))
    if single and any(gemm_batch(row.config) != 1 for row in sure):
        yield Finding("best single builds", best=_told(single))


def _best(groups: Sequence[Group], counts: Callable[[PointRow], bool]) -> list[PointRow]:
    """Return the best row on all boards that counts, of each group that has one."""
    boards = groups[0].boards[-1]
    rows_of = [(group, [row for row in group.valid if row.boards == boards and counts(row)]) for group in groups]
    return [max(rows, key=group.merit) for group, rows in rows_of if rows]


def gemm_batch(config: str) -> int | None:
    """Return the GEMM batch that a build's usual name holds; None if there is none in it."""
    batch, times, _ = gemm_shape(config).partition("x")
    return int(batch) if times and batch.isdigit() else None


def gemm_shape(config: str) -> str:
    """Return GEMM batch and block, as in ``1x16``, of a build's usual name."""
    return config.split("_i")[0].rpartition("_")[2]


def _told(rows: Sequence[PointRow]) -> list[Finding]:
    """Return the builds of rows, each with the rows for which it was chosen."""
    configs = dict.fromkeys(row.config for row in rows)
    return [
        Finding("build", config=name, rows=[Finding("build's figures", row=row) for row in rows if row.config == name])
        for name in configs
    ]
