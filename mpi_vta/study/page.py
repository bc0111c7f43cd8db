"""The page about one or several studies: what is learnt, tables, pictures; every number is of the result files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from mpi_vta.disk import write_atomically
from mpi_vta.errors import ArtifactError
from mpi_vta.plans.figures import HEADINGS, OBJECTIVES
from mpi_vta.statement import figure, listed, sentence
from mpi_vta.study.conclusions import conclusions
from mpi_vta.study.finding import Finding
from mpi_vta.study.group_findings import findings
from mpi_vta.study.groups import Group, groups_of
from mpi_vta.text_table import counted
from mpi_vta.trace.study_file import Study, read_study

# Of many VTA builds, the best ones are shown
MOST_BUILDS = 10
_CAPTIONS = {
    "": "throughput, latency and energy against the number of boards",
    "-front": "energy against throughput; rings mark what no other point beats in throughput, latency and energy at "
    "once, their numbers are boards or GEMM shapes",
}


def write_page(path: Path, results: Sequence[Path]) -> list[Path]:
    """Write a Markdown page about result files, and its pictures into the folder of the page's name beside it.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    ArtifactError
        If a result cannot be read, or is not complete.
    InputError
        If the page cannot be written.
    """
    from mpi_vta.study.pictures import draw_figures, draw_fronts

    studies = [_complete(result) for result in results]
    folder = path.parent / path.stem
    files: dict[Path, bytes] = {path: page_text(studies, path.stem, path.parent).encode()}
    for study in studies:
        groups, name = groups_of(study), str(study.attributes["name"])
        for suffix, drawn in _pictures(groups).items():
            draw = draw_fronts if suffix else draw_figures
            files[folder / f"{name}{suffix}.png"] = draw(drawn, command_of(study))
    for file, data in files.items():
        write_atomically(file, data, "the page")
    return list(files)


def page_text(studies: Sequence[Study], folder: str, beside: Path) -> str:
    """Return the page that will lie in `beside`; pictures are looked for in `folder` there."""
    every = [group for study in studies for group in groups_of(study)]
    lines = [
        "# What the studies show",
        "",
        "Every figure, table and sentence here is **modelled** and generated from result files by "
        f"`python -m mpi_vta.explore --report`: {_page('experiments', beside)} says how to make them, "
        f"{_page('methodology', beside)} and {_page('network_model', beside)} what the model is. {_weights(studies)} "
        "Power figures are the estimates of the board and cluster files.",
        "",
        *_learnt(studies, conclusions(every)),
    ]
    for study in studies:
        lines += _section(study, folder)
    return "\n".join(lines).rstrip() + "\n"


def _page(name: str, beside: Path) -> str:
    """Return a link to a document that lies in the same folder, or the place of one that does not."""
    words = name.replace("_", " ")
    return f"[{words}]({name}.md)" if (beside / f"{name}.md").exists() else f"mpi_vta's `docs/{name}.md`"


def _weights(studies: Sequence[Study]) -> str:
    """Return where the weights of the studies' models are from; times depend on none of them."""
    from mpi_vta.frontend.models import TRAINED
    from mpi_vta.frontend.zoo import BUILDERS

    models = sorted({model for study in studies for model in json.loads(str(study.attributes["graph_sha256"]))})
    kinds = {
        "synthetic": [name for name in models if name in BUILDERS and name not in TRAINED],
        "trained": [name for name in models if name in TRAINED],
        "their files' own": [name for name in models if name not in BUILDERS],
    }
    told = [f"those of {listed(names)} are {kind}" for kind, names in kinds.items() if names]
    return f"Times do not depend on weights: {'; '.join(told)}."


def _learnt(studies: Sequence[Study], found: Mapping[str, Sequence[Finding]]) -> list[str]:
    if not found:
        return []
    links = listed([f"[{name}](#{name})" for name in (str(study.attributes["name"]) for study in studies)])
    return [
        "## What is learnt",
        "",
        f"All of it is modelled, from the studies {links}; the commands that make them are there.",
        "",
        *(line for question, told in found.items() for line in (f"**{question}** {' '.join(map(str, told))}", "")),
    ]


