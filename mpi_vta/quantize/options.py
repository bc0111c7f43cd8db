"""What the user may choose about quantisation."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from mpi_vta.errors import InputError
from mpi_vta.picture_options import PictureOptions

CALIBRATIONS = ("minmax", "percentile", "mse")
CHOICES = ("auto", "always", "never")
SWITCH = ("on", "off")


@dataclass(frozen=True)
class QuantizeOptions:
    """How scales are found and errors are made small; see docs/quantization.md for what each was measured to give.

    Attributes
    ----------
    calibration : str
        Scales of values: ``minmax`` clips nothing that was seen, ``percentile`` clips one element in ten thousand,
        ``mse`` takes the least mean squared error.
    per_channel : str
        A weight scale per output channel, by register shifts: ``auto`` where it gains, ``always``, ``never``.
    equalize : str
        Moving scale between neighbouring layers, channel by channel: ``auto`` where the whole gains, ``always``,
        ``never``.
    bias_correction : str
        ``on``: what rounding the weights does to a channel's mean is taken back in its bias; ``off``.
    fast_slopes : bool
        The slope of a leaky ReLU within 7 %, in as few ALU cycles as that takes, and not within 0.1 % of the mean.
    input_shape : tuple of int or None
        Extents of the input, batch first, where the model's file leaves them open.

    pictures : PictureOptions
        How pictures become inputs, and which to calibrate with.

    Raises
    ------
    InputError
        For a choice that there is not.
    """

    calibration: str = "mse"
    per_channel: str = "auto"
    equalize: str = "auto"
    bias_correction: str = "on"
    input_shape: tuple[int, ...] | None = None
    fast_slopes: bool = False
    pictures: PictureOptions = field(default_factory=PictureOptions)

    def __post_init__(self) -> None:
        allowed = {
            "calibration": CALIBRATIONS,
            "per_channel": CHOICES,
            "equalize": CHOICES,
            "bias_correction": SWITCH,
        }
        for name, values in allowed.items():
            given = getattr(self, name)
            if given not in values:
                raise InputError(f"{given!r}", where=f"--{name.replace('_', '-')}", allowed=", ".join(values))

        if isinstance(self.pictures, dict):  # from JSON
            object.__setattr__(self, "pictures", PictureOptions.from_dict(self.pictures))
        if self.input_shape is not None:
            shape = tuple(self.input_shape)
            if not shape or any(not isinstance(extent, int) or extent < 1 for extent in shape):
                raise InputError(f"{shape}", where="--input-shape", allowed="whole numbers, such as 1,3,224,224")
            object.__setattr__(self, "input_shape", shape)

    def as_dict(self) -> dict[str, Any]:
        """Return the choices by name, JSON-able."""
        return asdict(self)
