"""The compiled artefact: instructions, constants and symbols of one stage, ready to link and launch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta import artifact
from mpi_vta.disk import read_bytes, write_atomically
from mpi_vta.errors import ArtifactError
from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.codec import decode_columns, with_dram_base
from mpi_vta.isa.table import DRAM_BASE_BITS, MemoryType
from mpi_vta.json_fields import Count, Exponent, Positive, from_json

FORMAT_VERSION = 1
SEGMENT_ALIGN_BYTES = 4096
LEAST_BUFFER_BYTES = 8192  # XRT makes no smaller one
MOST_DRAM_BYTES = 1 << 30  # more than any board sets aside


@dataclass(frozen=True)
class Segment:
    """A piece of DRAM that the loader places.

    Attributes
    ----------
    name : str
        Unique in the program.
    kind : str
        ``const`` (micro-ops, weights, biases: comes with data), ``scratch``, ``input`` or ``output``.
    size_bytes : int
        Size; the base is aligned to `SEGMENT_ALIGN_BYTES`.
    """

    name: str
    kind: str
    size_bytes: Count


@dataclass(frozen=True)
class Binding:
    """Where an input or output value of the stage lies.

    Attributes
    ----------
    value : str
        Name of the value in the model's graph.
    segment : str
        Segment that holds it; its first byte is the value's first byte.
    shape : tuple of int
        (1, C, H, W) of one image.
    scale_log2 : int
        Real value = integer * 2**scale_log2.
    size_bytes : int
        Bytes of one GEMM batch in `mpi_vta.graph.layout` order.
    """

    value: str
    segment: str
    shape: tuple[Positive, ...]
    scale_log2: Exponent
    size_bytes: Count


@dataclass(frozen=True)
class Layer:
    """What one layer of the program is and does; its instructions are those with its index."""

    name: str
    op: str
    schedule: str
    gemm_uops: Count
    alu_uops: Count
    load_bytes: Count
    store_bytes: Count


@dataclass(frozen=True)
class HostStep:
    """Work that the board's CPU does before the launch: gather patches of a thin input for the GEMM core.

    The image `source` (int8, shape (1, C, H, W)) becomes the stage's input value `result` by im2col:
    see `mpi_vta.codegen.stem`.
    """

    source: str
    source_shape: tuple[Count, ...]
    result: str
    attrs: Mapping[str, Any]


@dataclass(frozen=True)
class _Header:
    """What stands beside a program's arrays in a file; entries are lists of their fields."""

    name: str
    config: Mapping[str, Any]
    segments: tuple[Segment, ...]
    inputs: tuple[Binding, ...]
    outputs: tuple[Binding, ...]
    layers: tuple[Layer, ...]
    data: tuple[str, ...]
    host_steps: tuple[HostStep, ...]


