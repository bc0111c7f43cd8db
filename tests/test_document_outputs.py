"""What documents show as printed is what the commands print."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def load_documents():
    spec = importlib.util.spec_from_file_location("documents", ROOT / "benchmarks" / "documents.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["documents"] = module
    spec.loader.exec_module(module)
    return module


documents = load_documents()


def shown(name):
    """Return every place at which an output is shown."""
    found = [documents.blocks(document)[name] for document in documents.DOCUMENTS if name in documents.blocks(document)]
    assert found
    return found


def check(*names):
    """Compare the outputs of one command with what the documents show."""
    (command,) = {documents.OUTPUTS[name].command for name in names}
    text = documents.printed(command)
    for name in names:
        for place in shown(name):
            assert documents.comparable(place) == documents.comparable(documents.OUTPUTS[name].shown(text)), name


def test_every_mark_has_an_output_and_every_output_a_mark():
    marked = {name for document in documents.DOCUMENTS for name in documents.blocks(document)}
    assert marked == set(documents.OUTPUTS)
    for document in documents.DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8")
        assert text.count("<!-- output: ") == text.count("<!-- end of output -->") == len(documents.blocks(document))


def test_measured_figures_hosts_and_widths_are_not_compared():
    table = "| a | s (measured) |\n|---|---|\n| {} | {} |\n"
    assert documents.comparable(table.format(1, 2.0)) == documents.comparable(table.format(1, 3.0))
    assert documents.comparable(table.format(1, 2.0)) != documents.comparable(table.format(2, 2.0))
    assert documents.comparable("│ vm │ 1 │\n└────┘") == documents.comparable("│ vm   │ 1 │")
    assert documents.comparable("│ 12 │") != documents.comparable("│ 13 │")


def test_stale_output_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "ROOT", tmp_path)
    monkeypatch.setattr(documents, "DOCUMENTS", ("a.md",))
    path = tmp_path / "a.md"
    path.write_text(
        "a\n<!-- output: x -->\nold\n<!-- end of output -->\nb\n<!-- output: y -->\n<!-- end of output -->\n"
    )
    documents.write({"x": "new \\1\n"})
    assert documents.blocks("a.md") == {"x": "new \\1\n", "y": ""}
    assert path.read_text().startswith("a\n<!-- output: x -->\nnew")


def rows_of(text):
    """Return cycles by network and configuration of a table of the documents."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    head = rows[0]
    cycles = next(place for place, name in enumerate(head) if name.startswith("cycles"))
    return {(row[0], row[head.index("board") if "board" in head else 1]): row[cycles] for row in rows[2:]}


def test_network_has_the_same_cycles_in_every_document():
    networks, *others = [rows_of(place) for place in shown("networks")]
    assert all(other == networks for other in others)
    zoo = rows_of((ROOT / "docs" / "zoo.md").read_text(encoding="utf-8"))
    for model in ("resnet18", "yolo"):
        for board in ("pynq", "ultra96"):
            place = "pynq_z1" if board == "pynq" else board
            assert zoo[model, place] == networks[model, f"{board}_1x16"]
    (run,) = shown("study")
    assert re.search(r"│\s+5 │", run)


def test_output_of_a_study_is_as_printed():
    check("study")


@pytest.mark.slow
@pytest.mark.mpi
def test_output_of_digits_is_as_printed():
    check("digits")


@pytest.mark.slow
@pytest.mark.mpi
def test_output_of_a_run_is_as_printed():
    check("shapes")  # not yolo: its weights come from the package index
