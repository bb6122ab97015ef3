"""`--data`: a file, a folder of splits, or a set on the hub -> data sets by split name."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ftp.data import readers, suggest, tables
from ftp.data.readers import DataFile, Numbered, ReadColumns, exports
from ftp.errors import Problem, UserError, nearest
from ftp.host import faults
from ftp.host.quiet import without_progress_bars

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
WORDS = re.compile(r"[\W_]+")  # what parts the words of a file's name
BY_WORD = ("train", "validation", "test")  # splits that a word in a file's name may mean; "general" is too common
SHOWN = 5  # files that a note names
PEEK = 1000
VERSION = "3"  # of what the readers make of a file; a new one makes cached rows be read again


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
) -> dict[str, Rows]:
    """The rows of `source` by split name.

    Args:
        source: a file (docs/data.md lists the formats), its split being `train` unless its name says another; a folder with
            a file (or shards, or a sub-folder) for each split; a folder that `save_to_disk` wrote; a hub id `org/name` or
            `org/name:config`, with `revision`.
        columns: our name -> name in the data; a column that had our name becomes `<name>_original`.
        splits: our name -> name in the source (the file's name without endings, or the hub's split).
        streaming: rows come as they are read.
        text_by: `line` or `document`, what a row of a txt file is.
        max_decompressed: what a compressed file may grow to, as `64GB`.
        notes: gets what a user should know about how the files were read.
        read_columns: of a stream, the columns that anybody reads; may be limited once the rows are looked at.

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
    )
    if _exists(path):
        parts = _local(whole, splits)
    elif HUB_ID.fullmatch(str(source)) and readers.format_of(path) is None:
        parts = _hub(str(source), splits, streaming, revision)
    else:
        siblings = [entry.name for entry in _entries(path.parent)] if path.parent.is_dir() else []
        near = nearest(path.name, siblings)
        raise UserError(
            f"there is no file or folder {source}" + (f"; {near}" if near else ""),
            "give a path that exists, or a hub id of the form org/name or org/name:config",
        )
    parts = {split: _as_rows_of_export(rows, whole) for split, rows in parts.items()}
    return {split: rename(rows, columns, f"{source} ({split})") for split, rows in parts.items()}


def _as_rows_of_export(rows: Rows, source: DataFile) -> Rows:
    """The rows with our columns where Argilla wrote the table, as Parquet or to the hub; a stream stays as it is."""
    from datasets import Dataset

    if not isinstance(rows, Dataset) or not exports.has_columns(rows.column_names):
        return rows
    converted = exports.convert(source, enumerate(tables.to_rows(rows)))
    chunks = tables.chunked(converted, tables.CHUNK_ROWS)
    return tables.dataset((tables.table(chunk, f"{source.path}, row") for chunk in chunks), told=str(source.path))


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


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder, by name."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}", "check its permissions") from None


def rename(rows: Rows, columns: Mapping[str, str], told: str) -> Rows:
    """The rows with columns under our names; UserError for each that is not there."""
    have = list(rows.column_names or ())
    left_out = tables.left_out_of(rows)
    wrong: list[Problem] = []
    for ours, theirs in columns.items():
        if theirs in left_out:
            wrong.append(left_out[theirs])
        elif theirs not in have:
            wrong.append(_no_column(rows, told, columns, ours))
    twice = sorted({theirs for theirs in columns.values() if list(columns.values()).count(theirs) > 1})
    wrong += [Problem(f"the column '{name}' is given two names", "name each column once") for name in twice]
    if wrong:
        raise UserError(wrong)
    moved = {theirs: ours for ours, theirs in columns.items() if ours != theirs}
    aside = {ours: f"{ours}_original" for ours in moved.values() if ours in have and ours not in moved}
    if aside:
        rows = rows.rename_columns(aside)
    if moved:
        rows = rows.rename_columns(moved)
    tables.set_left_out(rows, {name: problem for name, problem in left_out.items() if name not in moved.values()})
    return rows


