"""ONNX to our float graph: read and check, normalise, one rule an operator, verify."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpi_vta.errors import GraphError, ModelError
from mpi_vta.frontend.growing_graph import Lowering
from mpi_vta.frontend.onnx_net import Fate, OnnxNet
from mpi_vta.frontend.onnx_operators import row
from mpi_vta.frontend.onnx_passes import normalize
from mpi_vta.frontend.onnx_reading import read_model, read_net
from mpi_vta.frontend.onnx_tail import tail_of
from mpi_vta.graph.ir import Graph

# what attributes and operands that do not fit each other lead to
_DAMAGE = (KeyError, ValueError, TypeError, IndexError, ArithmeticError)


@dataclass(frozen=True)
class Imported:
    """A model's float graph, and what its file says besides.

    Attributes
    ----------
    graph : Graph
        Verified float graph.
    ranges : mapping of str to (float, float)
        Least and largest value of the graph's values whose range the file states (QDQ).
    listed : tuple of (str, str)
        Name and operator of every node of the file.
    fates : mapping of str to Fate
        Those of `listed` that are no nodes of the graph, by name.
    notes : tuple of str
        What was settled that the file leaves open, for the user.
    levels : float
        What a white pixel is in the input: 255 where the file takes bytes.
    """

    graph: Graph
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    listed: tuple[tuple[str, str], ...] = ()
    fates: Mapping[str, Fate] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    levels: float = 1.0


def import_file(path: Path, input_shape: tuple[int, ...] | None = None) -> Imported:
    """Import an ONNX file; the graph is named after the file.

    Raises
    ------
    ModelError
        If the file is missing, is not ONNX, or holds something that we lack: an operator (named, with
        the list of those supported), extents that stay open, several inputs.
    """
    return import_whole(read_model(path), path.stem, str(path), input_shape)


def import_whole(model: Any, name: str, path: str, input_shape: tuple[int, ...] | None = None) -> Imported:
    """Import an ``onnx.ModelProto``; errors as `import_file`, naming `path`."""
    return import_normalized(normalize(read_net(model, name, path, input_shape)))


def import_normalized(net: OnnxNet) -> Imported:
    """Import a net that `mpi_vta.frontend.onnx_passes.normalize` has made."""
    graph = import_net(net)
    ranges = {name: bounds for name, bounds in net.ranges.items() if name in graph.values}
    return Imported(graph, ranges, net.listed, net.fates, net.notes, net.levels)


def import_net(net: OnnxNet) -> Graph:
    """Return the float graph of a net of plain nodes (`mpi_vta.frontend.onnx_passes.normalize`).

    Raises
    ------
    ModelError
        If an operator is used in a way that our graph cannot express, or layers do not fit, naming the node.
    """
    lowering = Lowering(net, tail_of(net))
    for node in net.nodes:
        rule = row(node).lowered or Lowering.refuse
        try:
            rule(lowering, node)
        except GraphError as fault:
            where = net.where(node)
            raise ModelError(fault.what, where=where, allowed=fault.allowed, remedy="correct that layer") from fault
        except _DAMAGE as fault:
            lines = str(fault).strip().splitlines() or [type(fault).__name__]
            found = f"the model is inconsistent: {lines[-1]}"
            raise ModelError(found, where=net.where(node), remedy="check the export") from fault
    return lowering.graph()


def import_model(model: Any, name: str, path: str) -> Graph:
    """Return the float graph alone of an ``onnx.ModelProto``."""
    return import_whole(model, name, path).graph
