"""File formats that other packages bring (entry-point group `ftp.readers`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ftp.data.readers.source import DataFile, Rows
from ftp.errors import UserError, describe
from ftp.registry import registered

GROUP = "ftp.readers"


@dataclass(frozen=True)
class Reader:
    """A file format.

    A registered reader is asked before core's own, so that `matches` may take some of the files that core would read
    (`*.qa.json`); it should say yes to nothing else.

    Args:
        matches: whether it reads the file of a path, by its name alone or by its first bytes.
        read: the rows of a file, each a dictionary of column -> value; they may come one by one. Raises `UserError` with the
            place of what cannot be read.
        endings: of the names of such files, for messages.
        can_stream: `read` gives rows as it reads them, so that a file that fits in no memory can be read (`--streaming`).
        unit: what the number of a row counts, in messages; the first row has number 0.
        version: changes when `read` makes other rows of the same file, so that kept rows are read again.
    """

    name: str
    matches: Callable[[Path], bool]
    read: Callable[[Path], Iterable[Mapping[str, Any]]]
    endings: tuple[str, ...] = ()
    can_stream: bool = True
    unit: str = "row"
    version: str = "1"


@cache
def all_readers() -> Mapping[str, Reader]:
    """Every registered reader by name."""
    return registered(GROUP, Reader, ())


def reader_of(path: Path) -> Reader | None:
    """The registered reader of a file; None where core's own read it, or nothing does."""
    for reader in all_readers().values():
        if reader.matches(path):
            return reader
    return None


def endings() -> list[str]:
    """The endings of files that registered readers read."""
    known: list[str] = []
    for reader in all_readers().values():
        known += reader.endings
    return known


def rows_of(reader: Reader, file: DataFile) -> Rows:
    """The rows of a file with their numbers. Raises `UserError` where the reader fails, or gives what is no row."""
    rows = iter(reader.read(file.path))
    number = 0
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except UserError:
            raise
        except Exception as error:  # whatever the reader of another package raises
            raise UserError(
                f"{file.path}, {reader.unit} {number}: the reader '{reader.name}' failed: {describe(error)}",
                "the file is damaged or of another format, or the reader is broken",
            ) from error
        if not isinstance(row, Mapping):
            raise UserError(
                f"{file.path}, {reader.unit} {number}: the reader '{reader.name}' gave a {type(row).__name__}, not a dictionary",
                "it gives one dictionary a row: column -> value",
            )
        yield number, dict(row)
        number += 1


def refuse_stream(path: Path) -> None:
    """Raise `UserError` where the reader of a file cannot stream."""
    reader = reader_of(path)
    if reader is not None and not reader.can_stream:
        raise UserError(
            f"{path}: files of the format '{reader.name}' are read whole, so they cannot be streamed",
            "leave out --streaming, or write the rows as .jsonl or .parquet",
        )


def forget() -> None:
    """Look at the installed packages again (in tests that install one)."""
    all_readers.cache_clear()
