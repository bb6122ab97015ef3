"""Files -> stored rows, which are kept in the cache: they are read once, however often a run needs them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ftp.data import chunks, dropped_columns, readers, tables
from ftp.data.readers import DataFile, exports
from ftp.errors import Problem
from ftp.host import faults

if TYPE_CHECKING:
    from datasets import Dataset

VERSION = "4"  # of what the readers make of a file; a new one makes cached rows be read again


def store_rows(files: list[DataFile]) -> Dataset:
    """The rows of files of one split, from the cache where they were read before and the files are as they were."""
    parts = [VERSION, files[0].text_by, *sorted(files[0].text_columns), *exports.versions()]
    for file in files:
        readers.known_format(file.path)
        reader = readers.reader_of(file.path)
        if reader is not None:
            parts.append(f"{reader.name} {reader.version}")
        stat = file.path.stat()
        parts.append(f"{file.path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}")
    key = hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()
    cache = tables.cache_home()
    if cache is None:
        return _gathered(files, None)
    kept = cache / "rows" / f"{key}.arrow"
    cached = tables.opened(kept)
    if cached is not None:
        before, problems = _recall(kept.with_suffix(".json"))
        notes = files[0].notes  # one list for all files of a source
        notes += [note for note in before if note not in notes]
        dropped_columns.set_left_out(cached, problems)
        return cached
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        return _gathered(files, kept)
    except OSError as error:
        if not faults.is_of_the_machine(error):
            raise
    return _gathered(files, None)  # a cache that is full or cannot be written: memory or a temporary file will do


def _gathered(files: list[DataFile], kept: Path | None) -> Dataset:
    """The rows of all files as one data set; many of them are written to `kept`, with their notes beside them."""
    source_name = ", ".join(str(file.path) for file in files[:3])
    notes = files[0].notes
    count = len(notes)
    problems: dict[str, Problem] = {}
    parts = chain.from_iterable(chunks.of_file(file, problems) for file in files)
    rows = tables.dataset(parts, kept, source_name, problems)
    notes += left_out_notes(problems)
    dropped_columns.set_left_out(rows, problems)
    if kept is not None and kept.exists():
        _remember(kept.with_suffix(".json"), notes[count:], problems)
    return rows


def left_out_notes(problems: Mapping[str, Problem]) -> list[str]:
    """A word about each column that no type holds."""
    return [f"the column {name} is left out, as no column type holds it: {problem.what}" for name, problem in problems.items()]


def _remember(beside: Path, notes: list[str], problems: Mapping[str, Problem]) -> None:
    """Keep notes and problems beside kept rows, which are not read again."""
    left_out = {name: [problem.what, problem.fix, problem.command] for name, problem in problems.items()}
    try:
        beside.write_text(json.dumps({"notes": notes, "left_out": left_out}), encoding="utf-8")
    except OSError:
        beside.unlink(missing_ok=True)  # a full disk: the rows are right all the same


def _recall(beside: Path) -> tuple[list[str], dict[str, Problem]]:
    try:
        remembered = json.loads(beside.read_text(encoding="utf-8"))
        problems = {name: Problem(*texts) for name, texts in remembered["left_out"].items()}
        return list(remembered["notes"]), problems
    except (OSError, ValueError, KeyError, TypeError):
        return [], {}
