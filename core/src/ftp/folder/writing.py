"""Files that are written whole or not at all, and values as JSON can say them.

Imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import SupportsFloat, overload

from ftp import addresses
from ftp.errors import UserError
from ftp.host.faults import disk


def require_no_link(path: Path) -> None:
    """Refuse to write through a link in a run folder.

    Folders are sent around, and the link may lead to any file of whoever goes on with the run.

    Raises:
        UserError: the path is a link.
    """
    if path.is_symlink():
        raise UserError(f"{path} is a link to {path.readlink()}, and ftp would write there",
                        "remove it, or put in its place what it leads to", f"rm {path}")


def free_name(path: Path) -> Path:
    """The path, or one like it that nothing has yet."""
    number = 1
    free = path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: beside it, to the disk, then renamed over it."""
    aside = path.with_name(f".{path.name[:40]}.{os.getpid()}.part")
    try:
        with disk(path):
            # left by a process that was killed and had our id, or a link
            aside.unlink(missing_ok=True)
            with aside.open("x", encoding="utf-8") as file:
                file.write(addresses.without(text))
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
            sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write `plain(value)` as JSON, whole or not at all."""
    write_text(path, json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sync_tree(path: Path) -> None:
    """Make every file of a folder, and the folder, last through a power cut."""
    for inner in sorted(path.rglob("*"), reverse=True):
        if inner.is_dir():
            sync_folder(inner)
        elif inner.is_file():
            with inner.open("rb+") as file:
                os.fsync(file.fileno())
    sync_folder(path)


def sync_folder(path: Path) -> None:
    """Make a rename inside a folder last through a power cut, where the system can."""
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@overload
def plain(value: Mapping[str, object]) -> dict[str, object]: ...
@overload
def plain(value: object) -> object: ...


def plain(value: object) -> object:
    """`value` as what JSON can say: dictionaries, lists, text and numbers.

    Dataclasses, mappings, sequences, paths, numpy and torch values are turned into these; a number
    that is not finite becomes None, as JSON has no word for it.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, (set, frozenset)):
        return [plain(inner) for inner in sorted(value, key=str)]
    if hasattr(value, "tolist"):  # numpy and torch, scalars and arrays
        return plain(value.tolist())
    return str(value)


def is_not_finite(value: object) -> bool:
    """Whether a value is a number, and neither finite."""
    if not isinstance(value, SupportsFloat):
        return False
    try:
        return not math.isfinite(float(value))
    except (TypeError, ValueError, RuntimeError):  # an array, or a tensor, of several numbers
        return False


def damaged(path: Path, why: str) -> UserError:
    return UserError(
        f"{path}: cannot be read ({why})",
        "the file is damaged: put it back, or move it away to go on without what it says",
    )
