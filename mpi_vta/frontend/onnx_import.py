"""ONNX to our float graph: read and check, normalise, through TVM, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mpi_vta.frontend.onnx_net import read_model, read_net
from mpi_vta.frontend.onnx_passes import normalize
from mpi_vta.frontend.relax_import import import_net
from mpi_vta.graph.ir import Graph


def import_file(path: Path) -> Graph:
    """Return the float graph of an ONNX file; the graph is named after the file.

    Raises
    ------
    ModelError
        If the file is missing, is not ONNX, or holds something that we lack: an operator (named, with
        the list of those supported), a dynamic shape, several inputs, a batch other than 1.
    """
    return import_model(read_model(path), path.stem, str(path))


def import_model(model: Any, name: str, path: str) -> Graph:
    """Return the float graph of an ``onnx.ModelProto``; errors as `import_file`, naming `path`."""
    return import_net(normalize(read_net(model, name, path)))