@dataclass(frozen=True)
class Program:
    """One stage compiled for one VTA configuration.

    Attributes
    ----------
    name : str
        Model and stage.
    config : VTAConfig
        The build that it runs on.
    insns : ndarray of uint64, shape (n, 2)
        ``dram_base`` counts elements from the start of the instruction's segment.
    insn_segment : ndarray of int16, shape (n,)
        Index into `segments` for LOAD and STORE, -1 elsewhere: the relocations.
    insn_layer : ndarray of int16, shape (n,)
        Index into `layers`; -1 for FINISH and the like.
    segments, inputs, outputs, layers, host_steps : tuples
        Symbols and descriptions.
    data : mapping of str to ndarray of uint8
        Contents of the ``const`` segments.
    """

    name: str
    config: VTAConfig
    insns: NDArray[np.uint64]
    insn_segment: NDArray[np.int16]
    insn_layer: NDArray[np.int16]
    segments: tuple[Segment, ...]
    inputs: tuple[Binding, ...]
    outputs: tuple[Binding, ...]
    layers: tuple[Layer, ...]
    data: Mapping[str, NDArray[np.uint8]]
    host_steps: tuple[HostStep, ...] = ()

    @cached_property
    def default_bases(self) -> dict[str, int]:
        """Byte address of each segment when laid one after another from `SEGMENT_ALIGN_BYTES` on."""
        bases, address = {}, SEGMENT_ALIGN_BYTES
        for segment in self.segments:
            bases[segment.name] = address
            address += -(-segment.size_bytes // SEGMENT_ALIGN_BYTES) * SEGMENT_ALIGN_BYTES
        return bases

    @cached_property
    def dram_bytes(self) -> int:
        """Memory that the segments take under `default_bases`, gaps included."""
        if not self.segments:
            return SEGMENT_ALIGN_BYTES
        last = self.segments[-1]
        return self.default_bases[last.name] + last.size_bytes

    @cached_property
    def contiguous_bytes(self) -> int:
        """Contiguous memory that a board gives to the program: a buffer a segment, and one for the instructions."""
        sizes = [*(segment.size_bytes for segment in self.segments), self.insns.nbytes]
        pages = [-(-max(size, LEAST_BUFFER_BYTES) // SEGMENT_ALIGN_BYTES) for size in sizes]
        return sum(pages) * SEGMENT_ALIGN_BYTES

    def link(self, bases: Mapping[str, int]) -> NDArray[np.uint64]:
        """Return the instructions with absolute ``dram_base`` for segments at the given byte addresses.

        Raises
        ------
        ArtifactError
            If a base is not a multiple of the element size or an address leaves 32 bits.
        """
        config = self.config
        columns = decode_columns(self.insns, config)
        element = {
            MemoryType.UOP: config.uop_bytes,
            MemoryType.WGT: config.wgt_bytes,
            MemoryType.INP: config.inp_bytes,
            MemoryType.ACC: config.acc_bytes,
            MemoryType.OUT: config.out_bytes,
        }
        size_of = np.ones(max(MemoryType) + 1, dtype=np.int64)
        for kind, size in element.items():
            size_of[kind] = size
        rows = np.flatnonzero(self.insn_segment >= 0)
        base_of = np.array([bases[segment.name] for segment in self.segments], dtype=np.int64)
        base = base_of[self.insn_segment[rows]]
        sizes = size_of[columns["memory_type"][rows]]
        absolute = base // sizes + columns["dram_base"][rows]
        if (base % sizes).any() or (absolute >> DRAM_BASE_BITS).any():
            raise ArtifactError("a segment base is misaligned or beyond 32-bit element addresses", where=self.name)
        return with_dram_base(self.insns, rows, absolute, config)

    def dram_image(self) -> NDArray[np.uint8]:
        """Return DRAM under `default_bases` with the constants in place and zeros elsewhere."""
        image = np.zeros(self.dram_bytes, dtype=np.uint8)
        for name, content in self.data.items():
            image[self.default_bases[name] : self.default_bases[name] + content.size] = content
        return image

    @cached_property
    def sha256(self) -> str:
        """Content hash."""
        return artifact.content_hash(self._header(), self._arrays())

    def _header(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "config": self.config.to_dict(),
            "segments": [[s.name, s.kind, s.size_bytes] for s in self.segments],
            "inputs": [_binding_list(b) for b in self.inputs],
            "outputs": [_binding_list(b) for b in self.outputs],
            "layers": [list(vars(layer).values()) for layer in self.layers],
            "data": list(self.data),
            "host_steps": [[h.source, list(h.source_shape), h.result, dict(h.attrs)] for h in self.host_steps],
        }

    def _arrays(self) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = {
            "insns": self.insns,
            "insn_segment": self.insn_segment,
            "insn_layer": self.insn_layer,
        }
        arrays.update({f"d{i}": content for i, content in enumerate(self.data.values())})
        return arrays

    def to_bytes(self) -> bytes:
        """Serialise the program."""
        return artifact.pack("program", FORMAT_VERSION, self._header(), self._arrays())

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "program") -> Program:
        """Read what `to_bytes` wrote; raises `ArtifactError` on damage."""
        header, arrays = artifact.unpack(data, "program", FORMAT_VERSION, where)
        try:
            read = from_json(_Header, header)
            program = cls(
                read.name,
                VTAConfig.from_dict(read.config, where=where),
                arrays["insns"],
                arrays["insn_segment"],
                arrays["insn_layer"],
                read.segments,
                read.inputs,
                read.outputs,
                read.layers,
                {name: arrays[f"d{i}"] for i, name in enumerate(read.data)},
                read.host_steps,
            )
            program._check()
        except (KeyError, TypeError, ValueError) as fault:
            what = f"{fault} is missing" if isinstance(fault, KeyError) else str(fault)
            raise ArtifactError(f"not a whole program ({what})", where=where, remedy="make it again") from fault
        return program

    def _check(self) -> None:
        """Raise `ValueError` if the arrays do not fit together or the sizes are beyond all memory."""
        count = len(self.insns)
        if self.insns.dtype != np.uint64 or self.insns.shape != (count, 2):
            raise ValueError("its instructions are not pairs of 64-bit words")
        for name, index, most in (
            ("segment", self.insn_segment, len(self.segments)),
            ("layer", self.insn_layer, len(self.layers)),
        ):
            if index.dtype != np.int16 or index.shape != (count,):
                raise ValueError(f"it has not one {name} number per instruction")
            if count and not -1 <= int(index.min()) <= int(index.max()) < most:
                raise ValueError(f"{name} numbers are not in -1..{most - 1}")
        sizes = {segment.name: segment.size_bytes for segment in self.segments}
        if len(sizes) != len(self.segments) or sum(sizes.values()) > MOST_DRAM_BYTES:
            raise ValueError(f"its segments are double, or together more than {MOST_DRAM_BYTES} bytes")
        for name, content in self.data.items():
            if content.dtype != np.uint8 or content.ndim != 1 or content.size > sizes[name]:
                raise ValueError(f"the data of segment {name} do not fit it")
        for binding in (*self.inputs, *self.outputs):
            if binding.size_bytes > sizes[binding.segment] or len(binding.shape) != 4:
                raise ValueError(f"{binding.value} does not fit its segment")

    def save(self, path: Path) -> None:
        """Write the program to a file."""
        write_atomically(path, self.to_bytes(), "the program")

    @classmethod
    def load(cls, path: Path) -> Program:
        """Read a program file."""
        try:
            data = read_bytes(path)
        except OSError as fault:
            raise ArtifactError(
                f"cannot read the program ({fault.strerror})", where=str(path), allowed="a file that can be read"
            ) from fault
        return cls.from_bytes(data, where=str(path))


def _binding_list(binding: Binding) -> list[Any]:
    return [binding.value, binding.segment, list(binding.shape), binding.scale_log2, binding.size_bytes]
