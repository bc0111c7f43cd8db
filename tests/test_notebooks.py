"""The notebooks run from top to bottom, on traces made here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "analysis").glob("*.ipynb"))
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Make small runs of every strategy."""
    folder = tmp_path_factory.mktemp("runs")
    command = [sys.executable, str(ROOT / "analysis" / "make_runs.py"), "--model", "digits", "--images", "32"]
    environ = {**os.environ, "MPI_VTA_CACHE": str(folder / "cache")}
    subprocess.run([*command, "--ranks", "1", "2", "4", "--output", str(folder)], check=True, env=environ, timeout=600)
    return folder


def test_there_are_notebooks():
    assert [path.stem for path in NOTEBOOKS] == ["anatomy", "energy", "roofline", "scaling"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_notebook_runs_and_draws(path, runs, tmp_path):
    import nbformat

    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", str(path)]
    environ = {
        **os.environ,
        "MPI_VTA_RUNS": str(runs),
        "JUPYTER_CONFIG_DIR": str(tmp_path),
        "IPYTHONDIR": str(tmp_path),
    }
    done = subprocess.run(
        [*command, "--output", "done", "--output-dir", str(tmp_path)], env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    book = nbformat.read(tmp_path / "done.ipynb", as_version=4)
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output.get("name") == "stderr" for output in outputs)
