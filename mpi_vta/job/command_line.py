"""What commands without MPI have in common: one clear line for every error, output by rank 0 alone."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mpi_vta.command_end import status_of
from mpi_vta.errors import InputError
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import find
from mpi_vta.picture_options import ORDERS, RESIZES, PictureOptions
from mpi_vta.runtime.faults.pairing import find_launcher

if TYPE_CHECKING:
    from mpi_vta.job.planning import PlanWishes
    from mpi_vta.quantize.options import QuantizeOptions


MOST_SEED = 2**31 - 1


def add_model_options(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Add the options that choose a model, or with `several` a list of them, and its VTA configuration."""
    what = "a model of the zoo, such as resnet18, yolo or digits, or an ONNX, .cfg or .pt2 file"
    if several:
        shared = f"{what}; several share the boards"
        parser.add_argument("--model", required=True, action="append", dest="models", help=shared)
        parser.add_argument("--share", metavar="MODEL=PART", help="parts of the boards' power: yolo=0.5,resnet18=0.5")
    else:
        parser.add_argument("--model", required=True, help=what)
    add_weights_option(parser)
    add_seed_option(parser)
    parser.add_argument("--config", help="VTA configuration: a shipped name or a JSON file")
    add_quantize_options(parser)


def add_weights_option(parser: argparse.ArgumentParser) -> None:
    """Add the option of a model's weights; `mpi_vta.job.chosen_weights` reads it."""
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="coco|seeded|FILE",
        help="weights of a zoo model or of a .cfg file. coco: those of yolo, from the package index, the default where "
        "they can be had; seeded: pseudo-random ones, the default of others",
    )


def add_seed_option(parser: argparse.ArgumentParser) -> None:
    """Add the option of the seed."""
    parser.add_argument("--seed", type=_seed, default=0, help="of synthetic weights and pictures (default: 0)")


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) > MOST_SEED:
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: 0 to {MOST_SEED}")
    return int(text)


