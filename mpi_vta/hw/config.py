"""One VTA build: data widths, GEMM shape, buffer sizes; parsed from TVM's JSON keys and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from mpi_vta.disk import read_text
from mpi_vta.errors import ConfigError
from mpi_vta.hw.targets import Target, load_target
from mpi_vta.isa.table import FORMATS, ISA_VERSIONS, SRAM_BASE_BITS, UOP_BITS, WORD_BITS, uop_bits, word_bits
from mpi_vta.json_fields import Range, ranges_of

DEFAULT_HW_VER = "0.0.2"

_Int8 = Annotated[int, Range(3, 3)]
_Int32 = Annotated[int, Range(5, 5)]
_LogExtent = Annotated[int, Range(0, 8)]
_LogBytes = Annotated[int, Range(5, 30)]


@dataclass(frozen=True)
class VTAConfig:
    """Parameters of one VTA build, all sizes as base-2 logarithms (TVM's ``vta_config.json``).

    Buffer sizes are in bytes, widths in bits. Construct with `from_dict` or `load`, which check
    every legality rule and report all faults at once. TVM's keys are the fields' names in capitals.
    """

    target: str
    hw_ver: str
    log_inp_width: _Int8
    log_wgt_width: _Int8
    log_acc_width: _Int32
    log_batch: _LogExtent
    log_block: _LogExtent
    log_uop_buff_size: _LogBytes
    log_inp_buff_size: _LogBytes
    log_wgt_buff_size: _LogBytes
    log_acc_buff_size: _LogBytes

    @classmethod
    def load(cls, path: str | Path) -> VTAConfig:
        """Read and check a configuration file.

        Raises
        ------
        ConfigError
            If the file cannot be read, is not JSON, or breaks a legality rule.
        """
        try:
            data = json.loads(read_text(Path(path)))
        except OSError as fault:
            raise ConfigError(
                f"cannot read the VTA configuration ({fault.strerror})", where=str(path), allowed="a JSON file"
            ) from fault
        except (ValueError, RecursionError) as fault:
            raise ConfigError(f"not JSON ({fault})", where=str(path), allowed="JSON in UTF-8") from fault
        return cls.from_dict(data, where=str(path))

    @classmethod
    def from_dict(cls, data: object, where: str = "VTA configuration") -> VTAConfig:
        """Build a configuration from TVM's JSON keys; raise `ConfigError` listing every fault."""
        if not isinstance(data, Mapping):
            raise ConfigError("not a JSON object", where=where, allowed="an object of TVM's LOG_* keys")
        faults: list[str] = []
        values: dict[str, Any] = {"hw_ver": data.get("HW_VER", DEFAULT_HW_VER), "target": data.get("TARGET")}
        try:
            load_target(values["target"])
        except ConfigError as fault:
            faults.append(f"TARGET is {values['target']!r} (allowed: {fault.allowed})")
        if not isinstance(values["hw_ver"], str) or values["hw_ver"] not in ISA_VERSIONS:
            faults.append(f"HW_VER is {values['hw_ver']!r} (allowed: {', '.join(ISA_VERSIONS)})")
        for name, span in ranges_of(cls).items():
            key, value = name.upper(), data.get(name.upper())
            if not isinstance(value, int) or isinstance(value, bool) or not span.least <= value <= span.most:
                allowed = str(span.least) if span.least == span.most else f"{span.least}..{span.most}"
                faults.append(f"{key} is {value!r} (allowed: {allowed})")
            else:
                values[name] = value
        known = {field.name.upper() for field in fields(cls)}
        faults += [f"unknown key {key!r}" for key in data if key not in known]
        if not faults:
            config = cls(**values)
            faults = config.legality_faults()
            if not faults:
                return config
        raise ConfigError(
            "illegal VTA configuration: " + " | ".join(faults),
            where=where,
            remedy="see docs/vta_configuration.md for the rules",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration under TVM's JSON keys."""
        return {field.name.upper(): getattr(self, field.name) for field in fields(self)}

    def check_read(self) -> None:
        """Refuse with `ValueError` what `from_dict` refuses, in a configuration that a message or file holds."""
        try:
            VTAConfig.from_dict(self.to_dict())
        except ConfigError as fault:
            raise ValueError(str(fault)) from fault

    def legality_faults(self) -> list[str]:
        """Return every rule that this configuration breaks (empty when it can be built).

        The rules are those of the ISA's field widths: a micro-op must fit 32 bits, an instruction two
        64-bit words with no field across them, and the HLS decoder needs A <= I.
        """
        u, i, w, a = self.log_uop_depth, self.log_inp_depth, self.log_wgt_depth, self.log_acc_depth
        faults = [
            f"{name} buffer holds 2^{depth} elements (allowed: at least 2)"
            for name, depth in (("uop", u), ("inp", i), ("wgt", w), ("acc", a))
            if depth < 1
        ]
        if faults:
            return faults
        if uop_bits(self) > UOP_BITS:
            faults.append(
                f"a micro-op needs {uop_bits(self)} bits: acc {a} + src {max(a, i)} + wgt {w} (allowed: {UOP_BITS})"
            )
        for form in FORMATS:
            for word, bits in zip(("first", "second"), word_bits(form, self), strict=True):
                # the first words of GEMM and ALU are alike: one fault, not two
                if bits > WORD_BITS and (form.name, word) != ("ALU", "first"):
                    hint = ", so at most 2^13 micro-ops" if word == "first" else ""
                    faults.append(f"the {word} {form.name} word needs {bits} bits (allowed: {WORD_BITS}{hint})")
        if a > i:
            faults.append(
                f"acc depth 2^{a} exceeds inp depth 2^{i} (allowed: acc <= inp, HLS decodes src with inp's bits)"
            )
        if max(i, w, a, u) > SRAM_BASE_BITS:
            faults.append(
                f"a buffer deeper than 2^{SRAM_BASE_BITS} elements (allowed: sram_base has {SRAM_BASE_BITS} bits)"
            )
        return faults

    @cached_property
    def name(self) -> str:
        """The usual name of the build, for example ``pynq_1x16_i8w8a32_15_15_18_17``."""
        widths = f"i{1 << self.log_inp_width}w{1 << self.log_wgt_width}a{1 << self.log_acc_width}"
        sizes = f"{self.log_uop_buff_size}_{self.log_inp_buff_size}_{self.log_wgt_buff_size}_{self.log_acc_buff_size}"
        return f"{self.target}_{self.batch}x{self.block}_{widths}_{sizes}"

    @property
    def batch(self) -> int:
        """GEMM batch: rows of an input vector group."""
        return 1 << self.log_batch

    @property
    def block(self) -> int:
        """GEMM block: input and output channels per micro-op."""
        return 1 << self.log_block

    @property
    def log_uop_depth(self) -> int:
        """Base-2 logarithm of the micro-op buffer's depth, U."""
        return self.log_uop_buff_size + 3 - (UOP_BITS.bit_length() - 1)

    @property
    def log_inp_depth(self) -> int:
        """Base-2 logarithm of the input buffer's depth, I."""
        return self.log_inp_buff_size - self.log_batch - self.log_block - self.log_inp_width + 3

    @property
    def log_wgt_depth(self) -> int:
        """Base-2 logarithm of the weight buffer's depth, W."""
        return self.log_wgt_buff_size - 2 * self.log_block - self.log_wgt_width + 3

    @property
    def log_acc_depth(self) -> int:
        """Base-2 logarithm of the accumulator's depth, A (the out buffer's too)."""
        return self.log_acc_buff_size - self.log_batch - self.log_block - self.log_acc_width + 3

    @property
    def uop_depth(self) -> int:
        """Micro-ops that the uop buffer holds."""
        return 1 << self.log_uop_depth

    @property
    def inp_depth(self) -> int:
        """Elements of the inp buffer."""
        return 1 << self.log_inp_depth

    @property
    def wgt_depth(self) -> int:
        """Elements of the wgt buffer."""
        return 1 << self.log_wgt_depth

    @property
    def acc_depth(self) -> int:
        """Elements of the acc buffer, and of the out buffer."""
        return 1 << self.log_acc_depth

    @property
    def uop_bytes(self) -> int:
        """Size of a micro-op."""
        return UOP_BITS // 8

    @property
    def inp_bytes(self) -> int:
        """Size of an inp element, int8 ``[batch][block]``."""
        return self.batch * self.block << self.log_inp_width >> 3

    @property
    def wgt_bytes(self) -> int:
        """Size of a wgt element, int8 ``[block_out][block_in]``."""
        return self.block * self.block << self.log_wgt_width >> 3

    @property
    def acc_bytes(self) -> int:
        """Size of an acc element, int32 ``[batch][block]``."""
        return self.batch * self.block << self.log_acc_width >> 3

    @property
    def out_bytes(self) -> int:
        """Size of an out element, int8 ``[batch][block]``."""
        return self.inp_bytes

    @property
    def bus_bits(self) -> int:
        """Width of the memory bus of this target."""
        return self._target.bus_bits

    @property
    def clock_mhz(self) -> float:
        """Clock of the target's published bitstreams."""
        return self._target.clock_mhz

    @property
    def _target(self) -> Target:
        return load_target(self.target)

    def __post_init__(self) -> None:
        """Refuse values of the wrong type early: the fields are used in shifts everywhere."""
        for field in fields(self):
            if field.name.startswith("log_") and not isinstance(getattr(self, field.name), int):
                raise TypeError(f"{field.name} must be an int")
