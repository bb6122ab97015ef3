"""A data file on its way into rows: how it is read, how far it may grow, and what its readers have to say."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftp.errors import UserError

Numbered = tuple[int, dict[str, Any]]
"""A row with its place in the file: the line it begins on (from 1), or its number (from 0) in .json and .xlsx."""

Rows = Iterator[Numbered]


@dataclass(frozen=True)
class DataFile:
    """One file and how to read it.

    Args:
        text_by: what a row of a .txt file is: `line` or `document`.
        max_decompressed: bytes that a compressed file may grow to; None: `archives.default_limit`.
        is_stream: rows are used before the file is read to its end, so that a fault cannot wait for the others.
        notes: what a user should know about how the file was read; readers add to it.
    """

    path: Path
    text_by: str = "line"
    max_decompressed: int | None = None
    is_stream: bool = False
    notes: list[str] = field(default_factory=list, compare=False)

    def tell(self, note: str) -> None:
        """Add a note about this file, once."""
        whole = f"{self.path}: {note}"
        if whole not in self.notes:
            self.notes.append(whole)


KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISDIR, "a folder"),
)


def require_file(path: Path) -> int:
    """The size of a regular file in bytes; UserError for anything else: pipes and devices cannot be read twice."""
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
            path.open("rb").close()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}", "check its name and permissions"
        ) from None
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for is_kind, name in KINDS if is_kind(status.st_mode)), "no regular file")
        raise UserError(
            f"{path} is {kind}, not a file",
            "rows are read more than once: save them in a file first",
        )
    return status.st_size
