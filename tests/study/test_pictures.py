"""Pictures of studies: the names of points can be read."""

import io
from dataclasses import replace

import pytest
from PIL import Image
from study_cases import group_of, row, throughput_rows

from mpi_vta.study import pictures
from mpi_vta.study.pictures import draw_figures, draw_fronts


@pytest.fixture
def named(monkeypatch):
    """Return the names that are written, with their places in dots."""
    found = []

    def note(axes, group):
        name_front(axes, group)
        for text in axes.texts:
            found.append((text.get_text(), *axes.transData.transform(text.get_position())))

    name_front = pictures._name_front
    monkeypatch.setattr(pictures, "_name_front", note)
    return found


def test_names_of_close_points_lie_apart(named):
    rows = [row(i, i + 1, "a", 100.0 + i, 50.0 - i / 10, 0.5 + i / 1000) for i in range(4)]
    Image.open(io.BytesIO(draw_fronts([group_of(rows), group_of(throughput_rows())], "c"))).verify()
    names = [name for name, *_ in named]
    assert names[:4] == ["4", "3", "2", "1"]
    places = [place for _, *place in named[:4]]
    assert all(
        abs(x - a) > pictures._LETTER or abs(y - b) > pictures._HEIGHT
        for i, (x, y) in enumerate(places)
        for a, b in places[:i]
    )


def test_same_name_of_close_points_is_written_once(named):
    rows = [row(i, 7, name, 100.0 + i, 50.0 + i, 0.5) for i, name in enumerate("ab")]
    rows.append(row(2, 1, "a", 10.0, 90.0, 0.6))
    draw_fronts([group_of(rows)], "c")
    assert [name for name, *_ in named] == ["7"]


def test_every_shape_of_builds_is_named_once_within_the_picture(named):
    builds = [("pynq_1x16_i8_a", 1.0), ("pynq_16x4_i8_a", 9.0), ("pynq_16x4_i8_b", 8.0), ("pynq_4x8_i8", 7.0)]
    rows = [row(i, 8, "a", rate, 1.0 + i, 1.0, config=name) for i, (name, rate) in enumerate(builds)]
    picture = Image.open(io.BytesIO(draw_fronts([group_of(rows)], "c")))
    assert sorted(name for name, *_ in named) == ["16x4", "1x16", "4x8"]
    assert all(x - 3 * len(name) > 0 and x + 3 * len(name) < picture.width for name, x, _ in named)


def test_a_strategy_that_cannot_be_run_is_drawn_as_nothing():
    rows = [*throughput_rows(), replace(throughput_rows()[-1], point=99, strategy="fused")]
    Image.open(io.BytesIO(draw_figures([group_of(rows)], "c"))).verify()