def _no_column(rows: Rows, told: str, columns: Mapping[str, str], ours: str) -> Problem:
    have = list(rows.column_names or ())
    theirs = columns[ours]
    near = nearest(theirs, have)
    meant = near.split("'")[1] if near else suggest.column_meant(rows, ours, columns.values())
    right = {name: column for name, column in columns.items() if column in have}
    return Problem(
        f"{told} has no column '{theirs}'" + (f"; {near}" if near else ""),
        f"its columns: {', '.join(have)}",
        suggest.columns_option(right, {ours: meant}) if meant else "",
    )


def locate(folder: Path, splits: Mapping[str, str] = {}) -> tuple[dict[str, list[Path]], list[Path]]:
    """The data files of a folder by split, and those that belong to no split.

    Where no file is named after a training split, words in the names tell (`reviews_train.csv`, `reviews_test.csv`); the
    files whose names hold no such word are `train` together.
    """
    places = [folder, folder / "data"]
    entries = next((found for place in places if place.is_dir() and (found := _data_files(place))), {})
    if not entries:
        there = [entry.name for entry in _entries(folder)]
        raise UserError(
            f"{folder} has no data files" + (f" (it has: {', '.join(there[:8])})" if there else " (it is empty)"),
            f"put train and validation there, as one of: {' '.join(readers.FORMATS)}",
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
        for split, alike in _splits_by_word(loose).items():
            if split not in found:
                found[split] = [path for name in alike for path in entries.pop(name)]
    for split, paths in found.items():
        if len({readers.format_of(path) for path in paths}) > 1:
            raise UserError(
                f"{folder} has files of several formats for {split}: {', '.join(path.name for path in paths)}",
                "keep one format a split",
            )
    ordered = {split: found[split] for split in (*SPLITS, *found) if split in found}
    return ordered, [path for paths in entries.values() for path in paths]


def _splits_by_word(names: list[str]) -> dict[str, list[str]]:
    """Split -> the names that hold its word, as `reviews_train`; all of them are `train` where none is left for it."""
    found: dict[str, list[str]] = {}
    others: list[str] = []
    for name in names:
        words = set(WORDS.split(name))
        split = next((split for split in BY_WORD if words & set(SPLITS[split])), None)
        if split is None:
            others.append(name)
        else:
            found.setdefault(split, []).append(name)
    if "train" not in found and not others:
        return {"train": names} if names else {}
    return {"train": others, **found}


def _note_of_splits(folder: Path, parts: Mapping[str, list[Path]], chosen: Mapping[str, str]) -> str:
    """Which files are which split, where more than their whole names said so; else nothing."""

    def is_named(split: str, path: Path) -> bool:
        known = (split, *SPLITS.get(split, ()))
        inside = path.parent != folder and path.parent.name.lower() in known
        return split in chosen or inside or SHARD.sub("", readers.stem_of(path).lower()) in known

    is_plain = all(is_named(split, path) for split, paths in parts.items() for path in paths)
    if is_plain or sum(map(len, parts.values())) == 1:
        return ""
    shown: list[str] = []
    for split, paths in parts.items():
        names = [path.name for path in paths]
        shown.append(f"{split} is {', '.join(names[:SHOWN])}" + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""))
    return f"its files are read as splits by their names: {'; '.join(shown)}"


def _data_files(folder: Path) -> dict[str, list[Path]]:
    """Data files by the name of their split or their own: shards and sub-folders count under one name."""
    found: dict[str, list[Path]] = {}
    named = {name for names in SPLITS.values() for name in names}
    for entry in _entries(folder):
        if entry.name.startswith((".", "_")):
            continue
        if entry.is_dir() and entry.name.lower() in named:
            inner = [path for path in _entries(entry) if readers.format_of(path)]
            if inner:
                found.setdefault(entry.name.lower(), []).extend(inner)
        elif entry.is_file() and readers.format_of(entry) and not entry.name.startswith(("dataset_info", "state.")):
            found.setdefault(SHARD.sub("", readers.stem_of(entry).lower()), []).append(entry)
    return found


