"""The general text and tasks: those that come with the plugin, or the user's."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ftp import Problem, UserError

if TYPE_CHECKING:
    from datasets import Dataset

T = TypeVar("T")

OURS = Path(__file__).parent / "general"
TASKS = ("topic", "tense", "question")
LEAST_DOCUMENTS = 10
"""Documents below which a mean over them is chance."""
LEAST_ROWS = 40
LEAST_OF_CLASS = 10
"""Rows of a class below which five folds hold too few of it."""
MOST_DOCUMENTS = 400
MOST_ROWS = 400


@dataclass(frozen=True)
class Texts:
    """General documents and where they are from."""

    documents: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class Task:
    """A general task: short texts and the class number of each."""

    name: str
    texts: tuple[str, ...]
    labels: tuple[int, ...]


def texts(file: str | None, general: Dataset | None = None) -> Texts:
    """The user's file, else the data's own split `general` where it has text, else ours.

    Args:
        general: the split of the data; None: it has none.

    Raises:
        UserError: the file cannot be used.
    """
    if file is not None:
        documents = _with_text(_read_rows(file, "--forgetting.text", ("text",)))
        if len(documents) < LEAST_DOCUMENTS:
            raise UserError(
                f"--forgetting.text {file}: {len(documents)} documents with text",
                f"give {LEAST_DOCUMENTS} at least",
            )
        return Texts(_sample(documents, MOST_DOCUMENTS), file)
    if general is not None and "text" in (general.column_names or ()):
        documents = _with_text(general)
        if len(documents) >= LEAST_DOCUMENTS:
            return Texts(_sample(documents, MOST_DOCUMENTS), "the split general")
    lines = (OURS / "text.txt").read_text(encoding="utf-8").splitlines()
    return Texts(tuple(line for line in lines if line.strip()), "ours (English)")


def _with_text(rows: Dataset) -> list[str]:
    return [text for text in rows["text"][:] if _is_text(text)]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def tasks(files: Sequence[str]) -> list[Task]:
    """The user's tasks, else ours.

    Raises:
        UserError: names what is wrong with all files at once.
    """
    if not files:
        return [_read_own_task(name) for name in TASKS]
    read_tasks: list[Task] = []
    problems: list[Problem] = []
    for file in files:
        try:
            read_tasks.append(_read_task(file))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(problems)
    return read_tasks


def _read_own_task(name: str) -> Task:
    with (OURS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return _make_task(name, [(row["text"], row["label"]) for row in rows])


def _read_task(file: str) -> Task:
    """A task of the user's."""
    rows = _read_rows(file, "--forgetting.tasks", ("text", "label"))
    labelled: list[tuple[str, object]] = []
    for text, label in zip(rows["text"][:], rows["label"][:], strict=True):
        if _is_text(text) and label is not None:
            labelled.append((text, label))
    pairs = _sample(labelled, MOST_ROWS)
    counts = Counter(label for _, label in pairs)
    is_small = len(pairs) < LEAST_ROWS or len(counts) < 2
    if is_small or min(counts.values()) < LEAST_OF_CLASS:
        shown = ", ".join(f"{label}: {count}" for label, count in counts.most_common(5))
        raise UserError(
            f"--forgetting.tasks {file}: {len(pairs)} rows of {len(counts)} classes ({shown})",
            f"a task has two classes at least, {LEAST_OF_CLASS} rows of each, {LEAST_ROWS} in all",
        )
    return _make_task(Path(file).name.split(".")[0], pairs)


def _make_task(name: str, pairs: Sequence[tuple[str, object]]) -> Task:
    """A task of pairs of a text and its class."""
    classes = sorted({label for _, label in pairs}, key=str)
    class_index = {label: index for index, label in enumerate(classes)}
    task_texts = tuple(text for text, _ in pairs)
    return Task(name, task_texts, tuple(class_index[label] for _, label in pairs))


def _read_rows(file: str, flag: str, columns: Sequence[str]) -> Dataset:
    """The rows of a user's file: of its split `general`, where it has one.

    Raises:
        UserError: there is no such file, or it lacks a column.
    """
    from ftp.data import read_rows

    remedy = f"name a file with the columns {', '.join(columns)}"
    if not Path(file).expanduser().exists():
        raise UserError(f"{flag} {file}: there is no such file", remedy)
    splits = read_rows(file)
    rows = splits.get("general") or next(iter(splits.values()))
    present = rows.column_names or ()
    missing = [name for name in columns if name not in present]
    if missing:
        raise UserError(
            f"{flag} {file}: no column {' and no column '.join(missing)}; "
            f"it has: {', '.join(rows.column_names)}",
            remedy,
        )
    return rows


def _sample(items: Sequence[T], most: int) -> tuple[T, ...]:
    """At most so many of the items, in order; the same ones in every run."""
    import numpy as np

    if len(items) <= most:
        return tuple(items)
    indices = np.sort(np.random.default_rng(0).choice(len(items), most, replace=False))
    return tuple(items[index] for index in indices)
