"""Where the registers of VTA's units lie: as published, or as the ``.hwh`` of a design states it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mpi_vta.errors import DeviceError
from mpi_vta.runtime.devices.board_access import RegisterBlock

UNITS = ("fetch", "load", "compute", "store")
UNIT_SPAN_BYTES = 0x1000
ZYNQ_BASE = 0x43C0_0000
ULTRASCALE_BASE = 0xA000_0000
CONTROL = 0x00
_PATTERN = 0x5A5A_0000
# (unit, argument of its HLS function) of every base that VTA adds to dram_base
BASES = (("load", "inputs"), ("load", "weights"), ("compute", "uops"), ("compute", "biases"), ("store", "outputs"))


@dataclass(frozen=True)
class RegisterMap:
    """Offsets in bytes from each unit's base.

    Attributes
    ----------
    units : mapping of str to int
        Physical address of the registers of each of `UNITS`.
    insn_count : int
        In fetch: number of instructions.
    insns : tuple of int
        In fetch: address of the instructions, the low word and, if pointers have 64 bits, the high one.
    bases : tuple of (str, int)
        Unit and offset of every word that is added to addresses; ours are absolute, so all are 0.
    done : int
        In compute: bit 0 is set by FINISH, and cleared by the first GEMM or ALU after it.
    done_flag : int
        In compute: bit 0 says that `done` was written since this word was last read.
    source : str
        Who says so, for messages.
    """

    units: Mapping[str, int]
    insn_count: int
    insns: tuple[int, ...]
    bases: tuple[tuple[str, int], ...]
    done: int
    done_flag: int
    source: str

    def check(self, blocks: Mapping[str, RegisterBlock], where: str) -> None:
        """Write and read back every address register, which has no effect before a launch.

        Raises
        ------
        DeviceError
            If one does not keep what was written: the design has another map.
        """
        words = [("fetch", offset) for offset in self.insns] + list(self.bases)
        for number, (unit, offset) in enumerate(words):
            blocks[unit].write(offset, _PATTERN + number)
        wrong = [
            f"{unit} {offset:#x}"
            for number, (unit, offset) in enumerate(words)
            if blocks[unit].read(offset) != _PATTERN + number
        ]
        for unit, offset in words:
            blocks[unit].write(offset, 0)
        if wrong:
            raise DeviceError(
                f"the registers are not where {self.source} puts them ({', '.join(wrong)} keep nothing)",
                where=where,
                remedy="put the .hwh of this design beside the bitstream (Vivado leaves it in the hw_handoff folder)",
            )


def published_map(part: str) -> RegisterMap:
    """Return the map of VTA's published builds, which Vivado HLS made, on a part."""
    base = ZYNQ_BASE if part.upper().startswith("XC7Z") else ULTRASCALE_BASE
    return RegisterMap(
        units={unit: base + index * UNIT_SPAN_BYTES for index, unit in enumerate(UNITS)},
        insn_count=0x10,
        insns=(0x18,),
        bases=(("load", 0x10), ("load", 0x18), ("compute", 0x20), ("compute", 0x28), ("store", 0x10)),
        done=0x18,
        done_flag=0x1C,
        source="the published map",
    )


def stated_map(
    units: Mapping[str, int], registers: Mapping[str, Mapping[str, int]], part: str, hwh: str
) -> RegisterMap:
    """Return the map that a hardware description states.

    Parameters
    ----------
    units : mapping of str to int
        Base addresses.
    registers : mapping of str to mapping of str to int
        By unit, offset by register name; no names at all leave the published offsets.
    part : str
        The FPGA.
    hwh : str
        The file, for messages.

    Raises
    ------
    DeviceError
        If some registers are named, but not all that are needed.
    """
    if not any(registers[unit] for unit in UNITS):
        published = published_map(part)
        return RegisterMap(
            units, published.insn_count, published.insns, published.bases, published.done, published.done_flag, hwh
        )

    def words(unit: str, argument: str) -> tuple[int, ...]:
        # Vivado HLS appends the type's _V, Vitis HLS cuts a 64-bit pointer into _1 and _2
        for names in ((argument,), (f"{argument}_V",), (f"{argument}_1", f"{argument}_2"), (f"{argument}_V_1",)):
            found = [registers[unit][name] for name in names if name in registers[unit]]
            if found:
                return tuple(found)
        raise DeviceError(
            f"no register for {argument} of the unit {unit}",
            where=hwh,
            allowed=f"{', '.join(registers[unit])} are there",
            remedy="is this the .hwh of a VTA design?",
        )

    done = registers["compute"].get("done_o")
    return RegisterMap(
        units=units,
        insn_count=words("fetch", "insn_count")[0],
        insns=words("fetch", "insns"),
        bases=tuple((unit, offset) for unit, argument in BASES for offset in words(unit, argument)),
        done=words("compute", "done")[0] if done is None else done,
        # HLS puts the flag of an output into the word behind it
        done_flag=(words("compute", "done")[0] if done is None else done) + 4,
        source=hwh,
    )