def add_quantize_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how a model becomes integers; see `quantize_options`."""
    from mpi_vta.quantize.options import CALIBRATIONS, CHOICES, SWITCH, QuantizeOptions

    default, group = QuantizeOptions(), parser.add_argument_group("quantisation (docs/quantization.md)")
    for name, allowed, what in (
        ("calibration", CALIBRATIONS, "how the scales of values are found"),
        ("per-channel", CHOICES, "a weight scale per output channel"),
        ("equalize", CHOICES, "scale moved between neighbouring layers"),
        ("bias-correction", SWITCH, "the mean error of rounded weights taken back in the bias"),
    ):
        value = getattr(default, name.replace("-", "_"))
        group.add_argument(f"--{name}", default=value, help=f"{what}: {', '.join(allowed)} (default: {value})")
    group.add_argument(
        "--fast-slopes", action="store_true", help="slopes of leaky ReLU within 7 %%, in the fewest ALU cycles"
    )
    parser.add_argument(
        "--input-shape",
        type=_input_shape,
        metavar="1,C,H,W",
        help="extents of the input of an ONNX file that leaves them open",
    )
    _add_picture_options(parser)


def _add_picture_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("pictures (docs/your_model.md); a file net.toml beside net.onnx says the same")
    group.add_argument("--mean", type=_numbers, metavar="R,G,B", help="taken from every pixel: 0.485,0.456,0.406")
    group.add_argument("--std", type=_numbers, metavar="R,G,B", help="that a pixel is then divided by")
    group.add_argument("--channels", help=f"order of the colours: {', '.join(ORDERS)} (default: rgb)")
    group.add_argument("--range", type=float, help="what white is, before mean and std: 1 or 255 (default: 1)")
    group.add_argument("--resize", help=f"how a picture is fitted to the input: {', '.join(RESIZES)}")
    group.add_argument(
        "--calibration-images",
        metavar="DIR|FILE|N",
        help="what to calibrate with: pictures (a folder), inputs (.npy, .npz), or a number of those shipped",
    )


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: numbers, such as 0.485,0.456,0.406") from None


def _input_shape(text: str) -> tuple[int, ...]:
    parts = text.replace("x", ",").split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: whole numbers, such as 1,3,224,224")
    return tuple(int(part) for part in parts)


def quantize_options(options: argparse.Namespace) -> QuantizeOptions:
    """Return what the options of `add_quantize_options` say; raises `InputError` for a choice that there is not."""
    from mpi_vta.quantize.options import QuantizeOptions

    return QuantizeOptions(
        options.calibration,
        options.per_channel,
        options.equalize,
        options.bias_correction,
        options.input_shape,
        options.fast_slopes,
        _picture_options(options),
    )


def _picture_options(options: argparse.Namespace) -> PictureOptions:
    return PictureOptions(
        options.mean,
        options.std,
        options.channels,
        options.range,
        options.resize,
        calibration_images=options.calibration_images,
        with_float=getattr(options, "labels", None) is not None,
    )


def check_share(options: argparse.Namespace) -> None:
    """Refuse ``--share`` for a single model with `InputError`."""
    if options.share is not None and len(options.models) == 1:
        raise InputError("there is one model only", where="--share", remedy="name several with --model")


def add_plan_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how the work is spread, by a strategy or by hand; see `plan_wishes`."""
    group = parser.add_argument_group("spreading the work")
    group.add_argument("--cluster", help="boards and network: a shipped name or a TOML file")
    group.add_argument("--strategy", help="how to spread the work (default: pipeline, or fused with --allocate)")
    group.add_argument("--objective", default="throughput", help="throughput, latency or energy (default: %(default)s)")
    group.add_argument("--stages", type=int, help="use exactly so many stages")
    group.add_argument("--boards", type=int, metavar="N", help="use only the first N boards")
    group.add_argument("--cut", metavar="LAYERS", help="layers with which stages begin, in order: layer2.0.conv1,fc")
    group.add_argument(
        "--allocate", action="append", metavar="LAYERS=N", help="boards for layers by name or glob: 'layer3.*=4'"
    )
    group.add_argument(
        "--in-flight",
        type=int,
        metavar="N",
        help="image groups under way at a time (default: the fewest that lose no more than 0.5 %% of the throughput)",
    )
    group.add_argument("--plan", type=Path, help="take the stages of this plan file")


def plan_wishes(options: argparse.Namespace) -> PlanWishes:
    """Return what the options of `add_plan_options` say; raises `PlanError` for --cut or --allocate malformed."""
    from mpi_vta.job.planning import PlanWishes
    from mpi_vta.schedule.by_hand import ByHand
    from mpi_vta.schedule.strategies import DEFAULT, DEFAULT_REPLICATING

    by_hand = ByHand.parse(options.cut, options.allocate)
    strategy = options.strategy or (DEFAULT_REPLICATING if by_hand.allocate else DEFAULT)
    return PlanWishes(
        strategy, options.objective, options.stages, options.boards, by_hand, options.plan, options.in_flight
    )


def load_named_config(name: str | None) -> VTAConfig | None:
    """Return the configuration that ``--config`` names; None if it is not given."""
    return None if name is None else VTAConfig.load(find("vta_configs", name, ".json"))


def started_ranks() -> int | None:
    """Return how many ranks the launcher started; None without one."""
    launcher = find_launcher(os.environ)
    return None if launcher is None else launcher.size


def run_on_rank_0(command: Callable[[Sequence[str]], int], argv: Sequence[str] | None) -> int:
    """Run a command that needs one process; return its exit status.

    Parameters
    ----------
    command : callable
        Takes the arguments.
    argv : sequence of str or None
        None for those of the process.
    """
    launcher = find_launcher(os.environ)
    if launcher is not None and launcher.rank != 0:
        return 0
    return status_of(lambda: command(sys.argv[1:] if argv is None else argv))
