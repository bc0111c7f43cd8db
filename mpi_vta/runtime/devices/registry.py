"""Devices by name: a new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from mpi_vta.errors import InputError, unknown_name
from mpi_vta.hw.config import VTAConfig
from mpi_vta.runtime.devices.protocol import Device, DeviceSetup

# name -> (module, class, what it is), imported when chosen, as a device may need what only a board has
_DEVICES: Mapping[str, tuple[str, str, str]] = {
    "sim": ("mpi_vta.runtime.devices.sim", "SimDevice", "bits and cycles of VTA by the simulator"),
    "timing": ("mpi_vta.runtime.devices.timing", "TimingDevice", "cycles alone: no data, no outputs"),
    "rtl": ("mpi_vta.runtime.devices.rtl", "RtlDevice", "the boards' driver on the core of this project, compiled"),
    "pynq": ("mpi_vta.runtime.devices.pynq", "PynqDevice", "the rank's own board, driven through pynq"),
}


def described_devices() -> tuple[tuple[str, str], ...]:
    """Return (name, what it is) of every device."""
    return tuple((name, what) for name, (_, _, what) in _DEVICES.items())


def carries_data(name: str) -> bool:
    """Return whether launches of a device compute, without opening it; raises as `open_device`."""
    answer: bool = _device_class(name).carries_data
    return answer


def verifies(name: str) -> bool:
    """Return whether messages carry a checksum unless somebody says otherwise; raises as `open_device`.

    Where launches are simulated, a checksum is nothing beside them. It would be much beside messages that carry only a
    time, and on the processors of real boards: see docs/reliability.md.
    """
    kind = _device_class(name)
    return bool(kind.carries_data and kind.simulated)


def make_ready(name: str, configs: Sequence[VTAConfig], tell: Callable[[str], None]) -> None:
    """Make once, before ranks open it, what a device of some builds needs, if anything; raises as the device does.

    Parameters
    ----------
    name : str
        As given to ``--device``.
    configs : sequence of VTAConfig
        The builds.
    tell : callable
        Told of what takes long.
    """
    kind = _device_class(name)
    if hasattr(kind, "make_ready"):
        kind.make_ready(configs, tell)


def open_device(name: str, setup: DeviceSetup | None = None) -> Device:
    """Return a device by name.

    Parameters
    ----------
    name : str
        As given to ``--device``.
    setup : DeviceSetup, optional
        The board and its bitstream; simulated devices take no notice.

    Raises
    ------
    InputError
        If there is none of that name.
    DeviceError
        If it is a real board that cannot be used.
    """
    device: Device = _device_class(name)(setup or DeviceSetup())
    return device


def _device_class(name: str) -> Any:
    if name not in _DEVICES:
        raise unknown_name(InputError, f"no device named {name!r}", where="--device", name=name, known=_DEVICES)
    module, kind, _ = _DEVICES[name]
    return getattr(import_module(module), kind)
