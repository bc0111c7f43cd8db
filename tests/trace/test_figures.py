"""Every figure is drawn, has units, and no text lies on another."""

from types import SimpleNamespace

import h5py
import pytest
from matplotlib.text import Text
from trace_cases import IMAGES, US, opening, write_ranks, write_run

from mpi_vta.errors import InputError
from mpi_vta.trace.bottleneck import Bottleneck, bottleneck
from mpi_vta.trace.critical_path import traced_images
from mpi_vta.trace.figures import QUESTIONS, draw, draw_if_whole, rates, resources, save_figures
from mpi_vta.trace.figures.rates import draw_difference
from mpi_vta.trace.figures.time_lines import draw_critical_path, draw_gantt
from mpi_vta.trace.reader import read
from mpi_vta.trace.repair import repair
from mpi_vta.trace.report import report_html
from mpi_vta.trace.run import Run

UNITS = ("µs", "ms", ", mJ", "%", "kB", "rank", "images/s", "images", "b / a")


@pytest.fixture
def run(tmp_path):
    return Run(read(write_run(tmp_path)))


def labels_out_of_view(axes):
    """Ticks beyond the view keep a label object that is never drawn."""
    for index, axis in enumerate((axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            if not low <= tick.label1.get_position()[index] <= high:
                yield tick.label1


def shown_texts(figure):
    figure.draw_without_rendering()
    hidden = {id(label) for axes in figure.axes for label in labels_out_of_view(axes)}
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    texts = [text for text in texts if id(text) not in hidden]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    return [(text, box) for text, box in boxes if box.width > 0 and figure.bbox.overlaps(box)]


def overlapping(figure):
    texts = shown_texts(figure)
    return [
        (a, b)
        for i, (a, first) in enumerate(texts)
        for b, second in texts[i + 1 :]
        # touching by less than a pixel is no overlap
        if first.padded(-1).overlaps(second.padded(-1))
    ]


def check(figure):
    assert overlapping(figure) == []
    labels = [axes.get_xlabel() + axes.get_ylabel() for axes in figure.axes]
    assert any(unit in label for label in labels for unit in UNITS)


@pytest.mark.parametrize("name", list(QUESTIONS))
def test_figure_has_units_and_no_overlapping_texts(run, name):
    check(draw(name, run))


def test_difference_has_units_and_no_overlapping_texts(run):
    check(draw_difference(run, run))


def test_run_of_one_image_can_be_drawn(tmp_path):
    run = Run(read(write_run(tmp_path, images=1)))
    for name in QUESTIONS:
        check(draw(name, run))


def test_gantt_shows_the_window_that_is_asked_for(run):
    (axes,) = draw_gantt(run, (10.0 * US, 20.0 * US)).axes
    assert axes.get_xlim() == (10, 20)


def test_critical_path_names_its_image(run):
    assert "image 3" in draw_critical_path(run, 3).get_suptitle()


def test_unknown_figure_is_refused_with_all_names(run):
    with pytest.raises(InputError, match=r"no figure named 'cake'; allowed: gantt, activity"):
        draw("cake", run)


def test_figures_are_saved_by_name(run, tmp_path):
    path = tmp_path / "pictures" / "latency.png"
    assert save_figures(run, ["latency"], tmp_path / "pictures") == [f"written     {path}"]
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def ended_early(tmp_path):
    """Give a run whose rank 1 could not write its last two images, or whose rank 1 is lost."""

    def run(*, lost):
        write_ranks(tmp_path)
        opening(IMAGES + 3).save(tmp_path)
        path = tmp_path / "ranks" / "rank-001.h5"
        if lost:
            path.unlink()
        else:
            with h5py.File(path, "r+") as file:
                (rank,) = file["ranks"].values()
                rank["events"].resize((3 * (IMAGES - 2),))
        return Run(read(repair(tmp_path, without_missing=lost)[0]))

    return run


def test_run_that_lacks_last_events_has_every_picture(ended_early):
    run = ended_early(lost=False)
    assert traced_images(run)["image"].tolist() == list(range(IMAGES - 2))
    for name in QUESTIONS:
        assert draw_if_whole(name, run).get_axes()


def test_picture_that_a_lost_rank_prevents_is_named_and_the_others_are_drawn(ended_early, tmp_path):
    run = ended_early(lost=True)
    lines = save_figures(run, list(QUESTIONS), tmp_path / "pictures")
    reason = f"no picture 'path': {run.trace.where}: it has no image with all its launches and messages"
    assert [line for line in lines if not line.startswith("written")] == [reason]
    assert f"{reason.replace(chr(39), '&#x27;')}." in report_html(run)


def test_lost_image_of_a_whole_run_is_a_fault(run):
    with pytest.raises(InputError, match="image 99 was not finished"):
        draw_critical_path(run, 99)


def test_bars_are_of_figures_that_differ(run):
    figure = draw("prediction", run)
    (axes,) = figure.axes
    shown = [text.get_text() for text in axes.texts]
    assert shown
    assert not [text for text in shown if text.lstrip("+-").startswith("0.000")]
    assert len(axes.get_yticklabels()) == len(axes.patches) == len(shown)


def test_run_that_is_its_plan_has_no_bars(run, monkeypatch):
    figures = {"latency, ms": 2.0}
    monkeypatch.setattr(rates, "summarize", lambda run: SimpleNamespace(figures=figures, predicted=figures))
    monkeypatch.setattr(rates, "LEAST_PERCENT", 1e9)
    (axes,) = draw("prediction", run).axes
    assert not axes.patches
    assert axes.texts[0].get_text().endswith(" figures and launches agree to 1e+09 %")


def test_bottleneck_that_is_no_vta_gains_nothing_from_a_board(run, monkeypatch):
    found = bottleneck(run)
    key = (0, "nic_out")
    slow = {**found.loads_ns, key: 2 * found.period_ns}
    monkeypatch.setattr(resources, "bottleneck", lambda run: Bottleneck(slow, *key, None, slow))
    (axes,) = draw("bottleneck", run).axes
    assert axes.get_title().endswith("one more board would not raise the rate: it is not a VTA that limits it")
    assert "one more board" not in " ".join(text.get_text() for text in axes.figure.legends[0].texts)
