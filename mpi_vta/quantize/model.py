"""What quantisation delivers: the int8 graph, the scales at its ends, and what stays on the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta import artifact
from mpi_vta.disk import write_atomically
from mpi_vta.graph.ir import Graph
from mpi_vta.graph.reference import execute

FORMAT_VERSION = 1


def quantize_input(images: NDArray[np.float32], scale_log2: int) -> NDArray[np.int8]:
    """Return ``clip(floor(images / 2**scale_log2 + 1/2), -128, 127)`` as int8, shape unchanged."""
    scaled = np.ldexp(images.astype(np.float64), -scale_log2)
    return np.clip(np.floor(scaled + 0.5), -128, 127).astype(np.int8)


def dequantize(integers: NDArray[np.int8], scale_log2: int) -> NDArray[np.float32]:
    """Return ``integers * 2**scale_log2`` as float32, shape unchanged."""
    return np.ldexp(integers.astype(np.float32), scale_log2)


@dataclass(frozen=True)
class ModelOutput:
    """One output of the model: its name and float shape, and the value (int8 or host) that holds it."""

    name: str
    shape: tuple[int, ...]
    source: str


@dataclass(frozen=True)
class QuantizedModel:
    """A model ready for code generation.

    Attributes
    ----------
    graph : Graph
        Verified int8 graph with one input; code generation takes this.
    input_scale_log2 : int
        Scale of the graph's input: real value = integer * 2**input_scale_log2.
    host_graph : Graph or None
        Float graph that rank 0 runs on the dequantised outputs; None when nothing is left to do.
    host_ops : tuple of (str, str, str)
        Node name, operator and reason of everything that runs on the host.
    outputs : tuple of ModelOutput
        The model's outputs in the model's order.
    """

    graph: Graph
    input_scale_log2: int
    host_graph: Graph | None
    host_ops: tuple[tuple[str, str, str], ...]
    outputs: tuple[ModelOutput, ...]

    def quantize_input(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.int8]]:
        """Return the int8 graph's input for float32 images of shape (n, C, H, W)."""
        return {self.graph.inputs[0]: quantize_input(images, self.input_scale_log2)}

    def finish(
        self,
        outputs: Mapping[str, NDArray[np.int8]],
        run: Callable[[Graph, Mapping[str, Any]], dict[str, Any]] = execute,
    ) -> dict[str, NDArray[np.float32]]:
        """Return the model's float outputs from the int8 graph's outputs, running the host graph.

        Parameters
        ----------
        outputs : mapping of str to ndarray of int8, shape (n, C, H, W)
            One array per output of `graph`.
        run : callable
            Runs the host graph, as `mpi_vta.graph.reference.execute` does.

        Returns
        -------
        dict of str to ndarray of float32
            By name of the model's output, in the shape that the model states, with n images.
        """
        values: dict[str, Any] = {
            name: dequantize(outputs[name], self.graph.values[name].scale_log2 or 0) for name in self.graph.outputs
        }
        if self.host_graph is not None:
            host = self.host_graph
            given = {name: values[name].reshape(-1, *host.values[name].shape[1:]) for name in host.inputs}
            values.update(run(host, given))
        return {output.name: values[output.source].reshape(-1, *output.shape[1:]) for output in self.outputs}

    def to_bytes(self) -> bytes:
        """Serialise the model."""
        header: dict[str, Any] = {
            "input_scale_log2": self.input_scale_log2,
            "host_ops": [list(entry) for entry in self.host_ops],
            "outputs": [[output.name, list(output.shape), output.source] for output in self.outputs],
            "graphs": {},
        }
        arrays: dict[str, NDArray[Any]] = {}
        for part, graph in (("vta", self.graph), ("host", self.host_graph)):
            if graph is not None:
                header["graphs"][part], own = graph.to_parts()
                arrays.update({f"{part}.{key}": array for key, array in own.items()})
        return artifact.pack("quantized", FORMAT_VERSION, header, arrays)

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "quantized model") -> QuantizedModel:
        """Read what `to_bytes` wrote; raises `ArtifactError` on damage."""
        header, arrays = artifact.unpack(data, "quantized", FORMAT_VERSION, where)
        graphs = {
            part: Graph.from_parts(
                entry, {k.removeprefix(f"{part}."): a for k, a in arrays.items() if k.startswith(part)}
            )
            for part, entry in header["graphs"].items()
        }
        return cls(
            graphs["vta"],
            header["input_scale_log2"],
            graphs.get("host"),
            tuple((name, op, why) for name, op, why in header["host_ops"]),
            tuple(ModelOutput(name, tuple(shape), source) for name, shape, source in header["outputs"]),
        )

    @cached_property
    def sha256(self) -> str:
        """Content hash of both graphs and the scales."""
        header = {"scale": self.input_scale_log2, "graph": self.graph.sha256}
        header["host"] = "" if self.host_graph is None else self.host_graph.sha256
        return artifact.content_hash(header, {})

    def save(self, path: Path) -> None:
        """Write the model to a file."""
        write_atomically(path, self.to_bytes(), "the model")