def _local(whole: DataFile, splits: Mapping[str, str]) -> dict[str, Rows]:
    path = whole.path
    if not path.is_dir():
        readers.known_format(path)
        name = SHARD.sub("", readers.stem_of(path).lower())
        own = next((split for split, names in SPLITS.items() if name in names), "train")
        parts = {next(iter(splits), own): [path]}
    elif (path / "state.json").exists() or (path / "dataset_dict.json").exists():
        return _from_disk(whole, splits, whole.is_stream)
    else:
        parts, _ = locate(path, splits)
        if note := _note_of_splits(path, parts, splits):
            whole.tell(note)
    make = _stream if whole.is_stream else _stored
    return {split: make([replace(whole, path=path) for path in paths]) for split, paths in parts.items()}


def files_of(source: str | Path) -> dict[str, str]:
    """Split -> its file, for splits of a local source that have one."""
    path = Path(source).expanduser()
    if not path.is_dir() or (path / "state.json").exists() or (path / "dataset_dict.json").exists():
        return {}
    return {split: str(files[0]) for split, files in locate(path)[0].items() if len(files) == 1}


def left_out(source: str | Path) -> list[str]:
    """Names of data files in a folder that `read` does not use, so that it can be said."""
    path = Path(source).expanduser()
    if not path.is_dir() or (path / "state.json").exists() or (path / "dataset_dict.json").exists():
        return []
    return sorted(entry.name for entry in locate(path)[1])


def _stored(files: list[DataFile]) -> Dataset:
    parts = [VERSION, files[0].text_by]
    for file in files:
        readers.known_format(file.path)
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
        tables.set_left_out(cached, problems)
        return cached
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        return _gathered(files, kept)
    except OSError as error:
        if not faults.is_of_the_machine(error):
            raise
    return _gathered(files, None)  # a cache that is full or cannot be written: memory or a temporary file will do


def _gathered(files: list[DataFile], kept: Path | None) -> Dataset:
    """The rows of all files as one data set; many of them are written to `kept`, with what was told beside them."""
    told = ", ".join(str(file.path) for file in files[:3])
    notes = files[0].notes
    count = len(notes)
    problems: dict[str, Problem] = {}
    chunks = (chunk for file in files for chunk in tables.of_file(file, problems))
    rows = tables.dataset(chunks, kept, told, problems)
    notes += [_left_out_note(name, problem) for name, problem in problems.items()]
    tables.set_left_out(rows, problems)
    if kept is not None and kept.exists():
        _remember(kept.with_suffix(".json"), notes[count:], problems)
    return rows


def _left_out_note(name: str, problem: Problem) -> str:
    return f"the column {name} is left out, as no column type holds it: {problem.what}"


def _remember(beside: Path, notes: list[str], problems: Mapping[str, Problem]) -> None:
    """Keep what was told beside kept rows, which are not read again."""
    left_out = {name: [problem.what, problem.fix, problem.command] for name, problem in problems.items()}
    try:
        beside.write_text(json.dumps({"notes": notes, "left_out": left_out}), encoding="utf-8")
    except OSError:
        beside.unlink(missing_ok=True)  # a full disk: the rows are right all the same


def _recall(beside: Path) -> tuple[list[str], dict[str, Problem]]:
    try:
        told = json.loads(beside.read_text(encoding="utf-8"))
        return list(told["notes"]), {name: Problem(*texts) for name, texts in told["left_out"].items()}
    except (OSError, ValueError, KeyError, TypeError):
        return [], {}


def _stream(files: list[DataFile]) -> IterableDataset:
    from datasets import Features, IterableDataset

    from ftp.data import json_column

    first = files[0]
    kinds = readers.number_columns(first, PEEK)
    problems: dict[str, Problem] = {}
    if readers.known_format(first.path) in readers.COLUMNAR:
        head = next(tables.of_file(first, problems), None)
    else:
        peek = list(islice(readers.read_rows(first, kinds), PEEK))
        where = f"{first.path}, {readers.unit_of(first)}"
        head = tables.table(peek, where, problems) if peek else None
    if head is None or not len(head):
        raise UserError(f"{first.path} has no rows", "give at least one row")
    first.notes.extend(_left_out_note(name, problem) for name, problem in problems.items())
    schema = json_column.with_json_for_structs(head.schema)  # later rows may have other fields than the first ones
    rows = IterableDataset.from_generator(
        partial(_rows, kinds=kinds, schema=schema, left_out=tuple(problems)),
        features=json_column.typed(Features.from_arrow_schema(schema)),
        gen_kwargs={"files": files},
    )
    tables.set_left_out(rows, problems)
    return rows


