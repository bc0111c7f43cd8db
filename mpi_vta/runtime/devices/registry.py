"""Devices by name: a new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from mpi_vta.errors import InputError
from mpi_vta.runtime.devices.protocol import Device

# name -> (module, class), imported when chosen, as a device may need what only a board has
_DEVICES: Mapping[str, tuple[str, str]] = {
    "sim": ("mpi_vta.runtime.devices.sim", "SimDevice"),
    "timing": ("mpi_vta.runtime.devices.timing", "TimingDevice"),
}


def device_names() -> tuple[str, ...]:
    """Return the names that `open_device` takes."""
    return tuple(_DEVICES)


def open_device(name: str) -> Device:
    """Return a device by name.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if name not in _DEVICES:
        raise InputError(f"no device named {name!r}", where="--device", allowed=", ".join(_DEVICES))
    module, kind = _DEVICES[name]
    opener: Callable[[], Device] = getattr(import_module(module), kind)
    return opener()
