"""One row of the table of operators, and what rows of both dialects share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from mpi_vta.graph import shapes
from mpi_vta.graph.ir import Graph, Node
from mpi_vta.graph.operand_windows import Elementwise

Array = NDArray[Any]

VTA, HOST = "vta", "host"
WINDOW = {"kernel": "pair", "strides": "pair", "pads": "pads"}
BOX = {"channels": "pair", "rows": "pair", "cols": "pair"}
ENLARGED = shapes.resized(lambda h, w, attrs: (h * attrs["scales"][0], w * attrs["scales"][1]))
PADDED = shapes.resized(
    lambda h, w, attrs: (h + attrs["pads"][0] + attrs["pads"][2], w + attrs["pads"][1] + attrs["pads"][3])
)


@dataclass(frozen=True)
class OpSpec:
    """Legal shape of a node.

    Attributes
    ----------
    inputs : tuple of int
        Smallest and largest number of value inputs.
    params : mapping of str to str
        Constant parameters by role, with their dtype; a trailing ``?`` marks an optional one.
    attrs : mapping of str to type description
        Attributes: ``int``, ``float``, ``pair`` (y, x), ``pads`` (top, left, bottom, right),
        ``ints`` (a tuple), ``ints?`` (a tuple or None), ``str``.
    doc : str
        Meaning.
    shape : callable
        Rule of `mpi_vta.graph.shapes`.
    compute : callable
        Definition of the result: takes graph, node and the operands of n images.
    place : str
        Of float operators: ``vta`` for what no host does, ``host`` for what only the host does (then `reason` says
        why), empty for what either can.
    hosted : callable or None
        Of float operators of which only some nodes are the host's alone: whether a node of a graph is one.
    becomes : str
        Of float operators: the int8 operator of the layer that it begins; empty if it begins none.
    renames : bool
        The result holds the same elements as they lie.
    bounds : bool
        Of float operators: an activation that is a layer's bounds or slope.
    takes : tuple of str
        Of int8 operators: the float activations that it does as its last step.
    passes_factors : bool
        Factors per channel above 0 may be applied behind it as well as before it.
    same_scale : bool
        Of int8 operators: its operands and its result have one scale.
    pieces : callable or None
        Of float operators that become ``piecewise``: the function of one number that a node stands for.
    error_steps : float
        Of int8 operators: most that an element may lie away from the exact function of its operands as they are, in
        steps of the result, where nothing is clipped; rounding alone is half a step.
    operands : Elementwise
        Of int8 operators: what of its operands a part of the result is made of.
    """

    inputs: tuple[int, int]
    params: Mapping[str, str]
    attrs: Mapping[str, str]
    doc: str
    shape: shapes.Rule
    compute: Callable[..., Array]
    place: str = ""
    hosted: Callable[[Graph, Node], bool] | None = None
    reason: str = ""
    becomes: str = ""
    renames: bool = False
    bounds: bool = False
    takes: tuple[str, ...] = ()
    passes_factors: bool = False
    same_scale: bool = False
    pieces: Callable[[Node], Callable[[Array], Array]] | None = None
    error_steps: float = 0.0
    operands: Elementwise = field(default_factory=Elementwise)

    def place_of(self, graph: Graph, node: Node) -> str:
        """Return where a node of the operator runs, as `place`."""
        return HOST if self.hosted is not None and self.hosted(graph, node) else self.place
