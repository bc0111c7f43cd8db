"""Networks in darknet's ``.cfg`` format: sections in a row, each a layer that reads the one before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mpi_vta.disk import read_text
from mpi_vta.errors import ModelError
from mpi_vta.frontend.darknet import Convolution
from mpi_vta.frontend.detection import COCO_NAMES, Detector

LAYERS = ("convolutional", "maxpool", "avgpool", "upsample", "route", "shortcut", "yolo", "dropout", "softmax")
ACTIVATIONS = ("linear", "leaky", "relu", "relu6", "logistic", "mish", "swish")
MOST_WEIGHTS = 1 << 28  # of one layer: a gigabyte
# options that a layer reads
_READ: Mapping[str, tuple[str, ...]] = {
    "convolutional": (
        *("filters", "size", "stride", "stride_x", "stride_y", "pad", "padding", "groups", "activation"),
        *("batch_normalize", "dilation"),
    ),
    "maxpool": ("size", "stride", "stride_x", "stride_y", "padding"),
    "upsample": ("stride",),
    "route": ("layers", "groups", "group_id"),
    "shortcut": ("from", "activation"),
    "yolo": ("anchors", "mask", "classes", "num", "scale_x_y", "new_coords"),
}
# options that matter in training alone, or to darknet's own way of working
_IDLE = (
    *("learning_rate", "burnin_update", "train_only_bn", "stopbackward", "dontload", "dontloadscales", "dontsave"),
    *("onlyforward", "probability", "dropblock", "dropblock_size_rel", "dropblock_size_abs", "noloss", "show_details"),
    *(
        "jitter",
        "resize",
        "ignore_thresh",
        "truth_thresh",
        "random",
        "max",
        "iou_loss",
        "iou_thresh",
        "iou_thresh_kind",
    ),
    *("iou_normalizer", "cls_normalizer", "obj_normalizer", "delta_normalizer", "max_delta", "label_smooth_eps"),
    *("objectness_smooth", "counters_per_class", "focal_loss", "nms_kind", "beta_nms", "map"),
)
# options that change nothing at these values, and what the others do is not known here
_DEFAULTS: Mapping[str, tuple[str, ...]] = {
    "weights_type": ("none",),
    "scale": ("1", "1.0", "1."),
    "groups": ("1",),
    "temperature": ("1", "1.0", "1."),
}


@dataclass(frozen=True)
class Section:
    """One section of a file: its kind, its options as text, and the line where it begins."""

    kind: str
    options: Mapping[str, str]
    where: str

    def number(self, key: str, default: int | None = None) -> int:
        """Return a whole number; raises `ModelError` for anything else."""
        text = self.options.get(key)
        if text is None and default is not None:
            return default
        numbers = self.numbers(key)
        if len(numbers) != 1:
            raise ModelError(f"{key} is {text!r}", where=self.where, allowed="one whole number")
        return numbers[0]

    def decimal(self, key: str, default: float) -> float:
        """Return a number above 0; raises `ModelError` for anything else."""
        text = self.options.get(key, str(default))
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise ModelError(f"{key} is {text!r}", where=self.where, allowed="a number above 0")
        return value

    def numbers(self, key: str) -> tuple[int, ...]:
        """Return whole numbers separated by commas; raises `ModelError` for anything else."""
        text = self.options.get(key)
        if text is None:
            raise ModelError(f"{key} is missing", where=self.where, allowed="whole numbers")
        try:
            return tuple(int(part) for part in text.split(","))
        except ValueError as fault:
            raise ModelError(f"{key} is {text!r}", where=self.where, allowed="whole numbers") from fault


@dataclass(frozen=True)
class DarknetLayer:
    """A section with what it reads.

    Attributes
    ----------
    section : Section
        Its options.
    sources : tuple of int
        Layers that it reads; -1 for the input.
    channels : int
        Channels of its result.
    inputs : int
        Channels of its first source.
    """

    section: Section
    sources: tuple[int, ...]
    channels: int
    inputs: int


@dataclass(frozen=True)
class DarknetNet:
    """A file read and checked.

    Attributes
    ----------
    name, where : str
        Name for the model and for messages.
    input_shape : tuple of int
        (1, C, H, W).
    layers : tuple of DarknetLayer
        In the order of the file, which numbers them.
    """

    name: str
    where: str
    input_shape: tuple[int, int, int, int]
    layers: tuple[DarknetLayer, ...]

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """The convolutions in the order in which a ``.weights`` file holds them."""
        found = []
        for index, layer in enumerate(self.layers):
            section = layer.section
            if section.kind == "convolutional":
                inputs = layer.inputs // section.number("groups", 1)
                normalized = section.number("batch_normalize", 0) != 0
                found.append(Convolution(index, layer.channels, inputs, section.number("size", 1), normalized))
        return tuple(found)

    @property
    def detector(self) -> Detector | None:
        """What the heads mean; None for a network without ``[yolo]``."""
        heads = [layer.section for layer in self.layers if layer.section.kind == "yolo"]
        if not heads:
            return None
        classes = {head.number("classes", 20) for head in heads}
        if len(classes) != 1:
            raise ModelError(f"heads of {sorted(classes)} classes", where=self.where, allowed="one number of classes")
        (count,) = classes
        names = COCO_NAMES if count == len(COCO_NAMES) else tuple(f"class {index}" for index in range(count))
        stretches = tuple(head.decimal("scale_x_y", 1.0) for head in heads)
        direct = tuple(head.number("new_coords", 0) != 0 for head in heads)
        return Detector(
            self.input_shape[2:],
            tuple(_anchors(head) for head in heads),
            names,
            stretches=stretches if set(stretches) != {1.0} else (),
            direct=direct if any(direct) else (),
        )


def _anchors(head: Section) -> tuple[tuple[int, int], ...]:
    flat = head.numbers("anchors")
    pairs = tuple(zip(flat[::2], flat[1::2], strict=False))
    mask = head.numbers("mask") if "mask" in head.options else tuple(range(len(pairs)))
    if len(flat) % 2 or any(not 0 <= index < len(pairs) for index in mask):
        raise ModelError(f"mask {mask} with {len(flat)} numbers of anchors", where=head.where, allowed="pairs")
    return tuple(pairs[index] for index in mask)


def read_cfg(path: Path) -> DarknetNet:
    """Read a darknet configuration.

    Raises
    ------
    ModelError
        If the file cannot be read, holds a layer or an option that has no counterpart here, or a layer
        reads one that is not before it.
    """
    try:
        text = read_text(path)
    except OSError as fault:
        raise ModelError(
            f"cannot read the network ({fault.strerror})", where=str(path), allowed="a file that can be read"
        ) from fault
    except UnicodeDecodeError as fault:
        raise ModelError("not a text file", where=str(path), allowed="darknet's .cfg format") from fault
    first, *rest = _sections(text, str(path))
    if first.kind not in ("net", "network") or not rest:
        raise ModelError(f"begins with [{first.kind}]", where=str(path), allowed="[net] and then layers")
    shape = (1, first.number("channels", 3), first.number("height"), first.number("width"))
    if min(shape) < 1:
        raise ModelError(f"an input of {shape}", where=first.where, allowed="positive extents")
    layers: list[DarknetLayer] = []
    for section in rest:
        layers.append(_resolved(section, layers, shape[1]))
    return DarknetNet(path.stem, str(path), shape, tuple(layers))


def _sections(text: str, path: str) -> list[Section]:
    found: list[tuple[str, dict[str, str], str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        content, where = line.split("#")[0].split(";")[0].strip(), f"{path}: line {number}"
        if content.startswith("[") and content.endswith("]"):
            found.append((content[1:-1].strip(), {}, f"{where} {content}"))
        elif content:
            key, equals, value = content.partition("=")
            if not equals or not found:
                raise ModelError(f"{content!r}", where=where, allowed="[section] and then key=value")
            found[-1][1][key.strip()] = value.strip()
    if not found:
        raise ModelError("holds no section", where=path, allowed="darknet's .cfg format")
    return [Section(*entry) for entry in found]


def _resolved(section: Section, before: list[DarknetLayer], input_channels: int) -> DarknetLayer:
    index = len(before)
    sources: tuple[int, ...] = (index - 1,)
    if section.kind == "route":
        sources = tuple(n if n >= 0 else index + n for n in section.numbers("layers"))
    elif section.kind == "shortcut":
        sources = (index - 1, *(n if n >= 0 else index + n for n in section.numbers("from")))
    elif section.kind not in LAYERS:
        raise ModelError(f"layer {section.kind} is not supported", where=section.where, allowed=", ".join(LAYERS))
    if any(not -1 <= n < index or (n == -1 and index > 0 and section.kind in ("route", "shortcut")) for n in sources):
        raise ModelError(f"reads layers {sources}", where=section.where, allowed=f"0..{index - 1}")
    channels = [input_channels if n < 0 else before[n].channels for n in sources]
    _check_options(section, channels)
    result = channels[0]
    if section.kind == "convolutional":
        result = section.number("filters", 1)
    elif section.kind == "route":
        result = sum(channels) // section.number("groups", 1)
    return DarknetLayer(section, sources, result, channels[0])


def activation_of(section: Section) -> str:
    """Return the name of an activation; darknet's convolutions have the logistic one where none is stated."""
    return section.options.get("activation", "logistic" if section.kind == "convolutional" else "linear")


