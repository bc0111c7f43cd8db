"""Every figure is drawn, has units, and no text lies on another."""

import pytest
from matplotlib.text import Text
from trace_cases import US, write_run

from mpi_vta.errors import InputError
from mpi_vta.trace.figures import QUESTIONS, draw, save_figures
from mpi_vta.trace.figures.rates import draw_difference
from mpi_vta.trace.figures.time_lines import draw_critical_path, draw_gantt
from mpi_vta.trace.reader import read
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
    (path,) = save_figures(run, ["latency"], tmp_path / "pictures")
    assert path == tmp_path / "pictures" / "latency.png"
    assert path.read_bytes().startswith(b"\x89PNG")
