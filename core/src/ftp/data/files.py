"""Rows out of one file, a chunk at a time, and a clear word about every file that cannot be read.

csv, tsv, jsonl, json, txt, parquet and arrow, each also compressed (.xz, .gz, .bz2, .zst). Nothing is guessed at and
nothing is skipped: a broken line is an error that names file and line (lines count from 1).
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from ftp.errors import UserError, nearest

FORMATS = {
    ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".txt": "txt",
    ".parquet": "parquet", ".arrow": "arrow",
}  # fmt: skip
COMPRESSIONS = {".xz": "xz", ".gz": "gzip", ".bz2": "bzip2", ".zst": "zstd"}
CHUNK_ROWS, CHUNK_CHARACTERS = 10_000, 16_000_000
WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})")
DECIMAL = re.compile(r"-?(0|[1-9]\d*)?\.\d+([eE][-+]?\d+)?|-?(0|[1-9]\d*)")

Numbered = tuple[int, dict[str, Any]]
"""A row with the number of the line it begins on."""


def format_of(path: Path) -> str | None:
    """`csv`, `jsonl`, ... by the ending of the name, compression endings aside; None for any other name."""
    return FORMATS.get(_ending(path))


def stem_of(path: Path) -> str:
    """The name without the endings that say format and compression."""
    name = path.stem if path.suffix.lower() in COMPRESSIONS else path.name
    return name[: -len(_ending(path))] if _ending(path) in FORMATS else name


def _ending(path: Path) -> str:
    return (Path(path.stem) if path.suffix.lower() in COMPRESSIONS else path).suffix.lower()


def known_format(path: Path) -> str:
    """The format of a file; UserError for an ending that is not known or for an empty file."""
    found = format_of(path)
    if found is None:
        near = nearest(_ending(path), FORMATS)
        raise UserError(
            f"{path}: files ending in '{_ending(path) or path.name}' are not read" + (f"; {near}" if near else ""),
            f"known: {' '.join(FORMATS)}, each also with {' '.join(COMPRESSIONS)}",
        )
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty (0 bytes)", "write at least one row into it")
    return found


def opened(path: Path) -> IO[bytes]:
    """The bytes of a file, decompressed."""
    match COMPRESSIONS.get(path.suffix.lower()):
        case "xz":
            import lzma

            return lzma.open(path)
        case "gzip":
            import gzip

            return gzip.open(path)  # type: ignore[return-value]
        case "bzip2":
            import bz2

            return bz2.open(path)
        case "zstd":
            import io

            import pyarrow as pa

            return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    return path.open("rb")


def lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file with their ends; a byte order mark is dropped."""
    offset = number = 0
    try:
        with opened(path) as file:
            for number, raw in enumerate(file, 1):
                try:
                    yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise _not_utf8(path, number, offset + error.start, raw[error.start]) from None
                offset += len(raw)
    except OSError as error:
        raise UserError(f"{path} cannot be read after line {number}: {error}") from None
    except Exception as error:
        if type(error).__name__ in ("LZMAError", "EOFError", "error"):  # lzma, gzip and zlib, without importing them
            raise UserError(
                f"{path} cannot be decompressed after line {number}: {error}", "the file is cut short or damaged"
            ) from None
        raise


def _not_utf8(path: Path, line: int, offset: int, byte: int) -> UserError:
    with opened(path) as file:
        start = file.read(2)
    guess = "UTF-16" if start in (b"\xff\xfe", b"\xfe\xff") else "WINDOWS-1252"
    source = f"{'xz' if path.suffix == '.xz' else 'gzip'} -dc {path} | " if path.suffix in COMPRESSIONS else ""
    target = path.with_name(f"{stem_of(path)}-utf8{_ending(path)}")
    return UserError(
        f"{path} is not UTF-8: line {line} has the byte 0x{byte:02x} at byte offset {offset}",
        f"convert it to UTF-8, if it is {guess} with the command below",
        f"{source}iconv -f {guess} -t UTF-8 {'' if source else path} > {target}".replace("  ", " "),
    )


def csv_rows(path: Path, text_by: str = "line") -> Iterator[Numbered]:
    """Rows of a comma separated file with a header line; cells are strings."""
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # the default refuses cells above 131,072 characters
    reader = csv.reader(lines(path), strict=True)
    header: list[str] = []
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UserError(
                f"{path}, line {start}: {error}", "quote a cell that has quotes, and double the quotes inside it"
            ) from None
        if cells is None:
            return
        if not cells:
            continue
        if not header:
            header = _header(path, cells)
        else:
            yield start, _row(path, start, header, cells)


