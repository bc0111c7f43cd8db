"""Where each node of a model's file went: to VTA, to the host, or nowhere, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TextIO

from mpi_vta.frontend.models import LoadedModel
from mpi_vta.frontend.onnx_net import Fate
from mpi_vta.graph.ir import Graph, Node
from mpi_vta.graph.ops import FLOAT_OPS
from mpi_vta.quantize.model import QuantizedModel
from mpi_vta.text_table import print_table

VTA, HOST, IMPORT = "VTA", "host", "import"


@dataclass(frozen=True)
class NodePlace:
    """One node of the file.

    Attributes
    ----------
    name, op : str
        As in the file.
    where : str
        ``VTA``, ``host`` or ``import`` (done once, when the model was read).
    layer : str
        The layer of the int8 graph, or the host's node, that does its work; empty when nothing is left of it.
    why : str
        What it is there, or why it is not on VTA.
    """

    name: str
    op: str
    where: str
    layer: str
    why: str


def places_of(loaded: LoadedModel, quantized: QuantizedModel) -> tuple[NodePlace, ...]:
    """Return the place of every node of a model's file, in the file's order.

    Nodes that the import has added, such as the transpose that several others left, come last.
    """
    imported = loaded.imported
    listed = () if imported is None else imported.listed
    fates: Mapping[str, Fate] = {} if imported is None else imported.fates
    finder = _Finder(loaded.graph, quantized)
    places = [_place(name, op, fates, finder) for name, op in listed]
    known = {name for name, _ in listed}
    places += [finder.place(node.name, node.op, node) for node in loaded.graph.nodes if node.name not in known]
    return tuple(places)


def _place(name: str, op: str, fates: Mapping[str, Fate], finder: _Finder) -> NodePlace:
    """Follow a node through what the import made of it."""
    seen, at, why = {name}, name, ""
    while at in fates and at not in finder.nodes:
        fate = fates[at]
        why = why or fate.why
        if not fate.into or fate.into in seen:
            return NodePlace(name, op, IMPORT, "", why)
        at = fate.into
        seen.add(at)
    node = finder.nodes.get(at)
    if node is None:
        return NodePlace(name, op, IMPORT, "", why or "changes nothing")
    place = finder.place(name, op, node)
    return NodePlace(name, op, place.where, place.layer, f"{why} ({at})" if why else place.why)


class _Finder:
    """Finds the layer in which a float node ended up."""

    def __init__(self, graph: Graph, quantized: QuantizedModel) -> None:
        self.nodes = {node.name: node for node in graph.nodes}
        self._graph, self._quantized = graph, quantized
        self._reasons = {name: why for name, _, why in quantized.host_ops}
        self._layers = {node.name: node for node in quantized.graph.nodes}

    def place(self, name: str, op: str, node: Node) -> NodePlace:
        """Return the place of a float node, as `name` and `op`."""
        if node.name in self._reasons:
            return NodePlace(name, op, HOST, node.name, self._reasons[node.name])
        if node.name in self._layers:
            return NodePlace(name, op, VTA, node.name, f"a layer: {self._layers[node.name].op}")
        layer = self._maker(node.output)
        if layer is None:
            return NodePlace(name, op, IMPORT, "", "changes nothing in integers")
        why = "only renames elements, read as they lie" if FLOAT_OPS[node.op].renames else f"fused into {layer.name}"
        return NodePlace(name, op, VTA, layer.name, why)

    def _maker(self, value: str) -> Node | None:
        """Return the int8 node that makes the first value at or behind `value` that exists in integers."""
        produced = self._quantized.graph.producer
        sources = {output.name: output.source for output in self._quantized.outputs}
        todo, seen = [value], set[str]()
        while todo:
            at = todo.pop(0)
            if at in produced:
                return produced[at]
            if sources.get(at) in produced:
                return produced[sources[at]]
            seen.add(at)
            readers = self._graph.consumers.get(at, ())
            named = next((self._layers[reader.name] for reader in readers if reader.name in self._layers), None)
            if named is not None:
                return named
            todo += [reader.output for reader in readers if reader.output not in seen]
        return None


def print_places(model: str, places: Iterable[NodePlace], out: TextIO) -> None:
    """Print the table of a model's nodes."""
    counts = dict.fromkeys((VTA, HOST, IMPORT), 0)
    rows = []
    for place in places:
        counts[place.where] += 1
        rows.append((place.name, place.op, place.where, place.layer, place.why))
    heads = ("node", "operator", "where", "layer", "why")
    print_table(f"{model}: where each node goes", heads, rows, out, left=heads)
    print(f"nodes       {counts[VTA]} on VTA, {counts[HOST]} on the host, {counts[IMPORT]} gone at import", file=out)


def places_as_json(model: str, places: Iterable[NodePlace]) -> dict[str, Any]:
    """Return what ``--explain --json`` prints."""
    return {"model": model, "nodes": [asdict(place) for place in places]}
