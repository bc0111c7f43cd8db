"""The page about studies: tables of the rows, pictures, labels; and the shipped page is what its results give."""

import io
import re

import pytest
from PIL import Image
from study_cases import row, study_of, throughput_rows

from mpi_vta.errors import ArtifactError, InputError
from mpi_vta.explore import main
from mpi_vta.study.page import page_text, write_page
from mpi_vta.trace.study_file import write_study


@pytest.fixture
def result(tmp_path):
    write_study(tmp_path / "small.h5", study_of(throughput_rows()))
    return tmp_path / "small.h5"


def test_tables_hold_the_rows():
    text = page_text([study_of(throughput_rows())], "p")
    assert (
        "| boards | scatter-gather, images/s | pipeline, images/s | best: latency p50, ms | best: J per image | W |"
        in text
    )
    assert "| 3 | 30 | 18 | 100 | 0.5 | 15.0 |" in text
    assert "| 3 | pipeline | 18 | 70 | 0.7 | 1.429 | 50 % |" in text
    assert "- 2 of 8 points not valid: only 3 boards" in text
    assert "`python -m mpi_vta.explore small.toml`: jobs of 64 images, mpi_vta 9.9, commit 0123456789ab." in text


def test_every_heading_table_and_picture_says_modelled():
    text = page_text([study_of(throughput_rows())], "p")
    assert all(line.endswith("(modelled)") for line in text.splitlines() if line.startswith("### "))
    pictures = re.findall(r"!\[.*\]\((.*)\)\n\n(.*)\n", text)
    assert [name for name, _ in pictures] == ["p/small.png", "p/small-front.png"]
    assert all("modelled, by `python -m mpi_vta.explore small.toml`." in caption for _, caption in pictures)


def test_many_builds_are_the_best_ones():
    rows = [row(i, 1, "fused", 1.0 + i, 1.0, 1.0, config=f"pynq_{i}x16_i8") for i in range(14)]
    text = page_text([study_of(rows)], "p")
    shown = re.findall(r"^\| (pynq_\S+) \| 1 \|", text, re.MULTILINE)
    assert shown == [f"pynq_{i}x16_i8" for i in range(13, 3, -1)]
    assert "small.png" not in text


def test_page_and_pictures_are_written(result, tmp_path, capsys):
    assert main(["--report", str(tmp_path / "page.md"), str(result)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    for name in ("small", "small-front"):
        data = (tmp_path / "page" / f"{name}.png").read_bytes()
        assert len(data) < 200_000
        assert Image.open(io.BytesIO(data)).width >= 800


def test_incomplete_study_is_refused(tmp_path):
    write_study(tmp_path / "r.h5", study_of(throughput_rows(), complete=False))
    with pytest.raises(ArtifactError, match="the study is not complete; run it again: it goes on"):
        write_page(tmp_path / "page.md", [tmp_path / "r.h5"])
    assert not (tmp_path / "page.md").exists()


def test_report_without_results_is_refused(tmp_path, capsys):
    assert main(["--report", str(tmp_path / "page.md")]) == 2
    assert "--report: no result file; allowed: a page to write, and one or more results" in capsys.readouterr().err


def test_page_that_cannot_be_written(result, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write the page"):
        write_page(tmp_path / "file" / "page.md", [result])
