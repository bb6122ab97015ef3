"""`--data`: a file, a folder of splits, or a set on the hub -> data sets by split name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ftp import faults
from ftp.data import files, tables
from ftp.errors import Problem, UserError, nearest

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, IterableDataset

    Rows: TypeAlias = Dataset | IterableDataset

SPLITS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
    "general": ("general",),
}
"""Split names and how files call them; the first name that is there wins."""

SHARD = re.compile(r"[-_.]\d+([-_]of[-_]\d+)?$")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w./ +-]+)?")
PEEK = 1000
VERSION = "1"  # of what the readers make of a file; a new one makes cached rows be read again


def read(
    source: str | Path,
    *,
    columns: Mapping[str, str] = {},
    splits: Mapping[str, str] = {},
    streaming: bool = False,
    revision: str | None = None,
    text_by: str = "line",
) -> dict[str, Rows]:
    """The rows of `source` by split name.

    `source`: a file (csv, tsv, jsonl, json, txt, parquet, arrow; also .xz .gz .bz2 .zst), its split being `train` unless
    its name says another; a folder with a file (or shards, or a sub-folder) for each split; a folder that
    `save_to_disk` wrote; a hub id `org/name` or `org/name:config`, with `revision`.
    `columns`: our name -> name in the data; a column that had our name becomes `<name>_original`.
    `splits`: our name -> name in the source (the file's name without endings, or the hub's split).
    `text_by`: `line` or `document`, what a row of a txt file is. `streaming`: rows come as they are read.
    Rows above 64 MB are kept as Arrow in the cache (`FTP_CACHE`) and mapped. UserError says what cannot be read and where.
    """
    path = Path(source).expanduser()
    if path.exists():
        found = _local(path, splits, streaming, text_by)
    elif HUB_ID.fullmatch(str(source)) and files.format_of(path) is None:
        found = _hub(str(source), splits, streaming, revision)
    else:
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        near = nearest(path.name, siblings)
        raise UserError(
            f"there is no file or folder {source}" + (f"; {near}" if near else ""),
            "give a path that exists, or a hub id of the form org/name or org/name:config",
        )
    return {split: rename(rows, columns, f"{source} ({split})") for split, rows in found.items()}


def rename(rows: Rows, columns: Mapping[str, str], told: str) -> Rows:
    """The rows with columns under our names; UserError for each that is not there."""
    have = list(rows.column_names or ())
    wrong = [
        Problem(
            f"{told} has no column '{theirs}'" + (f"; {near}" if (near := nearest(theirs, have)) else ""),
            f"its columns: {', '.join(have)}",
            f"--columns {ours}={near.split(chr(39))[1] if near else have[0] if have else 'NAME'}",
        )
        for ours, theirs in columns.items()
        if theirs not in have
    ]
    twice = sorted({theirs for theirs in columns.values() if list(columns.values()).count(theirs) > 1})
    wrong += [Problem(f"the column '{name}' is given two names", "name each column once") for name in twice]
    if wrong:
        raise UserError(wrong)
    moved = {theirs: ours for ours, theirs in columns.items() if ours != theirs}
    aside = {ours: f"{ours}_original" for ours in moved.values() if ours in have and ours not in moved}
    if aside:
        rows = rows.rename_columns(aside)
    return rows.rename_columns(moved) if moved else rows


def locate(folder: Path, splits: Mapping[str, str] = {}) -> tuple[dict[str, list[Path]], list[Path]]:
    """The data files of a folder by split, and those that belong to no split.

    Where no file is named after a training split, the files that are named after no split are `train` together.
    """
    places = [folder, folder / "data"]
    entries = next((found for place in places if place.is_dir() and (found := _data_files(place))), {})
    if not entries:
        there = sorted(entry.name for entry in folder.iterdir())
        raise UserError(
            f"{folder} has no data files" + (f" (it has: {', '.join(there[:8])})" if there else " (it is empty)"),
            f"put train and validation there, as one of: {' '.join(files.FORMATS)}",
        )
    wrong = [
        Problem(f"{folder} has no '{theirs}' for the split {ours}; it has: {', '.join(sorted(entries))}",
                nearest(theirs, entries))
        for ours, theirs in splits.items() if theirs not in entries
    ]  # fmt: skip
    if wrong:
        raise UserError(wrong)
    found = {ours: entries.pop(theirs) for ours, theirs in splits.items()}
    for split, names in SPLITS.items():
        if split not in found and (name := next((name for name in names if name in entries), None)):
            found[split] = entries.pop(name)
    named = {name for names in SPLITS.values() for name in names}
    if "train" not in found:
        loose = [name for name in sorted(entries) if name not in named]
        if loose:
            found["train"] = [path for name in loose for path in entries.pop(name)]
    for split, paths in found.items():
        if len({files.format_of(path) for path in paths}) > 1:
            raise UserError(
                f"{folder} has files of several formats for {split}: {', '.join(path.name for path in paths)}",
                "keep one format a split",
            )
    ordered = {split: found[split] for split in (*SPLITS, *found) if split in found}
    return ordered, [path for paths in entries.values() for path in paths]


def _data_files(folder: Path) -> dict[str, list[Path]]:
    """Data files by the name of their split or their own: shards and sub-folders count under one name."""
    found: dict[str, list[Path]] = {}
    named = {name for names in SPLITS.values() for name in names}
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith((".", "_")):
            continue
        if entry.is_dir() and entry.name.lower() in named:
            inner = sorted(path for path in entry.iterdir() if files.format_of(path))
            if inner:
                found.setdefault(entry.name.lower(), []).extend(inner)
        elif entry.is_file() and files.format_of(entry) and not entry.name.startswith(("dataset_info", "state.")):
            found.setdefault(SHARD.sub("", files.stem_of(entry).lower()), []).append(entry)
    return found


def _local(path: Path, splits: Mapping[str, str], streaming: bool, text_by: str) -> dict[str, Rows]:
    if path.is_file():
        files.known_format(path)
        name = SHARD.sub("", files.stem_of(path).lower())
        own = next((split for split, names in SPLITS.items() if name in names), "train")
        found = {next(iter(splits), own): [path]}
    elif (path / "state.json").exists() or (path / "dataset_dict.json").exists():
        return _from_disk(path, splits, streaming)
    else:
        found, _ = locate(path, splits)
    make = _stream if streaming else _stored
    return {split: make(paths, text_by) for split, paths in found.items()}


def left_out(source: str | Path) -> list[str]:
    """Names of data files in a folder that `read` does not use, so that it can be said."""
    path = Path(source).expanduser()
    if not path.is_dir() or (path / "state.json").exists() or (path / "dataset_dict.json").exists():
        return []
    return sorted(entry.name for entry in locate(path)[1])


def _stored(paths: list[Path], text_by: str) -> Dataset:
    told = ", ".join(str(path) for path in paths[:3])
    parts = [VERSION, text_by]
    for path in paths:
        stat = path.stat()
        parts.append(f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}")
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    cache = tables.cache_home()
    kept = cache / "rows" / f"{key}.arrow" if cache is not None else None
    cached = tables.opened(kept) if kept is not None else None
    if cached is not None:
        return cached

    def chunks() -> Iterator[pa.Table]:
        return (chunk for path in paths for chunk in tables.of_file(path, text_by))

    if kept is not None:
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            return tables.dataset(chunks(), kept, told)
        except OSError as error:
            if not faults.is_of_the_machine(error):
                raise
    return tables.dataset(chunks(), told=told)  # a cache that is full or cannot be written: memory or a temporary file will do


def _stream(paths: list[Path], text_by: str) -> IterableDataset:
    from datasets import Features, IterableDataset

    first = paths[0]
    kinds: dict[str, type] = {}
    if files.known_format(first) in ("csv", "tsv"):
        kinds = files.number_columns(islice(files.rows(first), PEEK))
    if files.format_of(first) in ("parquet", "arrow"):
        head = next(tables.of_file(first), None)
    else:
        peek = list(islice(files.rows(first, text_by, kinds), PEEK))
        head = tables.table(peek, first) if peek else None
    if head is None or not len(head):
        raise UserError(f"{first} has no rows", "give at least one row")
    features = Features.from_arrow_schema(head.schema)
    return IterableDataset.from_generator(
        partial(_rows, text_by=text_by, kinds=kinds, schema=head.schema), features=features, gen_kwargs={"paths": paths}
    )


def _rows(paths: list[Path], *, text_by: str, kinds: dict[str, type], schema: pa.Schema) -> Iterator[dict[str, Any]]:
    """Rows of all files, with the types of the first; nothing is bent to fit them."""
    for path in paths:
        if files.known_format(path) in ("parquet", "arrow"):
            for chunk in tables.of_file(path):
                yield from tables.fitting(chunk, schema, path, []).to_pylist()
            continue
        for numbered in tables.chunked(files.rows(path, text_by, kinds), PEEK):
            yield from tables.fitting(tables.table(numbered, path), schema, path, numbered).to_pylist()


def _from_disk(path: Path, splits: Mapping[str, str], streaming: bool) -> dict[str, Rows]:
    from datasets import Dataset, load_from_disk

    try:
        loaded = load_from_disk(str(path))
    except Exception as error:
        raise UserError(f"{path} looks like a saved data set, but cannot be loaded: {error}") from None
    parts: dict[str, Dataset] = {"train": loaded} if isinstance(loaded, Dataset) else dict(loaded)
    parts = _named(parts, splits, str(path))
    return {split: rows.to_iterable_dataset() if streaming else rows for split, rows in parts.items()}


def _named(parts: Mapping[str, Any], splits: Mapping[str, str], told: str) -> dict[str, Any]:
    """Parts under our split names; parts under no such name are left out."""
    found = {}
    for split, names in SPLITS.items():
        wanted = (splits[split],) if split in splits else names
        if name := next((name for name in wanted if name in parts), None):
            found[split] = parts[name]
        elif split in splits:
            raise UserError(f"{told} has no split '{splits[split]}'; it has: {', '.join(parts)}")
    if not found:
        if len(parts) != 1:
            raise UserError(f"{told} has the splits {', '.join(parts)}", "say which is train with splits=train=NAME")
        found["train"] = next(iter(parts.values()))
    return found


def _hub(source: str, splits: Mapping[str, str], streaming: bool, revision: str | None) -> dict[str, Rows]:
    from datasets import load_dataset

    name, _, config = source.partition(":")
    try:
        with tables.quiet():
            loaded = load_dataset(name, config or None, revision=revision, streaming=streaming)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        if re.search(r"offline|connect|resolve|network|timed? ?out|couldn't reach|proxy|max retries", text, re.IGNORECASE):
            raise UserError(
                f"the data set {name} is not on this machine and the hub cannot be reached ({text:.200})",
                "go online once (it is then kept in the cache), or download it and give the file or folder",
                f"hf download {name} --repo-type dataset --local-dir {name.split('/')[-1]}",
            ) from None
        if re.search(r"config", text, re.IGNORECASE):
            raise UserError(f"{source}: {error}", f"name the configuration: {name}:CONFIG") from None
        raise UserError(
            f"{source} is no file or folder here, and the hub does not give it as a data set ({text:.300})",
            "check the spelling, your access (hf auth login), or give a file or folder",
        ) from None
    return _named(loaded, splits, source)
