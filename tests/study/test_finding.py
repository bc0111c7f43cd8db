"""The words of findings and of notes on plans: none is said by nobody, none is missing."""

import ast
from pathlib import Path

import pytest

import mpi_vta
from mpi_vta.plans.notes import SPLIT_BOUND, Note
from mpi_vta.study.finding import Finding


def first_arguments(name):
    """Return every text in the first argument of calls of `name` in the package."""
    texts = {SPLIT_BOUND}
    for path in Path(mpi_vta.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in (name, "cls"):
                parts = [part for argument in node.args[:1] for part in ast.walk(argument)]
                texts |= {part.value for part in parts if isinstance(part, ast.Constant)}
    return texts


@pytest.mark.parametrize("kind", [Finding, Note])
def test_every_template_is_said_somewhere(kind):
    assert kind.TEMPLATES.keys() - first_arguments(kind.__name__) == set()
