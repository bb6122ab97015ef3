"""File formats that other packages bring (entry-point group `ftp.readers`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ftp import registry
from ftp.data.readers.source import DataFile, Numbered, Rows
from ftp.errors import UserError, describe
from ftp.registry import registered
from ftp.types import Row

GROUP = "ftp.readers"


@dataclass(frozen=True)
class Reader:
    """A file format, with `read` or, where a path is not enough, with `read_file`.

    A registered reader is asked before core's own, so that `matches` may take some of the files that core would read
    (`*.qa.json`); it should say yes to nothing else.

    Args:
        name: that of the entry point, which messages name as the format.
        matches: whether it reads the file of a path, by its name alone or by its first bytes. It is also asked about folders and
            about files that cannot be read, and says no.
        read: the rows of a file, each a dictionary of column -> value; they may come one by one. Raises `UserError` with the
            place of what cannot be read.
        endings: of the names of such files, for messages; those of core's formats are left out.
        can_stream: rows come as they are read, so that a file that fits in no memory can be read (`--streaming`).
        unit: what the number of a row counts, in messages; the first row of `read` has number 0.
        version: changes when other rows come of the same file, so that kept rows are read again.
        read_file: as `read`, with the rows numbered: it gets the bound of a compressed file as well, and can tell the user
            something. Where `unit` is `line`, a number is that of the line on which the row begins, from 1.
    """

    name: str
    matches: Callable[[Path], bool]
    read: Callable[[Path], Iterable[Row]] | None = None
    endings: tuple[str, ...] = ()
    can_stream: bool = True
    unit: str = "row"
    version: str = "1"
    read_file: Callable[[DataFile], Iterator[Numbered]] | None = None

    def __post_init__(self) -> None:
        if (self.read is None) == (self.read_file is None):
            raise TypeError(f"the reader '{self.name}' has either read or read_file")

    @property
    def counts_lines(self) -> bool:
        """Whether the number of a row is that of a line."""
        return self.read_file is not None and self.unit == "line"


@cache
def all_readers() -> Mapping[str, Reader]:
    """Every registered reader by name."""
    return registered(GROUP, Reader, (), checked_by_caller=("read", "read_file"))


def reader_of(path: Path) -> Reader | None:
    """The registered reader of a file; None where core's own read it, or nothing does.

    Args:
        path: of a file, which need not exist.

    Raises:
        PluginError: a reader's `matches` fails.
    """
    for reader in all_readers().values():
        if reader.matches(path):
            return reader
    return None


def endings() -> list[str]:
    """The endings of files that registered readers read, in small letters."""
    known: list[str] = []
    for reader in all_readers().values():
        known += reader.endings
    return known


def rows_of(reader: Reader, file: DataFile) -> Rows:
    """The rows of a file with their numbers. Raises `UserError` where the reader fails, or gives what is no row."""
    number = 0
    numbered = _numbered_rows(reader, file)
    while True:
        try:
            number, row = next(numbered)
        except StopIteration:
            return
        except UserError:
            raise
        except Exception as error:  # whatever the reader of another package raises
            raise UserError(
                f"{file.path}, {reader.unit} {number}: {_who(reader)} failed: {describe(error)}",
                "the file is damaged or of another format, or the reader is broken",
            ) from error
        if not isinstance(row, Mapping):
            raise UserError(
                f"{file.path}, {reader.unit} {number}: {_who(reader)} gave a {type(row).__name__}, not a dictionary",
                "it gives one dictionary a row: column -> value",
            )
        yield number, dict(row)
        number += 1


def _numbered_rows(reader: Reader, file: DataFile) -> Iterator[tuple[int, Row]]:
    """The rows of a file as its reader gives them; the reader is called with the first row, so that all it raises comes then."""
    if reader.read_file is not None:
        yield from reader.read_file(file)
    else:
        assert reader.read is not None
        yield from enumerate(reader.read(file.path))


def _who(reader: Reader) -> str:
    """A reader and its package, for messages."""
    return f"the reader '{reader.name}' of {registry.package_of(GROUP, reader.name)}"


def refuse_stream(path: Path) -> None:
    """Check that a file can be read as a stream.

    Args:
        path: of the file.

    Raises:
        UserError: its reader reads it whole.
    """
    reader = reader_of(path)
    if reader is not None and not reader.can_stream:
        raise UserError(
            f"{path}: files of the format '{reader.name}' are read whole, so they cannot be streamed",
            "leave out --streaming, or write the rows as .jsonl or .parquet",
        )


def forget() -> None:
    """Look at the installed packages again (in tests that install one)."""
    all_readers.cache_clear()
    registry.forget()
