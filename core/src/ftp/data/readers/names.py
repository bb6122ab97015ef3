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
    ".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow",
}  # fmt: skip
"""Ending -> format, of those that core reads; other packages register readers of theirs."""

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
    ".xls": "open it in a spreadsheet program and save it as .csv",
    ".ods": "open it in a spreadsheet program and save it as .csv",
    ".pkl": "a pickle can run code and is never read; save the rows as .jsonl or .parquet",
    ".pickle": "a pickle can run code and is never read; save the rows as .jsonl or .parquet",
    ".xml": "write its rows as .jsonl, one object a line",
    ".yaml": "write its rows as .jsonl, one object a line",
    ".yml": "write its rows as .jsonl, one object a line",
}
"""Endings of common formats that are not read, and what to do with such a file."""

OF_PACKAGES = {
    **dict.fromkeys((".xlsx", ".xlsm"), "save the sheet as .csv"),
    **dict.fromkeys(
        (".conll", ".conllu", ".iob", ".iob2", ".bio"),
        'write its sentences as .jsonl, as {"tokens": ["Anna"], "tags": ["B-PER"]}',
    ),
}
"""Endings of formats for which there are packages, and what to do with such a file without one."""


def ending_of(path: Path) -> str:
    """The ending that says the format, in small letters, without that of a compression: `.csv` of `a.CSV.gz`.

    Args:
        path: of a file, which need not exist.
    """
    name = Path(path.stem) if path.suffix.lower() in COMPRESSIONS else path
    return name.suffix.lower()


def stem_of(path: Path) -> str:
    """The name without the endings that say format and compression: `a` of `a.csv.gz`.

    Args:
        path: of a file, which need not exist.
    """
    name = path.stem if path.suffix.lower() in COMPRESSIONS else path.name
    # the longest first: `.qa.json` before `.json`
    for ending in sorted([*FORMATS, *registered.endings()], key=len, reverse=True):
        for whole in (path.name, name):
            if whole.lower().endswith(ending):
                return whole[: -len(ending)]
    return name


def format_of(path: Path) -> str | None:
    """The format of a file by its name: `csv`, `jsonl`, ..., or the name of a registered reader; None where nothing reads it.

    Args:
        path: of a file, which need not exist.
    """
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
    """The format of a file that can be read, as `format_of` names it.

    Args:
        path: of the file.

    Raises:
        UserError: an unknown ending, an empty file, or no file at all.
    """
    size = require_file(path)
    name = format_of(path)
    if name is None:
        raise _unknown_format(path)
    if size == 0:
        raise UserError(f"{path} is empty (0 bytes)", "write at least one row into it")
    return name


def _unknown_format(path: Path) -> UserError:
    ending = ending_of(path)
    known = [*FORMATS, *registered.endings()]
    what = f"{path}: files ending in '{ending or path.name}' are not read"
    if ending in ELSEWHERE:
        return UserError(what, ELSEWHERE[ending], _unpacking(path, ending))
    fix = f"what is read: {' '.join(known)}, those of ftp itself also with {' '.join(COMPRESSIONS)}"
    if ending in OF_PACKAGES:
        fix = f"install a package that reads them (docs/data.md), or {OF_PACKAGES[ending]}; {fix}"
        return UserError(f"{what} by what is installed", fix)
    near = nearest(ending, known)
    return UserError(f"{what}; {near}" if near else what, fix)
