"""The board's power sensor, as Linux shows it (hwmon); no sensor is a normal answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HWMON = Path("/sys/class/hwmon")
MICROWATTS_PER_WATT = 1e6
# chips that measure a whole supply; PMBus regulators name the input power of each ``pin``
_INA_CHIPS = ("ina219", "ina220", "ina226", "ina230", "ina231", "ina2xx")


@dataclass(frozen=True)
class PowerSensor:
    """Files that together give the board's power.

    Attributes
    ----------
    name : str
        Chip and channels, for the trace and the doctor.
    inputs : tuple of Path
        Files with microwatts; their sum is the board's power.
    """

    name: str
    inputs: tuple[Path, ...]

    def watts(self) -> float:
        """Read the power now; raises `OSError` if the chip does not answer."""
        return sum(int(path.read_text()) for path in self.inputs) / MICROWATTS_PER_WATT


def find_sensor(root: Path = HWMON) -> PowerSensor | None:
    """Return the board's sensor, or None: PYNQ-Z1 and Z2 have none.

    An INA chip wins over PMBus regulators, whose inputs would be counted twice beside it.
    """
    chips = [(path, _text(path / "name")) for path in sorted(root.glob("hwmon*"))]
    ina = [path / "power1_input" for path, name in chips if name in _INA_CHIPS and (path / "power1_input").is_file()]
    if ina:
        names = sorted({name for _, name in chips if name in _INA_CHIPS})
        return PowerSensor(f"{', '.join(names)} ({len(ina)} channel{'s' if len(ina) > 1 else ''})", tuple(ina))
    pmbus = [
        label.with_name(label.name.replace("_label", "_input"))
        for path, _ in chips
        for label in sorted(path.glob("power*_label"))
        if _text(label).startswith("pin")
    ]
    if pmbus:
        return PowerSensor(f"PMBus input power ({len(pmbus)} channel{'s' if len(pmbus) > 1 else ''})", tuple(pmbus))
    return None


def _text(path: Path) -> str:
    return path.read_text().strip() if path.is_file() else ""