def command_of(study: Study) -> str:
    """Return the command that made a study."""
    return str(study.attributes["argv"])


def _complete(path: Path) -> Study:
    study = read_study(path)
    if not study.complete:
        raise ArtifactError("the study is not complete", where=str(path), remedy="run it again: it goes on")
    return study


def _pictures(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Return the groups of every picture, by the end of its name."""
    drawn = {
        "": [group for group in groups if len(group.boards) > 1 and len(group.configs) == 1],
        "-front": [group for group in groups if len(group.valid) > 1],
    }
    return {suffix: found for suffix, found in drawn.items() if found}


def _section(study: Study, folder: str) -> list[str]:
    name, attributes, groups = study.attributes["name"], study.attributes, groups_of(study)
    images = ", ".join(sorted({str(row.images) for group in groups for row in group.rows}))
    lines = [
        f"## {name}",
        "",
        f"`{command_of(study)}`: jobs of {images} image{'' if images == '1' else 's'}, mpi_vta "
        f"{attributes['mpi_vta_version']}, commit {str(attributes['commit'])[:12]}.",
        "",
    ]
    for group in groups:
        lines += [f"### {group.models} on {group.cluster}, for {group.objective} (modelled)", ""]
        lines += [*(f"- {finding}" for finding in findings(group)), ""]
        if group.valid:
            lines += [*_table(group), "", *_front(group), ""]
    for suffix in _pictures(groups):
        lines += [
            f"![{name}: {_CAPTIONS[suffix]}]({folder}/{name}{suffix}.png)",
            "",
            f"{sentence(_CAPTIONS[suffix])}; modelled, by `{command_of(study)}`.",
            "",
        ]
    reasons = Counter(row.reason for group in groups for row in group.rows if not row.valid)
    lines += [
        f"- {count} of {counted(len(study.points), 'point')} not valid: {why}" for why, count in reasons.most_common()
    ]
    return [*lines, ""] if reasons else lines


def _table(group: Group) -> list[str]:
    """Return the objective's figure by boards (and build) and strategy, and latency and energy of the best."""
    other = [name for name, _ in OBJECTIVES.values() if name != group.column]
    heads = [
        *(["VTA build"] if len(group.configs) > 1 else []),
        "boards",
        *(f"{strategy}, {group.heading}" for strategy in group.strategies),
        *(f"best: {HEADINGS[name]}" for name in other),
        "W",
    ]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for config, boards in _shown_lines(group):
        rows = {row.strategy: row for row in group.valid if row.boards == boards and config in ("", row.config)}
        best = max(rows.values(), key=group.merit)
        cells = [
            *([config] if len(group.configs) > 1 else []),
            str(boards),
            *(figure(group.figure(rows[name])) if name in rows else "-" for name in group.strategies),
            *(figure(getattr(best, name)) for name in other),
            f"{best.average_power_w:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _shown_lines(group: Group) -> list[tuple[str, int]]:
    """Return build and boards of the lines of a table: all, or with many builds the best."""
    lines = list(dict.fromkeys((row.config if len(group.configs) > 1 else "", row.boards) for row in group.valid))
    if len(group.configs) <= MOST_BUILDS:
        return lines
    merits = {line: max(group.merit(row) for row in group.valid if (row.config, row.boards) == line) for line in lines}
    return sorted(lines, key=lambda line: -merits[line])[:MOST_BUILDS]


def _front(group: Group) -> list[str]:
    """Return the front over throughput, latency and energy."""
    several, figures = len(group.configs) > 1, group.front_figures
    heads = (*(["VTA build"] if several else []), "boards", "strategy", *figures.values(), "busy VTA")
    lines = [
        f"Best in throughput, latency and energy at once: {len(group.front)} of {counted(len(group.valid), 'point')}.",
        "",
        f"| {' | '.join(heads)} |",
        f"{'|---' * len(heads)}|",
    ]
    for row in group.front:
        busy = ", ".join(f"{100 * kind.vta_busy:.0f} %" for kind in row.types)
        cells = " | ".join(figure(getattr(row, name)) for name in figures)
        build = f" {row.config} |" if several else ""
        lines.append(f"|{build} {row.boards} | {row.strategy} | {cells} | {busy} |")
    return lines
