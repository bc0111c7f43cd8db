"""The builds of a study: the boards' own, named ones, and the screening's favourites for every model and mix."""

import io
import re
from math import inf

import numpy as np
import pytest
from convolutions import conv_attrs
from graph_strategies import GraphBuilder

from mpi_vta.codegen.screening import Screened, screen
from mpi_vta.errors import ConfigError
from mpi_vta.hw.enumeration import config_of, enumerated_builds, largest_builds
from mpi_vta.hw.parts import load_part
from mpi_vta.hw.paths import HW_ROOT
from mpi_vta.runtime.progress import Silent
from mpi_vta.study.builds import best_first, builds_of
from mpi_vta.study.builds_table import print_builds
from mpi_vta.study.experiment import Experiment
from mpi_vta.study.points import StudyBuild, points_of

EXPERIMENT = """
name = "e"
models = [{models}]
clusters = ["pynq1"]
boards = 1
strategies = ["pipeline"]
objectives = ["throughput"]
images = 4
"""
SEARCH = '[configurations]\npart = "{part}"\nclock_mhz = {clock}\nlimit = {limit}\n'


def experiment(tmp_path, text="", models='"digits"'):
    path = tmp_path / "e.toml"
    path.write_text(EXPERIMENT.format(models=models) + text)
    return Experiment.load(path)


def net(channels):
    builder = GraphBuilder("int8", np.random.default_rng(0))
    attrs = conv_attrs(shift=7, lo=0)
    params = {"weight": builder.int8_weights((channels, channels, 1, 1)), "bias": np.zeros(channels, np.int32)}
    builder.add("conv2d", (builder.input((1, channels, 8, 8), -4),), attrs, params, -4)
    return builder.build()


def test_without_configurations_the_boards_keep_their_builds(tmp_path):
    assert builds_of(experiment(tmp_path), {}, Silent()) == (None,)


def test_named_builds_are_taken_as_they_are(tmp_path):
    found = builds_of(experiment(tmp_path, '[configurations]\nnames = ["pynq_4x8"]\n'), {}, Silent())
    assert [(build.config.batch, build.config.block, build.clock_mhz) for build in found] == [(4, 8, None)]


@pytest.mark.slow
def test_a_searched_part_gives_the_best_of_its_largest_builds(tmp_path):
    graph = net(32)
    wanted = experiment(tmp_path, SEARCH.format(part="XC7Z020", clock=150, limit=3))
    found = builds_of(wanted, {"digits": graph}, Silent())
    assert {build.clock_mhz for build in found} == {150}
    largest = [build.config for build in largest_builds(tuple(enumerated_builds(load_part("XC7Z020"), 150)))]
    guesses = sorted(screen(graph, config).image_cycles for config in largest)
    assert [screen(graph, build.config).image_cycles for build in found] == guesses[:3]
    # a point takes the build and its clock
    board = points_of(wanted, found)[0].built_cluster().boards[0]
    assert (board.config, board.clock_mhz) == (found[0].config, 150)


def test_named_builds_come_before_searched_ones_and_none_twice(tmp_path):
    text = SEARCH.format(part="XC7Z020", clock=100, limit=1000) + 'names = ["pynq_1x16"]\n'
    found = builds_of(experiment(tmp_path, text), {"digits": net(16)}, Silent())
    assert found[0] == StudyBuild(config_of("pynq", 0, 4, 13, 11, 10, 11))
    assert len({build.config for build in found}) == len(found)
    # at another clock it is another build
    faster = builds_of(experiment(tmp_path, text.replace("= 100\n", "= 150\n")), {"digits": net(16)}, Silent())
    assert [build.clock_mhz for build in faster if build.config == found[0].config] == [None, 150]


def test_models_and_mixes_have_their_favourites_in_turn():
    fast, even, slow = (config_of("pynq", 0, 4, size, 11, 10, 11) for size in (11, 12, 13))
    screened = {
        "a": {fast: Screened(fast, 10), even: Screened(even, 50), slow: Screened(slow, 90)},
        "b": {fast: Screened(fast, inf, "no room"), even: Screened(even, 50), slow: Screened(slow, 30)},
    }
    rankings = best_first([("a",), ("b",), ("a", "b")], screened)
    assert rankings == [[fast, even, slow], [slow, even, fast], [even, slow, fast]]


def test_the_shipped_study_of_builds_names_a_part_that_its_boards_carry():
    shipped = Experiment.load(HW_ROOT.parent / "jobs" / "study_configs.toml")
    assert {board.part for cluster in shipped.clusters for board in cluster.boards} == {shipped.search.part}
    assert shipped.search.clock_mhz == load_part(shipped.search.part).default_clock_mhz


def test_a_part_on_which_nothing_fits_is_refused(tmp_path):
    text = (HW_ROOT / "parts" / "XC7Z020.toml").read_text()
    (tmp_path / "tiny.toml").write_text(re.sub(r"(?m)^bram36 = \d+", "bram36 = 1", text))
    wanted = experiment(tmp_path, SEARCH.format(part="tiny.toml", clock=100, limit=3))
    with pytest.raises(ConfigError, match=r"XC7Z020: no build fits: .*BRAM36 of 1, "):
        builds_of(wanted, {"digits": net(16)}, Silent())


def test_the_table_shows_what_fits_and_why_the_rest_does_not():
    text = io.StringIO()
    print_builds(load_part("XC7Z020"), 100, text)
    lines = text.getvalue().splitlines()
    usual = next(line for line in lines if "pynq_1x16_i8w8a32_15_15_18_17" in line)
    assert [cell.strip() for cell in usual.split("│")[1:-1]] == [
        "1x16", "376", "51.2", "pynq_1x16_i8w8a32_15_15_18_17", "131.5", "0", "220", "23,300", "",
    ]  # fmt: skip
    for words in ("resources are modelled", "in doubt: 50,628 LUTs", "316.5 BRAM36 of 140", "51,200 combinations",
                  "an accumulator deeper than the input buffer", "AMD DS190", "200 MHz: "):  # fmt: skip
        assert words in text.getvalue()
