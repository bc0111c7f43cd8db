import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FOLDERS = ("analysis", "benchmarks", "docs", "hw", "jobs", "mpi_vta", "tests")
PLACE = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]+)`")


def documents():
    found = [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def anchors(path):
    headings = [line.lstrip("#").strip() for line in path.read_text(encoding="utf-8").splitlines() if line[:1] == "#"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", documents())
def test_every_relative_link_and_picture_is_there(name):
    path = ROOT / name
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if "://" not in target:
            file, _, anchor = target.partition("#")
            found = path.parent / file if file else path
            assert found.exists(), target
            assert not anchor or anchor in anchors(found), target


@pytest.mark.parametrize("name", documents())
def test_every_file_that_a_document_names_is_there(name):
    for place in PLACE.findall((ROOT / name).read_text(encoding="utf-8")):
        assert (ROOT / place).exists(), place


def test_the_readme_names_every_command():
    from mpi_vta.__main__ import COMMANDS

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"mpi_vta.{name}" not in text] == []


def test_the_readme_names_every_target_of_make():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (targets,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert [target for target in targets.split() if f"make {target}" not in text] == []
