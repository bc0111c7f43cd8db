"""Pictures in: files, folders or synthetic ones, brought to the size and range that a model expects; or arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.disk import open_regular, read_bytes
from mpi_vta.errors import InputError
from mpi_vta.npy import read_npy, read_npz
from mpi_vta.picture_options import BGR, PictureOptions
from mpi_vta.text_table import counted

Picture = NDArray[np.uint8]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm")
LETTERBOX_GREY = 128
CROP_MARGIN = 256 / 224  # the shorter side is resized to this times the crop
MOST_INPUT_BYTES = 1 << 32
_OPAQUE = 4  # channels of a picture with its opacity
_FAR = 1_000_000_007  # between the seeds of pictures that are one input
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes a model's input.

    Attributes
    ----------
    channels, height, width : int
        Shape of the input.
    fit : str
        ``letterbox`` (whole picture, grey borders), ``crop`` (shorter side fits, centre kept), ``stretch`` (whole
        picture, width and height by factors of their own).
    mean, std : tuple of float
        Per channel, applied to pixels in 0..1: (pixel - mean) / std.
    reversed_channels : bool
        Whether the input has blue first and red last.
    """

    channels: int
    height: int
    width: int
    fit: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    reversed_channels: bool = False

    def stated(self, options: PictureOptions) -> Preprocess:
        """Return the preprocessing with what the user says of it.

        Raises
        ------
        InputError
            If the numbers of `mean` or `std` are neither one nor one per channel.
        """
        changes: dict[str, Any] = {"fit": options.resize} if options.resize else {}
        if options.channels is not None:
            if self.channels != 3:
                raise InputError(f"{self.channels} channels", where="--channels", allowed="a model of three")
            changes["reversed_channels"] = options.channels == BGR
        if options.mean is not None or options.std is not None or options.levels is not None:
            levels = options.levels or 1.0
            for name, default in (("mean", 0.0), ("std", 1.0)):
                given = getattr(options, name) or (default,)
                if len(given) not in (1, self.channels):
                    raise InputError(
                        counted(len(given), "number"),
                        where=f"--{name}",
                        allowed=f"1 or {self.channels}, one per channel",
                    )
                spread = given * self.channels if len(given) == 1 else given
                changes[name] = tuple(number / levels for number in spread)
        return replace(self, **changes)


@dataclass(frozen=True)
class PicturePlacement:
    """Where a picture lies in the input: input coordinate = picture coordinate * scale + offset, in pixels."""

    scale: float
    offset_x: float
    offset_y: float
    scale_y: float | None = None

    @property
    def scales(self) -> tuple[float, float]:
        """Horizontal and vertical scale; `scale` is both unless `scale_y` is given."""
        return self.scale, self.scale if self.scale_y is None else self.scale_y


@dataclass(frozen=True)
class ImageBatch:
    """Inputs with what is needed to draw on the pictures that they came from.

    Attributes
    ----------
    names : tuple of str
        File names, or ``synthetic-0000`` and so on.
    inputs : ndarray of float32, shape (n, C, H, W)
        Preprocessed.
    pictures : tuple of ndarray of uint8, shape (height, width, 3)
        The originals, three channels of each.
    placements : tuple of PicturePlacement
        One per picture.
    """

    names: tuple[str, ...]
    inputs: NDArray[np.float32]
    pictures: tuple[Picture, ...]
    placements: tuple[PicturePlacement, ...]


def load_images(path: Path, preprocess: Preprocess, limit: int | None = None) -> ImageBatch:
    """Read one picture, or all pictures of a folder in the order of their names, or inputs as they are.

    Parameters
    ----------
    path : Path
        A picture or a folder; or an ``.npy`` or ``.npz`` file of inputs, numbers (n, C, H, W) or (C, H, W).
    preprocess : Preprocess
    limit : int or None
        Read at most so many.

    Raises
    ------
    InputError
        If the path does not exist, the folder holds no picture, one cannot be read (named), or the model takes
        a number of channels that no picture has.
    """
    if path.suffix in (".npy", ".npz") and path.exists():
        return _arrays(path, preprocess, limit)
    if path.is_dir():
        files = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in SUFFIXES)
        if not files:
            raise InputError("the folder holds no picture", where=str(path), allowed=", ".join(SUFFIXES))
    elif path.exists():
        files = [path]
    else:
        raise InputError("no such picture or folder", where=str(path), allowed="a file, a folder, or a number")
    if preprocess.channels not in (1, 3, _OPAQUE):
        raise InputError(
            f"pictures for a model of {preprocess.channels} channels",
            where=str(path),
            allowed="an .npy file of inputs (n, C, H, W)",
        )
    return load_pictures(files[:limit], preprocess)


