"""Small faults put into a module, one at a time: what a test suite worth its name must notice."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_NAMES = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "any": "all", "all": "any"}


@dataclass(frozen=True)
class Mutant:
    """A module with one fault: the line it stands in, what was changed, and the whole source."""

    line: int
    before: str
    change: str
    source: str


def mutants(source: str) -> Iterator[Mutant]:
    """Yield every mutant of a module; docstrings, annotations, imports and raised messages stay."""
    tree = ast.parse(source)
    lines = source.splitlines()
    for place, node in enumerate(ast.walk(tree)):
        if place in _left_alone(tree):
            continue
        for change, mutate in _changes(node):
            mutated = copy.deepcopy(tree)
            mutate(list(ast.walk(mutated))[place])
            text = ast.unparse(ast.fix_missing_locations(mutated))
            yield Mutant(node.lineno, lines[node.lineno - 1].strip(), change, text)


def _left_alone(tree: ast.AST) -> frozenset[int]:
    """Return the places, in the order of `ast.walk`, below nodes that do not decide what is computed."""
    if not hasattr(tree, "left_alone"):
        below: set[int] = set()
        for node in ast.walk(tree):
            parts: list[ast.AST | None] = []
            if isinstance(node, ast.arg | ast.AnnAssign):
                parts.append(node.annotation)
            if isinstance(node, ast.FunctionDef):
                parts.append(node.returns)
            if isinstance(node, ast.Raise):
                parts.append(node)
            for part in parts:
                below |= {id(inner) for inner in ast.walk(part)} if part is not None else set()
        tree.left_alone = frozenset(i for i, node in enumerate(ast.walk(tree)) if id(node) in below)  # type: ignore
    return tree.left_alone  # type: ignore


def _changes(node: ast.AST) -> Iterator[tuple[str, object]]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARISONS:
        other = _COMPARISONS[type(node.ops[0])]
        yield f"{type(node.ops[0]).__name__} to {other.__name__}", lambda n: n.ops.__setitem__(0, other())
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _ARITHMETIC:
        swapped = _ARITHMETIC[type(node.op)]
        yield f"{type(node.op).__name__} to {swapped.__name__}", lambda n: setattr(n, "op", swapped())
    if isinstance(node, ast.BoolOp):
        joined = ast.Or if isinstance(node.op, ast.And) else ast.And
        yield f"{type(node.op).__name__} to {joined.__name__}", lambda n: setattr(n, "op", joined())
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        yield "condition negated", lambda n: setattr(n, "test", ast.UnaryOp(ast.Not(), n.test))
    if isinstance(node, ast.Constant) and type(node.value) is int:
        yield f"{node.value} to {node.value + 1}", lambda n: setattr(n, "value", n.value + 1)
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        yield f"{node.value} to {not node.value}", lambda n: setattr(n, "value", not n.value)
    if isinstance(node, ast.Name) and node.id in _NAMES:
        yield f"{node.id} to {_NAMES[node.id]}", lambda n: setattr(n, "id", _NAMES[n.id])
    if isinstance(node, ast.Attribute) and node.attr in _NAMES:
        yield f"{node.attr} to {_NAMES[node.attr]}", lambda n: setattr(n, "attr", _NAMES[n.attr])
