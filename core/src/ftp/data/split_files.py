"""Which files of a folder are which split, by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path

from ftp.data import readers
from ftp.errors import Problem, UserError, nearest

SPLITS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
    "general": ("general",),
}
"""Split names and how files call them; the first name that is there wins."""

OWN_NAMES = frozenset().union(*SPLITS.values())
"""Every name that means a split by itself."""

SHARD = re.compile(r"[-_.]\d+([-_]of[-_]\d+)?$")
"""The number of a shard at the end of a file's name, as in `train-00001-of-00004`."""

WORDS = re.compile(r"[\W_]+")  # what parts the words of a file's name

BY_WORD = ("train", "validation", "test")  # splits that a word in a file's name may mean; "general" is too common

SHOWN = 5  # files that a note names


def locate(folder: Path, splits: Mapping[str, str] = {}) -> tuple[dict[str, list[Path]], list[Path]]:
    """The data files of a folder by split, and those that belong to no split.

    Where no file is named after a training split, words in the names tell (`reviews_train.csv`, `reviews_test.csv`); the
    files whose names hold no such word are `train` together.
    """
    files_by_name = _data_files(folder)
    if not files_by_name and (folder / "data").is_dir():
        files_by_name = _data_files(folder / "data")
    if not files_by_name:
        raise _no_data_files(folder)
    problems: list[Problem] = []
    for ours, theirs in splits.items():
        if theirs not in files_by_name:
            problems.append(Problem(
                f"{folder} has no '{theirs}' for the split {ours}; it has: {', '.join(sorted(files_by_name))}",
                nearest(theirs, files_by_name)))  # fmt: skip
    if problems:
        raise UserError(problems)

    # What the user says comes first, then whole names, then words in names.
    files = {ours: files_by_name.pop(theirs) for ours, theirs in splits.items()}
    for split, names in SPLITS.items():
        present = [name for name in names if name in files_by_name]
        if split not in files and present:
            files[split] = files_by_name.pop(present[0])
    if "train" not in files:
        unnamed = [name for name in sorted(files_by_name) if name not in OWN_NAMES]
        for split, names_of_split in _splits_by_word(unnamed).items():
            if split in files:
                continue
            files[split] = []
            for name in names_of_split:
                files[split] += files_by_name.pop(name)

    for split, paths in files.items():
        if len({readers.format_of(path) for path in paths}) > 1:
            raise UserError(
                f"{folder} has files of several formats for {split}: {', '.join(names_of(paths))}",
                "keep one format a split",
            )
    ordered = {split: files[split] for split in (*SPLITS, *files) if split in files}
    return ordered, list(chain.from_iterable(files_by_name.values()))


def _no_data_files(folder: Path) -> UserError:
    names = names_of(list_entries(folder))
    content = f"it has: {', '.join(names[:8])}" if names else "it is empty"
    return UserError(
        f"{folder} has no data files ({content})",
        f"put train and validation there, as one of: {' '.join([*readers.FORMATS, *readers.endings()])}",
    )


def _splits_by_word(names: list[str]) -> dict[str, list[str]]:
    """Split -> the names that hold its word, as `reviews_train`; all of them are `train` where none is left for it."""
    names_of: dict[str, list[str]] = {}
    without_word: list[str] = []
    for name in names:
        words = WORDS.split(name)
        split = next((split for split in BY_WORD if not set(SPLITS[split]).isdisjoint(words)), None)
        if split is None:
            without_word.append(name)
        else:
            names_of.setdefault(split, []).append(name)
    # Held-out files alone are nothing to train on: then their words mean something else.
    if "train" not in names_of and not without_word:
        return {"train": names} if names else {}
    return {"train": without_word, **names_of}


def note_of_splits(folder: Path, parts: Mapping[str, list[Path]], chosen: Mapping[str, str]) -> str:
    """Which files are which split, where more than their whole names said so; else nothing."""

    def is_named(split: str, path: Path) -> bool:
        own_names = (split, *SPLITS.get(split, ()))
        is_inside = path.parent != folder and path.parent.name.lower() in own_names
        return split in chosen or is_inside or unsharded_name(path) in own_names

    is_plain = True
    for split, paths in parts.items():
        is_plain = is_plain and all(is_named(split, path) for path in paths)
    if is_plain or sum(map(len, parts.values())) == 1:
        return ""
    texts: list[str] = []
    for split, paths in parts.items():
        names = names_of(paths)
        text = f"{split} is {', '.join(names[:SHOWN])}"
        if len(names) > SHOWN:
            text += f" and {len(names) - SHOWN} more"
        texts.append(text)
    return f"its files are read as splits by their names: {'; '.join(texts)}"


def unsharded_name(path: Path) -> str:
    """The name of a file in small letters, without its endings and without the number of a shard."""
    return SHARD.sub("", readers.stem_of(path).lower())


def is_saved_set(folder: Path) -> bool:
    """Whether `save_to_disk` of the library `datasets` wrote this folder."""
    return (folder / "state.json").exists() or (folder / "dataset_dict.json").exists()


def _data_files(folder: Path) -> dict[str, list[Path]]:
    """Data files by the name of their split or their own: shards and sub-folders count under one name."""
    files_by_name: dict[str, list[Path]] = {}
    for entry in list_entries(folder):
        if entry.name.startswith((".", "_")):
            continue
        if entry.is_dir() and entry.name.lower() in OWN_NAMES:
            inner = [path for path in list_entries(entry) if readers.format_of(path)]
            if inner:
                files_by_name.setdefault(entry.name.lower(), []).extend(inner)
        # What `datasets` writes beside its tables is JSON as well, but no rows.
        elif entry.is_file() and readers.format_of(entry) and not entry.name.startswith(("dataset_info", "state.")):
            files_by_name.setdefault(unsharded_name(entry), []).append(entry)
    return files_by_name


def files_of(source: str | Path) -> dict[str, str]:
    """Split -> its file, for splits of a local source that have one."""
    path = Path(source).expanduser()
    if not path.is_dir() or is_saved_set(path):
        return {}
    return {split: str(files[0]) for split, files in locate(path)[0].items() if len(files) == 1}


def left_out(source: str | Path) -> list[str]:
    """Names of data files in a folder that `read` does not use, so that it can be said."""
    path = Path(source).expanduser()
    if not path.is_dir() or is_saved_set(path):
        return []
    return sorted(names_of(locate(path)[1]))


def names_of(paths: Iterable[Path]) -> list[str]:
    """The names of files, without their folders."""
    return [path.name for path in paths]


def list_entries(folder: Path) -> list[Path]:
    """What lies in a folder, by name."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}", "check its permissions") from None
