"""``.pt2`` files of ``torch.export.save``, read so that nothing in them is executed.

``torch.export.load`` unpickles: example inputs without limits when its safe reader refuses them, weights
that say so, constants that are objects; it evaluates symbolic sizes and loads native code that is packed
along. So a file is looked at first, as the zip archive of JSON and plain numbers that it is. What needs
any of that is refused, and PyTorch gets a copy with the plain parts alone.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpi_vta.disk import open_regular
from mpi_vta.errors import ModelError

_MODEL, _INPUTS = "models/model.json", "data/sample_inputs/model.pt"
_PLAIN = ("archive_format", "archive_version", "byteorder", ".data/", _MODEL, "data/weights/", "data/constants/")
_LEFT_OUT = (_INPUTS, "extra/")
_OPERATORS = ("torch.ops.aten.", "_operator.getitem")
_LARGEST_BYTES = 1 << 32


def plain_archive(path: Path) -> io.BytesIO:
    """Return a ``.pt2`` file without everything that would have to be executed.

    Raises
    ------
    ModelError
        If the file cannot be read, is not what ``torch.export.save`` writes, or holds pickles, symbolic
        sizes, native code or operators other than PyTorch's own.
    """
    copy = io.BytesIO()
    try:
        with (
            open_regular(path) as stream,
            zipfile.ZipFile(stream) as archive,
            zipfile.ZipFile(copy, "w") as plain,
        ):
            _copy(archive, plain, str(path))
    except OSError as fault:
        raise ModelError(
            f"cannot read the model ({fault.strerror})", where=str(path), allowed="a file that can be read"
        ) from fault
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as fault:
        raise ModelError("not a .pt2 file", where=str(path), remedy="write it with torch.export.save") from fault
    copy.seek(0)
    return copy


def _copy(archive: zipfile.ZipFile, plain: zipfile.ZipFile, path: str) -> None:
    names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    root = next((name.removesuffix(_MODEL) for name in names if name.endswith(f"/{_MODEL}")), None)
    if root is None:
        raise ModelError(
            "holds no exported program", where=path, remedy="write it with torch.export.save of PyTorch 2.8 or later"
        )
    if sum(entry.file_size for entry in archive.infolist()) > _LARGEST_BYTES:
        raise ModelError("is too large", where=path, allowed="4 GiB")
    for name in names:
        part = name.removeprefix(root)
        if part.startswith(_PLAIN):
            data = archive.read(name)
            plain.writestr(name, _checked(part, data, path) if part.endswith(".json") else data)
        elif not part.startswith(_LEFT_OUT):
            raise ModelError(f"holds {part}", where=path, allowed="an exported program and its weights")
    plain.writestr(f"{root}{_INPUTS}", b"")


def _checked(part: str, data: bytes, path: str) -> bytes:
    try:
        content = json.loads(data)
    except (UnicodeDecodeError, json.JSONDecodeError) as fault:
        raise ModelError(f"{part} is not JSON", where=path, remedy="check the export") from fault
    for entry in _objects(content):
        if entry.get("use_pickle"):
            raise ModelError(
                f"{entry.get('path_name', part)} is pickled",
                where=path,
                allowed="tensors as plain numbers: loading a pickle runs what is in it",
            )
        if entry.get("expr_str"):
            raise ModelError(
                f"a symbolic size ({entry['expr_str']})",
                where=path,
                allowed="fixed extents",
                remedy="export without dynamic_shapes",
            )
        target = entry.get("target")
        if (
            part == _MODEL
            and isinstance(target, str)
            and "." in target
            and "inputs" in entry
            and not target.startswith(_OPERATORS)
        ):
            raise ModelError(f"operator {target}", where=path, allowed="PyTorch's own (aten)")
    if part == _MODEL and isinstance(content, dict) and "guards_code" in content:
        content["guards_code"] = []  # Python text that says what inputs are legal
        return json.dumps(content).encode()
    return data


def _objects(content: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a JSON document."""
    todo = [content]
    while todo:
        entry = todo.pop()
        if isinstance(entry, dict):
            yield entry
            todo += entry.values()
        elif isinstance(entry, list):
            todo += entry
