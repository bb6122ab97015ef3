"""`--data`: a file, a folder of splits, or a set on the hub -> data sets by split name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ftp.data import (
    arrow,
    chunks,
    dropped_columns,
    hub_sets,
    readers,
    split_files,
    stored_rows,
    streamed_rows,
    suggest,
    tables,
)
from ftp.data.readers import DataFile, ReadColumns, exports
from ftp.errors import Problem, UserError, nearest

if TYPE_CHECKING:
    from ftp.data.row_types import Rows

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w./ +-]+)?")


def read(
    source: str | Path,
    *,
    columns: Mapping[str, str] = {},
    splits: Mapping[str, str] = {},
    streaming: bool = False,
    revision: str | None = None,
    text_by: str = "line",
    max_decompressed: str | None = None,
    notes: list[str] | None = None,
    read_columns: ReadColumns | None = None,
    text_columns: Iterable[str] = (),
) -> dict[str, Rows]:
    """The rows of `source` by split name.

    Args:
        source: a file (docs/data.md lists the formats), its split being `train` unless its name says another; a folder with
            a file (or shards, or a sub-folder) for each split; a folder that `save_to_disk` wrote; a hub id `org/name` or
            `org/name:config`.
        columns: our name -> name in the data; a column that had our name becomes `<name>_original`.
        splits: our name -> name in the source (the file's name without endings, or the hub's split).
        streaming: rows come as they are read.
        revision: branch, tag or commit of a hub id; None: its main branch.
        text_by: `line` or `document`, what a row of a txt file is.
        max_decompressed: what a compressed file may grow to, as `64GB`.
        notes: gets what a user should know about how the files were read.
        read_columns: of a stream, the columns that anybody reads; may be limited once the rows are looked at.
        text_columns: of csv and tsv files, columns (as the file calls them) that stay as they are written: 1.50 is no 1.5.

    Rows above 64 MB are kept as Arrow in the cache (`FTP_CACHE`) and mapped.

    Raises:
        UserError: says what cannot be read and where.
    """
    path = Path(source).expanduser()
    whole = DataFile(
        path,
        text_by,
        readers.parse_size(max_decompressed) if max_decompressed else None,
        is_stream=streaming,
        notes=[] if notes is None else notes,
        columns=read_columns or ReadColumns(),
        text_columns=frozenset(text_columns),
    )
    if _exists(path):
        parts = _local(whole, splits)
    elif HUB_ID.fullmatch(str(source)) and readers.format_of(path) is None:
        parts = hub_sets.from_hub(str(source), splits, streaming, revision)
    else:
        siblings: list[str] = []
        if path.parent.is_dir():
            siblings = split_files.names_of(split_files.list_entries(path.parent))
        near = nearest(path.name, siblings)
        raise UserError(
            f"there is no file or folder {source}" + (f"; {near}" if near else ""),
            "give a path that exists, or a hub id of the form org/name or org/name:config",
        )
    parts = {split: _as_rows_of_export(rows, whole) for split, rows in parts.items()}
    return {split: rename(rows, columns, f"{source} ({split})") for split, rows in parts.items()}


def _as_rows_of_export(rows: Rows, source: DataFile) -> Rows:
    """The rows with our columns where a tool for annotation wrote the table (Parquet, the hub); a stream stays as it is."""
    from datasets import Dataset

    if not isinstance(rows, Dataset) or not exports.has_columns(rows.column_names):
        return rows
    # Row by row, as for the files of other tools.
    converted = exports.convert(source, enumerate(map(dict, tables.to_rows(rows))))
    parts = chunks.chunked(converted, chunks.CHUNK_ROWS)
    return tables.dataset((arrow.table(part, f"{source.path}, row") for part in parts), source_name=str(source.path))


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:  # no permission, a name too long, a NUL in it
        if isinstance(error, NotADirectoryError):
            return False
        raise UserError(f"{str(path)!r} cannot be read: {error}", "check its name and permissions") from None
    return True


def _local(whole: DataFile, splits: Mapping[str, str]) -> dict[str, Rows]:
    """The rows of a file or a folder by split; of a folder with a note where words in names were read as splits."""
    path = whole.path
    if not path.is_dir():
        readers.known_format(path)
        name = split_files.unsharded_name(path)
        own = next((split for split, names in split_files.SPLITS.items() if name in names), "train")
        parts = {next(iter(splits), own): [path]}
    elif split_files.is_saved_set(path):
        return hub_sets.from_disk(whole, splits, whole.is_stream)
    else:
        parts, _ = split_files.locate(path, splits)
        if note := split_files.note_of_splits(path, parts, splits):
            whole.tell(note)
    open_rows = streamed_rows.stream_rows if whole.is_stream else stored_rows.store_rows
    rows_of: dict[str, Rows] = {}
    for split, paths in parts.items():
        files = [replace(whole, path=path) for path in paths]
        rows_of[split] = open_rows(files)
    return rows_of


def rename(rows: Rows, columns: Mapping[str, str], source_name: str) -> Rows:
    """The rows with columns under our names; UserError for each that is not there."""
    have = list(rows.column_names or ())
    left_out = dropped_columns.left_out_of(rows)
    problems: list[Problem] = []
    for ours, theirs in columns.items():
        if theirs in left_out:
            problems.append(left_out[theirs])
        elif theirs not in have:
            problems.append(_no_column(rows, source_name, columns, ours))
    mapped = list(columns.values())
    for name in sorted({theirs for theirs in mapped if mapped.count(theirs) > 1}):
        problems.append(Problem(f"the column '{name}' is given two names", "name each column once"))
    if problems:
        raise UserError(problems)

    moved = {theirs: ours for ours, theirs in columns.items() if ours != theirs}
    # A column that has our name already makes room first: nothing of the data is lost.
    aside = {ours: f"{ours}_original" for ours in moved.values() if ours in have and ours not in moved}
    if aside:
        rows = rows.rename_columns(aside)
    if moved:
        rows = rows.rename_columns(moved)
    still_left_out = {name: problem for name, problem in left_out.items() if name not in moved.values()}
    dropped_columns.set_left_out(rows, still_left_out)
    return rows


def _no_column(rows: Rows, source_name: str, columns: Mapping[str, str], ours: str) -> Problem:
    """What is wrong where the column mapped to `ours` is not there, with the one that is probably meant."""
    have = list(rows.column_names or ())
    theirs = columns[ours]
    near = nearest(theirs, have)
    # The nearest name stands in quotes in the text; else the values of the columns are looked at.
    meant = near.split("'")[1] if near else suggest.column_meant(rows, ours, columns.values())
    right = {name: column for name, column in columns.items() if column in have}
    return Problem(
        f"{source_name} has no column '{theirs}'" + (f"; {near}" if near else ""),
        f"its columns: {', '.join(have)}",
        suggest.columns_option(right, {ours: meant}) if meant else "",
    )
