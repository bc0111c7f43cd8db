"""What the user says of the pictures that a model was trained on: how they become inputs, what to calibrate with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from mpi_vta.errors import InputError

RGB, BGR = "rgb", "bgr"
ORDERS = (RGB, BGR)
RESIZES = ("letterbox", "crop", "stretch")
LEVELS = (1.0, 255.0)


@dataclass(frozen=True)
class PictureOptions:
    """Each is None, or empty, where nothing was said.

    Attributes
    ----------
    mean, std : tuple of float or None
        Per channel of the input in the model's order, or one for all, in the unit of `levels`: (pixel - mean) / std.
    channels : str or None
        Order of the colours: ``rgb`` or ``bgr``.
    levels : float or None
        What a white pixel is before mean and std: 1 or 255.
    resize : str or None
        ``letterbox``, ``crop`` or ``stretch``.
    class_names : tuple of str
        In the order of the outputs.
    calibration_images : str or None
        What to calibrate with: a folder, an ``.npy`` or ``.npz`` file, or a number of those
        shipped.
    with_float : bool
        Whether the float model is kept beside the integers, to be compared with.

    Raises
    ------
    InputError
        For a value that cannot be.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: str | None = None
    levels: float | None = None
    resize: str | None = None
    class_names: tuple[str, ...] = ()
    calibration_images: str | None = None
    with_float: bool = False

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, tuple(float(number) for number in given))
        object.__setattr__(self, "class_names", tuple(self.class_names))
        for name, allowed in (("channels", ORDERS), ("resize", RESIZES), ("levels", LEVELS)):
            given = getattr(self, name)
            if given is not None and given not in allowed:
                option = "range" if name == "levels" else name
                shown = ", ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in allowed)
                raise InputError(f"{given!r}", where=f"--{option}", allowed=shown)
        if self.mean is not None and not all(map(math.isfinite, self.mean)):
            raise InputError(f"{self.mean}", where="--mean", allowed="finite numbers")
        if self.std is not None and not all(0 < number < math.inf for number in self.std):
            raise InputError(f"{self.std}", where="--std", allowed="numbers above 0")

    @property
    def is_silent(self) -> bool:
        """Whether nothing is said of how pictures become inputs."""
        return all(getattr(self, name) is None for name in ("mean", "std", "channels", "levels", "resize"))

    def completed(self, other: PictureOptions) -> PictureOptions:
        """Return these options with `other`'s in the place of what they do not say."""
        missing = [entry.name for entry in fields(self) if getattr(self, entry.name) in (None, ())]
        return replace(self, **{name: getattr(other, name) for name in missing})

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PictureOptions:
        """Read what `dataclasses.asdict` gives."""
        return cls(**data)
