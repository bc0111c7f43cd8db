"""Modules import each other in one direction, no circle even inside functions; and a name stands for one class."""

import ast
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

import mpi_vta


def circle(graph):
    """Return the modules of a circle of imports in order, the first one again at its end; none if there is none."""
    order = TopologicalSorter({name: graph.find_modules_directly_imported_by(name) for name in graph.modules})
    try:
        order.prepare()
    except CycleError as fault:
        return fault.args[1]
    return []


@pytest.fixture(scope="module")
def package():
    return grimp.build_graph("mpi_vta", cache_dir=None)


def test_no_modules_import_each_other_in_a_circle(package):
    assert len(package.modules) > 300
    assert circle(package) == []


def test_circle_of_modules_is_found():
    graph = grimp.ImportGraph()
    for module in ("a", "b", "c"):
        graph.add_module(module)
    for importer, imported in (("a", "b"), ("b", "c"), ("c", "b")):
        graph.add_import(importer=importer, imported=imported)
    assert set(circle(graph)) == {"b", "c"}


def test_a_class_has_a_name_of_its_own():
    """Except in the core's room, whose words are those of hardware."""
    places = defaultdict(list)
    for path in sorted(Path(mpi_vta.__file__).parent.rglob("*.py")):
        if "gateware" not in path.parts:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].append(path.name)
    assert len(places) > 200
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
