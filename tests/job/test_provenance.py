"""Where a result comes from."""

import re
import subprocess

from mpi_vta import __version__
from mpi_vta.job import provenance
from mpi_vta.job.provenance import UNKNOWN, commit, versions_and_argv


def test_commit_is_that_of_the_source_tree():
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=provenance._PACKAGE, check=False
    )
    expected = head.stdout.strip() if head.returncode == 0 else UNKNOWN
    assert commit().removesuffix("+changed") == expected


def test_commit_outside_of_a_repository_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "_PACKAGE", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit() == UNKNOWN


def test_versions_and_command_line_are_kept():
    kept = versions_and_argv(["mpi_vta.pipeline", "--images", "a b"])
    assert kept["argv"] == "mpi_vta.pipeline --images 'a b'"
    assert kept["mpi_vta_version"] == __version__
    assert re.match(r"\d+\.\d+", kept["numpy_version"])
