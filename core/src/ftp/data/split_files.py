"""Which files of a folder are which split, by their names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ftp.data import readers
from ftp.errors import Problem, UserError, nearest

if TYPE_CHECKING:
    pass

SPLITS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
    "general": ("general",),
}
"""Split names and how files call them; the first name that is there wins."""

SHARD = re.compile(r"[-_.]\d+([-_]of[-_]\d+)?$")

WORDS = re.compile(r"[\W_]+")  # what parts the words of a file's name

BY_WORD = ("train", "validation", "test")  # splits that a word in a file's name may mean; "general" is too common

SHOWN = 5  # files that a note names


def locate(folder: Path, splits: Mapping[str, str] = {}) -> tuple[dict[str, list[Path]], list[Path]]:
    """The data files of a folder by split, and those that belong to no split.

    Where no file is named after a training split, words in the names tell (`reviews_train.csv`, `reviews_test.csv`); the
    files whose names hold no such word are `train` together.
    """
    places = [folder, folder / "data"]
    entries = next((found for place in places if place.is_dir() and (found := _data_files(place))), {})
    if not entries:
        there = [entry.name for entry in list_entries(folder)]
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


def note_of_splits(folder: Path, parts: Mapping[str, list[Path]], chosen: Mapping[str, str]) -> str:
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
    for entry in list_entries(folder):
        if entry.name.startswith((".", "_")):
            continue
        if entry.is_dir() and entry.name.lower() in named:
            inner = [path for path in list_entries(entry) if readers.format_of(path)]
            if inner:
                found.setdefault(entry.name.lower(), []).extend(inner)
        elif entry.is_file() and readers.format_of(entry) and not entry.name.startswith(("dataset_info", "state.")):
            found.setdefault(SHARD.sub("", readers.stem_of(entry).lower()), []).append(entry)
    return found


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


def list_entries(folder: Path) -> list[Path]:
    """What lies in a folder, by name."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}", "check its permissions") from None
