"""The tables of a study on a terminal."""

import io

from study_cases import latency_rows, row, study_of, throughput_rows

from mpi_vta.study.table import MOST_OF_FRONT, MOST_ROWS, print_study


def printed(rows):
    stream = io.StringIO()
    print_study(study_of(rows), stream)
    return stream.getvalue()


def cells(line):
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_figures_by_boards_and_strategy():
    text = printed(throughput_rows())
    assert "net on stack, 64 images: images/s, modelled" in text
    lines = [cells(line) for line in text.splitlines() if line.startswith("│")]
    assert lines[:4] == [["1", "10", "10"], ["2", "20", "16"], ["3", "30", "18"], ["4", "-", "-"]]
    assert "not valid   2 points: only 3 boards" in text


def test_nothing_that_can_be_run_is_one_line_and_the_reason():
    text = printed(throughput_rows()[-2:])
    assert text.splitlines() == [
        "net on stack, for throughput: no point can be run",
        "not valid   2 points: only 3 boards",
    ]


def test_front_follows():
    text = printed(throughput_rows())
    assert "best in throughput, latency and energy at once (4), modelled" in text
    assert ["3", "pipeline", "18", "70", "0.7", "1.429"] in [cells(line) for line in text.splitlines()]


def test_one_image_is_one_image():
    assert "net on stack, 1 image: latency p50, ms, modelled" in printed(latency_rows())


def test_many_builds_are_cut_short():
    rows = [row(i, 1, "a", 1.0 + i, 1.0 + i, 1.0, config=f"build{i}") for i in range(40)]
    text = printed(rows)
    assert f"note        the best {MOST_ROWS} of 40 lines; the file has all" in text
    assert f"note        the first {MOST_OF_FRONT} of 40" in text
    assert cells(next(line for line in text.splitlines() if line.startswith("│")))[0] == "build39"