def tsv_rows(path: Path, text_by: str = "line") -> Iterator[Numbered]:
    """Rows of a tab separated file, a line each. Quotes are text, unless they enclose a cell and are doubled inside."""
    header: list[str] = []
    for number, line in enumerate(lines(path), 1):
        if not line.strip("\r\n"):
            continue
        cells = [_unquoted(cell) for cell in line.rstrip("\r\n").split("\t")]
        if not header:
            header = _header(path, cells)
        else:
            yield number, _row(path, number, header, cells)


def _unquoted(cell: str) -> str:
    inner = cell[1:-1]
    if len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return cell


def _header(path: Path, cells: list[str]) -> list[str]:
    names = [cell.strip() or f"column_{place}" for place, cell in enumerate(cells)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{path}, line 1: the header has {', '.join(twice)} more than once", "give each column its name")
    return names


def _row(path: Path, line: int, header: list[str], cells: list[str]) -> dict[str, Any]:
    if len(cells) != len(header):
        raise UserError(
            f"{path}, line {line}: {len(cells)} cells, but the header has {len(header)} ({', '.join(header)})",
            "quote cells that hold the separator or a line break, or check for a missing cell",
        )
    return dict(zip(header, cells, strict=True))


def number_columns(rows: Iterable[Numbered]) -> dict[str, type]:
    """Which columns of strings hold numbers only: int (plain whole numbers, empty cells aside) or float."""
    kinds: dict[str, type | None] = {}
    seen: set[str] = set()
    for _, row in rows:
        for name, cell in row.items():
            kind = kinds.setdefault(name, int)
            if kind is None or not cell:
                continue
            seen.add(name)
            if kind is int and not WHOLE.fullmatch(cell):
                kinds[name] = kind = float
            if kind is float and not DECIMAL.fullmatch(cell):
                kinds[name] = None
    return {name: kind for name, kind in kinds.items() if kind and name in seen}


def numbered(path: Path, rows: Iterable[Numbered], kinds: dict[str, type]) -> Iterator[Numbered]:
    """The rows with these columns as numbers; an empty cell of theirs becomes None."""
    for line, row in rows:
        for name, kind in kinds.items():
            try:
                row[name] = kind(row[name]) if row[name] else None
            except ValueError:
                raise UserError(
                    f"{path}, line {line}: {name} is {row[name]!r}, but its first rows are numbers",
                    "read without streaming, which looks at all rows first, or mend the row",
                ) from None
        yield line, row


def jsonl_rows(path: Path, text_by: str = "line") -> Iterator[Numbered]:
    """Rows of a file with one JSON object a line."""
    for number, line in enumerate(lines(path), 1):
        if line.isspace():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{path}, line {number}: not JSON ({error.msg}, column {error.colno}): {line.strip():.80}",
                "each line is to be one JSON object on its own",
            ) from None
        yield number, _object(path, number, row)


def json_rows(path: Path, text_by: str = "line") -> Iterator[Numbered]:
    """Rows of a .json file: a list of objects, an object with one such list, or one object a line."""
    whole = "".join(lines(path))
    try:
        found = json.loads(whole)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            yield from jsonl_rows(path)
            return
        raise UserError(f"{path}, line {error.lineno}: not JSON ({error.msg}, column {error.colno})") from None
    if isinstance(found, dict):
        lists = [value for value in found.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
        found = lists[0] if len(lists) == 1 else [found]
    if not isinstance(found, list):
        raise UserError(f"{path} holds {type(found).__name__}", "a .json file is to hold a list of objects")
    for place, row in enumerate(found):
        yield place, _object(path, place, row)


def _object(path: Path, line: int, row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise UserError(f"{path}, row {line}: a {type(row).__name__}, not an object", 'a row looks like {"text": "..."}')
    return row


def text_rows(path: Path, text_by: str = "line") -> Iterator[Numbered]:
    """Rows with one column, `text`: a line each (lines of white space left out), or the whole file."""
    if text_by == "document":
        yield 1, {"text": "".join(lines(path)).strip()}
        return
    for number, line in enumerate(lines(path), 1):
        if not line.isspace():
            yield number, {"text": line.rstrip("\r\n")}


READERS: dict[str, Callable[..., Iterator[Numbered]]] = {
    "csv": csv_rows, "tsv": tsv_rows, "jsonl": jsonl_rows, "json": json_rows, "txt": text_rows,
}  # fmt: skip


def rows(path: Path, text_by: str = "line", kinds: dict[str, type] | None = None) -> Iterator[Numbered]:
    """The rows of a text file with their line numbers. `kinds`: number columns of csv and tsv files."""
    found = READERS[known_format(path)](path, text_by=text_by)
    return numbered(path, found, kinds) if kinds else found
