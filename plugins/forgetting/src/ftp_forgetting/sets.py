"""The general text and tasks: those that come with the plugin, or the user's."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftp.errors import Problem, UserError

OURS = Path(__file__).parent / "general"
TASKS = ("topic", "tense", "question")
LEAST_DOCUMENTS = 10
LEAST_ROWS = 40
LEAST_OF_CLASS = 10
MOST_DOCUMENTS = 400
MOST_ROWS = 400


@dataclass(frozen=True)
class Texts:
    """General documents and where they are from."""

    documents: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class Task:
    """A general task: short texts and the number of the class of each."""

    name: str
    texts: tuple[str, ...]
    labels: tuple[int, ...]


def texts(file: str | None, general: Any = None) -> Texts:
    """The user's `file`, else the data's own split `general` where it has text, else ours. UserError names what is wrong."""
    if file is not None:
        rows = _rows(file, "--forgetting.text", ("text",))
        found = [one for one in rows["text"][:] if isinstance(one, str) and one.strip()]
        if len(found) < LEAST_DOCUMENTS:
            raise UserError(f"--forgetting.text {file}: {len(found)} documents with text", f"give {LEAST_DOCUMENTS} at least")
        return Texts(_some(found, MOST_DOCUMENTS), file)
    if general is not None and "text" in (general.column_names or ()):
        found = [one for one in general["text"][:] if isinstance(one, str) and one.strip()]
        if len(found) >= LEAST_DOCUMENTS:
            return Texts(_some(found, MOST_DOCUMENTS), "the split general")
    lines = (OURS / "text.txt").read_text(encoding="utf-8").splitlines()
    return Texts(tuple(line for line in lines if line.strip()), "ours (English)")


def tasks(files: Sequence[str]) -> list[Task]:
    """The user's tasks, else ours. UserError names what is wrong with all of them at once."""
    if not files:
        return [_ours(name) for name in TASKS]
    found, problems = list[Task](), list[Problem]()
    for file in files:
        try:
            found.append(_theirs(file))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(problems)
    return found


def _ours(name: str) -> Task:
    with (OURS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return _task(name, [row["text"] for row in rows], [row["label"] for row in rows])


def _theirs(file: str) -> Task:
    rows = _rows(file, "--forgetting.tasks", ("text", "label"))
    pairs = [(text, label) for text, label in zip(rows["text"][:], rows["label"][:], strict=True)
             if isinstance(text, str) and text.strip() and label is not None]
    pairs = list(_some(pairs, MOST_ROWS))
    counts = Counter(label for _, label in pairs)
    if len(pairs) < LEAST_ROWS or len(counts) < 2 or min(counts.values()) < LEAST_OF_CLASS:
        told = ", ".join(f"{label}: {count}" for label, count in counts.most_common(5))
        raise UserError(f"--forgetting.tasks {file}: {len(pairs)} rows of {len(counts)} classes ({told})",
                        f"a task has two classes at least, {LEAST_OF_CLASS} rows of each, {LEAST_ROWS} in all")
    return _task(Path(file).name.split(".")[0], [text for text, _ in pairs], [label for _, label in pairs])


def _task(name: str, lines: Sequence[str], labels: Sequence[Any]) -> Task:
    numbers = {label: number for number, label in enumerate(sorted(set(labels), key=str))}
    return Task(name, tuple(lines), tuple(numbers[label] for label in labels))


def _rows(file: str, flag: str, columns: Sequence[str]) -> Any:
    from ftp.data.read import read

    if not Path(file).expanduser().exists():
        raise UserError(f"{flag} {file}: there is no such file", f"name a file with the columns {', '.join(columns)}")
    found = read(file)
    rows = found.get("general") or next(iter(found.values()))
    lacking = [name for name in columns if name not in (rows.column_names or ())]
    if lacking:
        raise UserError(f"{flag} {file}: no column {' and no column '.join(lacking)}; it has: {', '.join(rows.column_names)}",
                        f"name a file with the columns {', '.join(columns)}")
    return rows


def _some(found: Sequence[Any], most: int) -> tuple[Any, ...]:
    """A fixed sample of more than `most`, in order; the same in every run."""
    import numpy as np

    if len(found) <= most:
        return tuple(found)
    return tuple(found[i] for i in np.sort(np.random.default_rng(0).choice(len(found), most, replace=False)))