def _rows(
    files: list[DataFile], *, kinds: dict[str, type], schema: pa.Schema, left_out: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """Rows of all files, with the types of the first rows; nothing is bent to fit them.

    A column that does not fit them later on is an error where it is read, and else empty from there on.
    """
    from ftp.data.json_column import rows_of

    gone = set(left_out)
    for file in files:
        for numbered, chunk, problems in _chunks(file, kinds):
            late = {name: problem for name, problem in problems.items() if name not in gone}
            chunk = chunk.select([name for name in chunk.column_names if name not in gone])
            late |= tables.misfits(chunk, schema, file, numbered)
            if late:
                file.columns.leave_out(late)
                gone |= late.keys()
                chunk = chunk.select([name for name in chunk.column_names if name not in gone])
            if not chunk.column_names:
                raise UserError(late.values() or f"{file.path} has none of the columns of the first rows")
            yield from rows_of(tables.cast(chunk, schema))


Chunk: TypeAlias = "tuple[list[Numbered], pa.Table, dict[str, Problem]]"


def _chunks(file: DataFile, kinds: dict[str, type]) -> Iterator[Chunk]:
    """Some rows of a stream with their numbers, as a table, and the columns that no type holds."""
    if readers.known_format(file.path) in readers.COLUMNAR:
        problems: dict[str, Problem] = {}
        for chunk in tables.of_file(file, problems):
            yield [], chunk, problems
        return
    where = f"{file.path}, {readers.unit_of(file)}"
    for numbered in tables.chunked(readers.read_rows(file, kinds), PEEK):
        problems = {}
        yield numbered, tables.table(numbered, where, problems), problems


def _require_small_tables(file: DataFile) -> None:
    """UserError where the tables of a saved data set are compressed and grow too large, since they are opened all at once."""
    import pyarrow as pa

    from ftp.data.readers import archives, growth

    for state in sorted(file.path.rglob("state.json")):
        for named in json.loads(state.read_text(encoding="utf-8"))["_data_files"]:
            tables_file = replace(file, path=state.parent / named["filename"])
            limit = archives.limit_of(tables_file)
            with pa.OSFile(str(tables_file.path)) as source:
                if growth.decompressed_size(source) > limit:
                    raise archives.too_large(tables_file, limit)


def _from_disk(file: DataFile, splits: Mapping[str, str], streaming: bool) -> dict[str, Rows]:
    from datasets import Dataset, load_from_disk

    path = file.path
    try:
        _require_small_tables(file)
        loaded = load_from_disk(str(path))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path} looks like a saved data set, but cannot be loaded: {error}") from None
    from ftp.data.readers.columnar import require_whole

    for name, rows in loaded.items() if not isinstance(loaded, Dataset) else [("", loaded)]:
        require_whole(rows.data.table, f"{path / name}")
    parts: dict[str, Dataset] = {"train": loaded} if isinstance(loaded, Dataset) else dict(loaded)
    parts = {split: _exact(rows) for split, rows in _named(parts, splits, str(path)).items()}
    return {split: rows.to_iterable_dataset() if streaming else rows for split, rows in parts.items()}


def _exact(rows: Rows) -> Rows:
    """The rows with JSON columns that lose no digit (see `json_column`)."""
    from datasets import Dataset

    from ftp.data.json_column import typed

    if rows.features is None or (features := typed(rows.features)) == rows.features:
        return rows
    if not isinstance(rows, Dataset):
        return rows.cast(features)
    exact = copy.deepcopy(rows)  # as `Dataset.with_format` does; `Dataset.cast` would write the rows anew
    exact.info.features = features
    return exact


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
        with without_progress_bars():
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
    return {split: _exact(rows) for split, rows in _named(loaded, splits, source).items()}
