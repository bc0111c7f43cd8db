import hashlib
import io
import os
import tarfile
import zipfile
from dataclasses import replace

import pytest

from mpi_vta.errors import InputError
from mpi_vta.frontend import package_index
from mpi_vta.frontend.package_index import Archived, Places, pip_places, take

CONTENT = b"weights" * 1000


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def archive(suffix):
    stream = io.BytesIO()
    if suffix == ".whl":
        with zipfile.ZipFile(stream, "w") as made:
            made.writestr("thing/a.weights", CONTENT)
            made.writestr("setup.py", "raise SystemExit('run')")
    else:
        with tarfile.open(fileobj=stream, mode="w:gz") as made:
            for name, data in (("thing/a.weights", CONTENT), ("setup.py", b"raise SystemExit('run')")):
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                made.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


@pytest.fixture(params=[".whl", ".tar.gz"])
def shelf(request, tmp_path, monkeypatch):
    """Return a pinned file, and an index (a folder behind file://) that has its archive."""
    monkeypatch.setenv("MPI_VTA_CACHE", str(tmp_path / "cache"))
    data, name = archive(request.param), f"thing-1{request.param}"
    page = tmp_path / "simple" / "thing"
    page.mkdir(parents=True)
    (page / name).write_bytes(data)
    (page / "index.html").write_text(f'<a href="other.whl">x</a><a href="{name}#sha256=0">{name}</a>')
    wanted = Archived("thing", "1", name, len(data), sha256(data), "thing/a.weights", sha256(CONTENT), "MIT")
    return wanted, page


def on_index(page):
    return Places((), (page.parent.as_uri(),))


def test_file_is_taken_once_and_kept(shelf):
    wanted, page = shelf
    told = []
    place = take(wanted, lambda *step: told.append(step), on_index(page))
    assert place.read_bytes() == CONTENT
    assert told[-1] == (wanted.archive_bytes, wanted.archive_bytes)
    assert take(wanted, told.append, Places((), ())) == place


def test_damaged_file_in_the_cache_is_taken_again(shelf):
    wanted, page = shelf
    place = take(wanted, lambda *_: None, on_index(page))
    place.write_bytes(b"damaged")
    assert wanted.kept() is None
    assert take(wanted, lambda *_: None, on_index(page)).read_bytes() == CONTENT


def test_folder_of_archives_comes_first(shelf):
    wanted, page = shelf
    assert take(wanted, lambda *_: None, Places((page,), ())).read_bytes() == CONTENT


@pytest.mark.parametrize("field", ["archive_sha256", "sha256"])
def test_other_hash_is_refused_and_nothing_is_kept(shelf, field):
    wanted, page = shelf
    wanted = replace(wanted, **{field: "0" * 64})
    with pytest.raises(InputError, match=r"has SHA-256 \w{64}; allowed: 0{64}, as pinned"):
        take(wanted, lambda *_: None, on_index(page))
    assert not wanted.kept_at.exists()


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        (None, "pip is told to ask no index"),
        ("ftp://nowhere.invalid/simple", "ftp://nowhere.invalid/simple: neither https nor http nor file"),
        ("file:///nonexistent/simple", "file:///nonexistent/simple: No such file or directory"),
    ],
)
def test_what_cannot_be_had_says_where_it_was_looked_for(shelf, index, reason):
    wanted, _ = shelf
    with pytest.raises(InputError) as caught:
        take(wanted, lambda *_: None, Places((), () if index is None else (index,)))
    assert str(caught.value).startswith(f"thing 1: cannot be had ({reason})")
    assert "PIP_FIND_LINKS" in str(caught.value)


def test_archive_larger_than_pinned_is_not_read_to_its_end(shelf):
    wanted, page = shelf
    with pytest.raises(InputError, match=r"cannot be had .*more than 10 bytes"):
        take(replace(wanted, archive_bytes=10), lambda *_: None, on_index(page))


def test_index_without_the_archive_is_named_without_its_password(shelf, monkeypatch):
    wanted, _ = shelf
    monkeypatch.setattr(package_index, "_loaded", lambda *_: b"<a href='x.whl'>x</a>")
    with pytest.raises(InputError) as caught:
        take(wanted, lambda *_: None, Places((), ("https://me:secret@index.invalid/simple",)))
    assert "https://index.invalid/simple: not there" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_places_are_those_that_pip_is_told_of(monkeypatch, tmp_path):
    listing = "global.index-url='https://a.invalid/simple'\nglobal.cert='/a.pem'\n:env:.find-links='/x'\nnonsense\n"
    monkeypatch.setattr(package_index.subprocess, "run", lambda *_, **__: type("Done", (), {"stdout": listing}))
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://b.invalid https://c.invalid")
    monkeypatch.setenv("PIP_FIND_LINKS", f"{tmp_path} https://d.invalid")
    assert pip_places() == Places(
        (tmp_path,), ("https://a.invalid/simple", "https://b.invalid", "https://c.invalid"), "/a.pem"
    )
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert pip_places() == Places((tmp_path,), ())