def strides_of(section: Section) -> tuple[int, int]:
    """Return the strides over rows and columns."""
    stride = section.number("stride", 1)
    y, x = section.number("stride_y", stride), section.number("stride_x", stride)
    return (y, x) if min(y, x) >= 1 else (stride, stride)


def _check_known(section: Section) -> None:
    """Refuse an option that no rule reads, unless its value is the one that changes nothing."""
    for key, value in section.options.items():
        if key in _IDLE or key in _READ.get(section.kind, ()):
            continue
        usual = _DEFAULTS.get(key, ("0",))
        if value not in usual:
            raise ModelError(f"option {key}={value} is not supported", where=section.where, allowed=f"{key}={usual[0]}")


def _check_options(section: Section, channels: list[int]) -> None:
    kind = section.kind
    _check_known(section)
    if kind in ("convolutional", "shortcut") and activation_of(section) not in ACTIVATIONS:
        found = f"activation {activation_of(section)}"
        raise ModelError(found, where=section.where, allowed=", ".join(ACTIVATIONS))
    if kind == "convolutional":
        groups, filters = section.number("groups", 1), section.number("filters", 1)
        sizes = [section.number("size", 1), *strides_of(section)]
        dilation = section.number("dilation", 1)
        if dilation < 1 or (dilation > 1 and 2 * padding_of(section) != sizes[0] - 1):
            found = f"dilation {dilation} with size {sizes[0]} and padding {padding_of(section)}"
            raise ModelError(found, where=section.where, allowed="an odd size, and pad=1")
        if min(sizes) < 1 or section.number("padding", 0) < 0:
            raise ModelError(f"size and stride {sizes}", where=section.where, allowed="at least 1")
        if groups < 1 or filters < 1 or channels[0] % groups or filters % groups:
            found = f"{groups} groups for {channels[0]} channels and {filters} filters"
            raise ModelError(found, where=section.where, allowed="a divisor of both")
        numbers = filters * channels[0] // groups * sizes[0] ** 2
        if max(numbers, *sizes, dilation * padding_of(section)) > MOST_WEIGHTS:
            found = f"{numbers} weights, strides {sizes[1:]}"
            raise ModelError(found, where=section.where, allowed=f"up to {MOST_WEIGHTS}")
    if kind == "shortcut" and len(set(channels)) != 1:
        raise ModelError(f"adds {channels} channels", where=section.where, allowed="equal numbers")
    if kind == "route":
        groups, chosen = section.number("groups", 1), section.number("group_id", 0)
        if groups < 1 or not 0 <= chosen < groups or sum(channels) % groups:
            raise ModelError(f"group {chosen} of {groups}", where=section.where, allowed="a part of the channels")
    if kind == "yolo":
        section.decimal("scale_x_y", 1.0)
        section.number("new_coords", 0)
        wanted = len(_anchors(section)) * (5 + section.number("classes", 20))
        if channels[0] != wanted:
            raise ModelError(f"reads {channels[0]} channels", where=section.where, allowed=f"{wanted} for its anchors")


def padding_of(section: Section) -> int:
    """Return the padding on every side of a convolution."""
    size = section.number("size", 1)
    return size // 2 if section.number("pad", 0) else section.number("padding", 0)
