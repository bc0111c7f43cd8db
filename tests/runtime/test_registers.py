"""The launch sequence on recording registers: what is written, in which order, and what a hang looks like."""

import pytest

from mpi_vta.errors import DeviceError
from mpi_vta.runtime.devices.pynq import Registers

UNITS = ("fetch", "load", "compute", "store")


class Unit:
    """One unit's registers: notes what is written, and shows `shown` for reads, one value after another."""

    def __init__(self, name, log, shown=()):
        self.name, self.log, self.shown = name, log, list(shown)

    def write(self, offset, value):
        assert type(value) is int
        self.log.append((self.name, offset, value))

    def read(self, offset):
        return self.shown.pop(0) if len(self.shown) > 1 else self.shown[0]


def units(fetch=(0, 0x0E), compute=(0, 1)):
    log = []
    shown = {"fetch": fetch, "compute": compute}
    return {name: Unit(name, log, shown.get(name, (0,))) for name in UNITS}, log


def test_launch_writes_what_the_driver_of_the_hls_builds_writes():
    made, log = units()
    Registers(made, "here", 1.0).launch(0x1000_0000, 12, "stage x")
    assert log == [
        ("fetch", 0x10, 12),
        ("fetch", 0x18, 0x1000_0000),
        ("load", 0x10, 0),
        ("load", 0x18, 0),
        ("compute", 0x20, 0),
        ("compute", 0x28, 0),
        ("store", 0x10, 0),
        ("fetch", 0x00, 0x01),
        ("load", 0x00, 0x81),
        ("compute", 0x00, 0x81),
        ("store", 0x00, 0x81),
        ("load", 0x00, 0),
        ("compute", 0x00, 0),
        ("store", 0x00, 0),
    ]


def test_done_of_the_launch_before_does_not_end_the_next_one():
    made, _ = units(fetch=(0,), compute=(1,))
    with pytest.raises(DeviceError, match="VTA's fetch unit did not finish"):
        Registers(made, "here", 0.01).launch(0, 1, "stage x")


def test_hang_names_board_stage_and_unit_and_stops_the_units():
    made, log = units(compute=(0,))
    with pytest.raises(
        DeviceError, match=r"here: stage x: VTA's compute unit did not finish within 0.01 s; start again"
    ):
        Registers(made, "here", 0.01).launch(0, 1, "stage x")
    assert log[-3:] == [("load", 0, 0), ("compute", 0, 0), ("store", 0, 0)]
