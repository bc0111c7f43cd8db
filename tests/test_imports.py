"""Modules import each other in one direction: no circle, not even of imports inside functions or for types only."""

from graphlib import CycleError, TopologicalSorter

import grimp
import pytest


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
