"""A data file on its way into rows: how it is read, how far it may grow, and what its readers have to say."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftp.errors import Problem, UserError

Numbered = tuple[int, dict[str, Any]]
"""A row with its place in the file: the line it begins on (from 1), or its number (in .json from 0)."""

Rows = Iterator[Numbered]


@dataclass
class ReadColumns:
    """Which columns of a stream anybody reads, once that is known: a fault in any other does not end the stream.

    Args:
        names: as the file calls them; None: all.
        tell: shows the user what became of a column while rows are read.
        known_notes: what was shown already.
    """

    names: frozenset[str] | None = None
    tell: Callable[[str], None] | None = None
    known_notes: set[str] = field(default_factory=set)

    def limit_to(self, names: Iterable[str], tell: Callable[[str], None]) -> None:
        """Let faults in other columns than these be told instead of raised.

        Args:
            names: of the columns that are read, as the file calls them.
            tell: shows the user what became of a column.
        """
        self.names = frozenset(names)
        self.tell = tell

    def has(self, name: str) -> bool:
        """Whether a fault in this column is an error.

        Args:
            name: as the file calls it.
        """
        return self.names is None or name in self.names

    def leave_out(self, problems: Mapping[str, Problem]) -> None:
        """Tell, once each, that these columns are empty from here on.

        Args:
            problems: what is wrong with each column, by its name.

        Raises:
            UserError: somebody reads one of them.
        """
        wrong = [problem for name, problem in problems.items() if self.has(name)]
        if wrong:
            raise UserError(wrong)
        for name, problem in problems.items():
            if self.tell is not None and problem.what not in self.known_notes:
                self.known_notes.add(problem.what)
                self.tell(f"the column {name}, which is not read, is empty from here on: {problem.what}")


@dataclass(frozen=True)
class DataFile:
    """One file and how to read it.

    Args:
        path: of the file.
        text_by: what a row of a .txt file is: `line` or `document`.
        max_decompressed: bytes that a compressed file may grow to; None: what `limit_of` allows.
        is_stream: rows are used before the file is read to its end, so that a fault cannot wait for the others.
        notes: what a user should know about how the file was read; readers add to it.
        columns: of a stream, those that are read.
        text_columns: columns of a .csv or .tsv file whose cells stay the text that they are, numbers included.
    """

    path: Path
    text_by: str = "line"
    max_decompressed: int | None = None
    is_stream: bool = False
    notes: list[str] = field(default_factory=list, compare=False)
    columns: ReadColumns = field(default_factory=ReadColumns, compare=False)
    text_columns: frozenset[str] = frozenset()

    def tell(self, note: str) -> None:
        """Add a note about this file, once.

        Args:
            note: what the user should know, without the name of the file.
        """
        named_note = f"{self.path}: {note}"
        if named_note not in self.notes:
            self.notes.append(named_note)


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
        kinds = [name for is_kind, name in KINDS if is_kind(status.st_mode)]
        raise UserError(
            f"{path} is {kinds[0] if kinds else 'no regular file'}, not a file",
            "rows are read more than once: save them in a file first",
        )
    return status.st_size
