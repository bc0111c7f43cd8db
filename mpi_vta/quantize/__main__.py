"""``python -m mpi_vta.quantize``: what a model loses by becoming integers, layer by layer."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import InputError, about
from mpi_vta.frontend.images import load_images, synthetic_images
from mpi_vta.frontend.models import LoadedModel, load_model
from mpi_vta.frontend.photographs import SHOWN
from mpi_vta.job.chosen_weights import check_words, weights_file
from mpi_vta.job.command_line import (
    add_quantize_options,
    add_seed_option,
    add_weights_option,
    quantize_options,
    run_on_rank_0,
)
from mpi_vta.job.import_process import is_foreign
from mpi_vta.job.ready_model import ready_model
from mpi_vta.one_line_parser import OneLineParser
from mpi_vta.quantize.quantizer import Quantization, quantize_with_decisions
from mpi_vta.quantize.report import LayerError, as_json, draw_errors, layer_errors
from mpi_vta.runtime.progress import shown_progress
from mpi_vta.text_table import counted, print_table

DEFAULT_IMAGES = {True: 32, False: 2}  # with held-out examples, or synthetic pictures
PICTURE_SEED = 11  # not the seed that is calibrated with


def build_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = OneLineParser(prog="mpi_vta.quantize", description=__doc__, allow_abbrev=False)
    parser.add_argument("--model", required=True, help="a model of the zoo, or a model file")
    add_weights_option(parser)
    add_seed_option(parser)
    parser.add_argument("--report", action="store_true", help="print each layer's error")
    parser.add_argument("--images", type=int, help="how many held-out examples or synthetic pictures to measure on")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    parser.add_argument("--plot", type=Path, metavar="PICTURE", help="draw the errors to this picture file")
    parser.add_argument("-o", "--output", type=Path, help="write the quantised model to this file")
    add_quantize_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on rank 0; return its exit status."""
    return run_on_rank_0(_run, argv)


def _run(arguments: Sequence[str]) -> int:
    options = build_parser().parse_args(arguments)
    chosen = quantize_options(options)
    if not (options.report or options.json or options.plot or options.output):
        raise InputError("nothing to do", where="mpi_vta.quantize", allowed="--report, --json, --plot, --output")
    check_words([options.model], options.weights)
    with shown_progress(quiet=options.json) as progress:
        weights = weights_file(options.model, options.weights, progress)
    if is_foreign(options.model, weights):
        # first where it may crash, unless that was done before
        ready_model(options.model, seed=options.seed, weights=weights, options=chosen)
    loaded = load_model(
        options.model, seed=options.seed, weights=weights, input_shape=options.input_shape, pictures=chosen.pictures
    )
    with about(weights or options.model, loaded.name):
        made = quantize_with_decisions(loaded.graph, loaded.calibration, chosen, loaded.ranges)
    if options.output is not None:
        made.model.save(options.output)
    if options.report or options.json or options.plot:
        images = _images(loaded, options.images)
        errors = layer_errors(made, images)
        if options.plot is not None:
            draw_errors(loaded.name, errors, options.plot)
        if options.json:
            print(json.dumps(as_json(loaded.name, made, errors, chosen.as_dict()), indent=2))
            return 0
        if options.report:
            _print(loaded, made, errors, len(images))
    for path in (options.output, options.plot):
        if path is not None:
            print(f"written     {path}")
    return 0


def _images(loaded: LoadedModel, count: int | None) -> NDArray[np.float32]:
    """Return held-out examples, or pictures other than those of the calibration."""
    wanted = DEFAULT_IMAGES[loaded.truth is not None] if count is None else count
    if wanted < 1:
        raise InputError(counted(wanted, "image"), where="--images", allowed="1 or more")
    if loaded.truth is not None:
        return loaded.truth.images[:wanted]
    if loaded.has_meaning and loaded.preprocess.channels in (1, 3) and count is None:
        return load_images(SHOWN, loaded.preprocess).inputs
    return synthetic_images(wanted, loaded.preprocess, PICTURE_SEED).inputs


def _print(loaded: LoadedModel, made: Quantization, errors: tuple[LayerError, ...], images: int) -> None:
    heads = ("layer", "int8 operator", "own, dB", "accumulated, dB", "scale", "scale per channel", "ALU cycles")
    rows = []
    for entry in errors:
        gain = "" if entry.channel_gain_db is None else f" ({entry.channel_gain_db:+.1f} dB)"
        rows.append(
            (
                entry.name,
                entry.op,
                _decibels(entry.own_db),
                _decibels(entry.accumulated_db),
                f"2^{entry.scale_log2}",
                ("yes" if entry.is_per_channel else "no") + gain,
                f"{entry.shift_cycles:,}" if entry.shift_cycles else "",
            )
        )
    title = f"{loaded.name}: SQNR against floats, measured on {counted(images, 'image')}"
    print_table(title, heads, rows, sys.stdout, left=heads[:2])
    if made.equalized_gain_db is None:
        print("equalised   no: not asked for, or nothing to move")
    else:
        used = "yes" if made.is_equalized else "no"
        print(f"equalised   {used}: {made.equalized_gain_db:+.2f} dB at the outputs, on calibration images")
    cycles = sum(entry.shift_cycles for entry in errors)
    print(f"per channel {cycles:,} ALU cycles an image (modelled: two a vector of 16 lanes)")
    cycles = sum(entry.slope_cycles for entry in errors)
    ratios = {tuple(node.attrs["leaky"]) for node in made.model.graph.nodes if node.attrs.get("leaky")}
    if ratios:
        stated = ", ".join(f"{m}/{1 << k}" for m, k in sorted(ratios))
        print(f"slopes      {stated}: {cycles:,} ALU cycles an image (modelled; fewer with --fast-slopes)")


def _decibels(level: float) -> str:
    return "exact" if math.isinf(level) and level > 0 else f"{level:.1f}"


if __name__ == "__main__":
    sys.exit(main())
