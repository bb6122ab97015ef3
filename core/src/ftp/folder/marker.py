"""The marker of a folder that ftp made: a random id, and the files that ftp wrote there.

What is not listed belongs to somebody else: it is never removed and never written over. Imports
nothing heavy.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ftp.folder.writing import write_json

NAME = ".ftp.json"


@dataclass(frozen=True)
class Marker:
    """What a marker says.

    `kind`: what the folder holds, `run` or `stages`. `files`: paths inside the folder, with `/`;
    one that ends in `/` is a folder that ftp alone fills.
    """

    id: str
    kind: str = "run"
    files: tuple[str, ...] = ()


def create(folder: Path, kind: str = "run", id: str = "") -> Marker:
    """Mark a folder that is new or empty as one that ftp fills.

    `id`: that of a run whose marker was lost.
    """
    marker = Marker(id or uuid.uuid4().hex, kind)
    _write(folder, marker)
    return marker


def read(folder: Path) -> Marker | None:
    """The marker of a folder. None where there is none, or where what is there is not a marker."""
    try:
        values = json.loads((folder / NAME).read_text(encoding="utf-8"))
        return Marker(str(values["id"]), str(values["kind"]), tuple(map(str, values["files"])))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def add(folder: Path, names: Iterable[str]) -> None:
    """List files that are about to be written. Does nothing in a folder without a marker."""
    marker = read(folder)
    if marker is None:
        return
    files = tuple(dict.fromkeys([*marker.files, *names]))
    if files != marker.files:
        _write(folder, Marker(marker.id, marker.kind, files))


def lists(marker: Marker | None, name: str) -> bool:
    """Whether a path inside the folder was written under the marker."""
    if marker is None:
        return False
    return name in marker.files or any(
        entry.endswith("/") and name.startswith(entry) for entry in marker.files
    )


def is_inside(folder: Path, path: Path) -> bool:
    """Whether a path lies in a folder: neither `..` nor a link leads out of it."""
    return path.parent.resolve().is_relative_to(folder.resolve())


def files_in(folder: Path, inside: str) -> list[str]:
    """Every file of a folder inside a marked one, as the marker lists it."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in (folder / inside).rglob("*")
        if path.is_file()
    )


def clear(folder: Path) -> list[str]:
    """Remove the files that the marker lists, and then the folders that this left empty.

    Gives what was removed.
    """
    marker = read(folder)
    if marker is None:
        return []
    removed = []
    for name in marker.files:
        listed = files_in(folder, name) if name.endswith("/") else [name]
        for file in listed:
            path = folder / file
            # a marker is a file that anybody may edit: nothing outside the folder is touched
            if is_inside(folder, path) and (path.is_file() or path.is_symlink()):
                path.unlink()
                removed.append(file)
    parents: set[Path] = set()
    for name in removed:
        parents.update(Path(name).parents)
    parents.discard(Path())
    # the innermost first: a folder can be removed only once it is empty
    for parent in sorted(parents, key=lambda path: len(path.parts), reverse=True):
        with suppress(OSError):  # something of somebody else is in it
            (folder / parent).rmdir()
    _write(folder, Marker(marker.id, marker.kind))
    return removed


def _write(folder: Path, marker: Marker) -> None:
    write_json(folder / NAME, asdict(marker))