def load_pictures(files: Sequence[Path], preprocess: Preprocess) -> ImageBatch:
    """Read pictures, in the order given; raises `InputError` if one cannot be read (named)."""
    return _batch([(file.name, read_picture(file, preprocess.channels)) for file in files], preprocess)


def _arrays(path: Path, preprocess: Preprocess, limit: int | None) -> ImageBatch:
    """Return the inputs in an ``.npy`` or ``.npz`` file; as pictures they are shown as if they lay in 0..1."""
    wanted = (preprocess.channels, preprocess.height, preprocess.width)
    try:
        data = read_bytes(path)
        array = _only_array(data, path) if path.suffix == ".npz" else read_npy(data, "the inputs", str(path))
    except OSError as fault:
        raise InputError(
            f"cannot read the inputs ({fault.strerror})", where=str(path), allowed="a file that can be read"
        ) from fault
    inputs = array[None] if array.ndim == 3 else array
    if inputs.shape[1:] != wanted or inputs.dtype.kind not in "fiu" or len(inputs) == 0:
        listed = ", ".join(map(str, wanted))
        raise InputError(f"{array.dtype} of shape {array.shape}", where=str(path), allowed=f"numbers of (n, {listed})")
    inputs = np.ascontiguousarray(inputs[:limit], np.float32)
    if not np.isfinite(inputs).all():
        raise InputError("an input is not finite", where=str(path), allowed="finite numbers")
    shown = np.repeat(inputs, 3, axis=1)[:, :3] if wanted[0] < 3 else inputs[:, :3]
    pictures = tuple((np.clip(shown, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1))
    names = tuple(f"{path.stem}-{index:04d}" for index in range(len(inputs)))
    return ImageBatch(names, inputs, pictures, (PicturePlacement(1.0, 0, 0),) * len(inputs))


def _only_array(data: bytes, path: Path) -> NDArray[Any]:
    """Return the array of an ``.npz`` file that holds one, or the one named ``images`` or ``inputs``."""
    arrays = read_npz(data, "the inputs", str(path), MOST_INPUT_BYTES)
    for name in ("images", "inputs", *(arrays if len(arrays) == 1 else ())):
        if name in arrays:
            return arrays[name]
    listed = ", ".join(arrays) or "none"
    raise InputError(f"arrays {listed}", where=str(path), allowed="one array, or one named images or inputs")


def synthetic_images(count: int, preprocess: Preprocess, seed: int = 0) -> ImageBatch:
    """Return `count` synthetic pictures; picture i depends on the seed and i alone.

    Raises
    ------
    InputError
        If `count` is below 1.
    """
    if count < 1:
        raise InputError(counted(count, "picture"), where="--images", allowed="at least 1")
    size = (preprocess.height, preprocess.width)
    named = [(f"synthetic-{i:04d}", synthetic_picture(*size, seed=seed, index=i)) for i in range(count)]
    if preprocess.channels not in (1, 3):  # three channels of each picture, as many pictures as it takes
        parts = -(-preprocess.channels // 3)
        named = [
            (name, np.concatenate([first, *_further(size, seed, index, parts)], axis=2)[..., : preprocess.channels])
            for index, (name, first) in enumerate(named)
        ]
    return _batch(named, preprocess)


def _further(size: tuple[int, int], seed: int, index: int, parts: int) -> list[Picture]:
    """Return the pictures behind the first one of which an input of many channels is made."""
    return [synthetic_picture(*size, seed=seed + part * _FAR, index=index) for part in range(1, parts)]


def read_picture(path: Path, channels: int = 3) -> Picture:
    """Return a picture file as uint8 RGB, shape (height, width, 3), or RGBA for four channels.

    Raises
    ------
    InputError
        If it cannot be read, naming the file.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with open_regular(path) as stream, Image.open(stream) as picture:
            return np.asarray(picture.convert("RGBA" if channels == _OPAQUE else "RGB"))
    except UnidentifiedImageError as fault:
        raise InputError("not a picture", where=str(path), allowed="PNG, JPEG and others that Pillow reads") from fault
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else fault
        raise InputError(f"cannot read the picture ({reason})", where=str(path), remedy="check the file") from fault


def synthetic_picture(height: int, width: int, *, seed: int, index: int = 0) -> Picture:
    """Return smooth blobs of colour with a few ellipses and rectangles, uint8 (height, width, 3)."""
    rng = np.random.default_rng([seed, index])
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    picture = np.zeros((height, width, 3))
    for octave in range(6):  # like photographs: power falls with frequency
        angle, phase = rng.uniform(0, 2 * np.pi, 2)
        wave = np.cos(2 * np.pi * 2 ** (octave / 2) * (x * math.cos(angle) + y * math.sin(angle)) + phase)
        picture += wave[..., None] * rng.normal(0, 0.6**octave, 3)
    picture = 0.5 + 0.18 * picture
    for shape in range(int(rng.integers(2, 6))):
        centre_y, centre_x, extent_y, extent_x = *rng.uniform(0.1, 0.9, 2), *rng.uniform(0.05, 0.25, 2)
        away_y, away_x = np.abs(y - centre_y) / extent_y, np.abs(x - centre_x) / extent_x
        inside = np.maximum(away_y, away_x) < 1 if shape % 2 else away_y**2 + away_x**2 < 1
        shade = 1 - 0.4 * away_y[..., None]
        picture = np.where(inside[..., None], rng.uniform(0, 1, 3) * shade, picture)
    picture += rng.normal(0, 0.01, picture.shape)
    return (np.clip(picture, 0, 1) * 255).astype(np.uint8)


def prepare(picture: Picture, preprocess: Preprocess) -> tuple[NDArray[np.float32], PicturePlacement]:
    """Return the model's input, float32 (C, H, W), and where the picture lies in it."""
    placed, placement = _FITS[preprocess.fit](picture, preprocess)
    if preprocess.reversed_channels:
        placed = placed[..., ::-1]
    pixels = placed.astype(np.float32) / 255
    if preprocess.channels == 1:
        pixels = pixels.mean(axis=2, keepdims=True)
    scaled = (pixels - np.array(preprocess.mean, np.float32)) / np.array(preprocess.std, np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1), dtype=np.float32), placement


def _batch(named: list[tuple[str, Picture]], preprocess: Preprocess) -> ImageBatch:
    prepared = [prepare(picture, preprocess) for _, picture in named]
    return ImageBatch(
        tuple(name for name, _ in named),
        np.stack([array for array, _ in prepared]),
        tuple(_shown(picture) for _, picture in named),
        tuple(placement for _, placement in prepared),
    )


def _shown(picture: Picture) -> Picture:
    """Return what there is to see of a picture: three channels, the last repeated where there are two."""
    return picture[..., [0, 1, min(2, picture.shape[2] - 1)]] if picture.shape[2] != 3 else picture


def _letterbox(picture: Picture, preprocess: Preprocess) -> tuple[Picture, PicturePlacement]:
    height, width = picture.shape[:2]
    scale = min(preprocess.height / height, preprocess.width / width)
    inner_h, inner_w = max(round(height * scale), 1), max(round(width * scale), 1)
    top, left = (preprocess.height - inner_h) // 2, (preprocess.width - inner_w) // 2
    canvas = np.full((preprocess.height, preprocess.width, picture.shape[2]), LETTERBOX_GREY, np.uint8)
    canvas[top : top + inner_h, left : left + inner_w] = _resized(picture, inner_h, inner_w)
    return canvas, PicturePlacement(scale, left, top)


def _crop(picture: Picture, preprocess: Preprocess) -> tuple[Picture, PicturePlacement]:
    height, width = picture.shape[:2]
    scale = CROP_MARGIN * max(preprocess.height / height, preprocess.width / width)
    if (height, width) == (preprocess.height, preprocess.width):
        return picture, PicturePlacement(1.0, 0, 0)
    outer_h, outer_w = round(height * scale), round(width * scale)
    top, left = (outer_h - preprocess.height) // 2, (outer_w - preprocess.width) // 2
    resized = _resized(picture, outer_h, outer_w)
    return resized[top : top + preprocess.height, left : left + preprocess.width], PicturePlacement(scale, -left, -top)


def _stretch(picture: Picture, preprocess: Preprocess) -> tuple[Picture, PicturePlacement]:
    height, width = picture.shape[:2]
    placement = PicturePlacement(preprocess.width / width, 0, 0, preprocess.height / height)
    return _resized(picture, preprocess.height, preprocess.width), placement


_FITS = {"letterbox": _letterbox, "crop": _crop, "stretch": _stretch}


def _resized(picture: Picture, height: int, width: int) -> Any:
    from PIL import Image

    if picture.shape[:2] == (height, width):
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))
