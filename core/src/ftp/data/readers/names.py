"""What the name of a file says: its format and its compression."""

from __future__ import annotations

import shlex
from pathlib import Path

from ftp.data.readers import registered
from ftp.data.readers.archives import COMPRESSIONS
from ftp.data.readers.source import require_file
from ftp.errors import UserError, nearest

FORMATS = {
    ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".txt": "txt",
    ".conll": "conll", ".iob": "conll", ".iob2": "conll", ".bio": "conll", ".conllu": "conllu",
    ".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow", ".xlsx": "xlsx", ".xlsm": "xlsx",
}  # fmt: skip

COLUMNAR = ("parquet", "arrow")

UNPACKERS = {
    ".zip": "unzip {file} -d {folder}",
    ".tar": "mkdir -p {folder} && tar -xf {file} -C {folder}",
    ".tgz": "mkdir -p {folder} && tar -xf {file} -C {folder}",
    ".7z": "7z x {file} -o{folder}",
    ".rar": "unrar x {file} {folder}/",
}
"""Archives of several files by their ending, and the command that unpacks one."""

ELSEWHERE = {
    **dict.fromkeys(UNPACKERS, "unpack it with the command below, and name the file or the folder inside"),
    ".xls": "open it in a spreadsheet program and save it as .xlsx or .csv",
    ".ods": "open it in a spreadsheet program and save it as .xlsx or .csv",
    ".pkl": "a pickle can run code and is never read; save the rows as .jsonl or .parquet",
    ".pickle": "a pickle can run code and is never read; save the rows as .jsonl or .parquet",
    ".xml": "write its rows as .jsonl, one object a line",
    ".yaml": "write its rows as .jsonl, one object a line",
    ".yml": "write its rows as .jsonl, one object a line",
}
"""Endings of common formats that are not read, and what to do with such a file."""


def ending_of(path: Path) -> str:
    """The ending that says the format, in small letters, without that of a compression: `.csv` of `a.CSV.gz`."""
    name = Path(path.stem) if path.suffix.lower() in COMPRESSIONS else path
    return name.suffix.lower()


def stem_of(path: Path) -> str:
    """The name without the endings that say format and compression."""
    for ending in sorted(registered.endings(), key=len, reverse=True):
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    name = path.stem if path.suffix.lower() in COMPRESSIONS else path.name
    ending = ending_of(path)
    return name[: -len(ending)] if ending in FORMATS else name


def format_of(path: Path) -> str | None:
    """`csv`, `jsonl`, ... by the ending of the name, compression endings aside, or the name of a registered reader that reads
    the file; None where nothing does."""
    reader = registered.reader_of(path)
    return reader.name if reader is not None else FORMATS.get(ending_of(path))


def _unpacking(path: Path, ending: str) -> str:
    """The command that unpacks an archive beside itself; empty for other files."""
    folder = path.with_name(path.name.split(".")[0] or "unpacked")
    folder = folder.with_name(f"{folder.name}-files") if folder.exists() else folder
    return UNPACKERS.get(ending, "").format(
        file=shlex.quote(str(path)), folder=shlex.quote(str(folder))
    )


def known_format(path: Path) -> str:
    """The format of a file; UserError for an unknown ending, an empty file, and what is no file at all."""
    size = require_file(path)
    ending = ending_of(path)
    kind = format_of(path)
    if kind is None:
        near = nearest(ending, FORMATS) if ending not in ELSEWHERE else ""
        raise UserError(
            f"{path}: files ending in '{ending or path.name}' are not read"
            + (f"; {near}" if near else ""),
            ELSEWHERE.get(ending)
            or f"known: {' '.join([*FORMATS, *registered.endings()])}, those of ftp also with {' '.join(COMPRESSIONS)}",
            _unpacking(path, ending),
        )
    if size == 0:
        raise UserError(f"{path} is empty (0 bytes)", "write at least one row into it")
    return kind
