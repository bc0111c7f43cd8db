"""The page about experiments has the columns as they are."""

from pathlib import Path

from mpi_vta.study.column_page import with_columns

PAGE = Path(__file__).parent.parent.parent / "docs" / "experiments.md"


def test_page_has_the_columns_as_they_are():
    assert with_columns(PAGE.read_text()) == PAGE.read_text()
