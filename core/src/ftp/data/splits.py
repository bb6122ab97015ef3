"""Cut a missing validation split from the training rows: the same rows in every process, equal rows on one side."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from ftp import forms
from ftp.data import tables, turns
from ftp.errors import Problem, UserError
from ftp.types import Row

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset, IterableDataset
    from numpy.typing import NDArray

    from ftp.data.row_types import Rows

COUNTED = "rows count from 0 (those of train without the ones that were cut for validation)"
"""Whose numbers a plugin tells: those of the split that it sees, which may not be the file's."""

STREAM_ROWS = 1000
"""Rows of validation cut from a stream at most."""


def complete(
    splits: Mapping[str, Rows],
    *,
    seed: int,
    validation_share: float = 0.1,
    group: str | None = None,
    form: str,
    refused: list[Problem] | None = None,
) -> tuple[dict[str, Rows], list[str]]:
    """The splits with a `validation`, cut from `train` where there is none; and notes to tell.

    Which rows are cut depends on their content and the seed alone. Classes keep their shares where they can. Rows of
    equal text (lower case, punctuation aside; for questions equal context, for preferences and prompts equal prompt)
    or of equal value in the column `group` stay on one side, and so does a chain of such rows. `test` is never cut.
    From a stream at most 1000 rows are cut, found by their hash, and kept out of the stream.

    Args:
        splits: split -> its rows, in the columns of `form`; only train may be a stream.
        seed: decides which rows are cut.
        validation_share: how much of train is cut, between 0 and 1.
        group: the column whose rows of one value stay on one side; None: there is no such column.
        form: the form of the rows.
        refused: for a look at rows that is no run: gets what a run would refuse, and the splits stay as they are; None: that
            is raised.

    Raises:
        UserError: no train, too few rows or groups to cut, no column `group`; one `id` for two different rows of a split
            (the same id in two splits is a note: many sets number each file from 0).
    """
    try:
        return _completed(splits, _Cut(seed, validation_share, group, form))
    except UserError as error:
        if refused is None:
            raise
        refused.extend(error.problems)
    return dict(splits), []


@dataclass(frozen=True)
class _Cut:
    """How a validation split is cut, as `complete` is told."""

    seed: int
    share: float
    group: str | None
    form: str

    def keys_of(self, row: Row) -> list[int]:
        """Hashes that bind a row to others: of its words and, where it has one, of its group."""
        # A letter before each, so that a text and a group of the same spelling are two keys.
        keys = [self._hash("t" + words(row, self.form))]
        if self.group is not None and row[self.group] is not None:
            keys.append(self._hash(f"g{row[self.group]!r}"))
        return keys

    def _hash(self, text: str) -> int:
        """A number below 2**64."""
        return int.from_bytes(hashlib.blake2b(f"{self.seed}|{text}".encode(), digest_size=8).digest(), "big")


def _completed(splits: Mapping[str, Rows], cut: _Cut) -> tuple[dict[str, Rows], list[str]]:
    from datasets import Dataset

    if "train" not in splits:
        raise UserError(
            f"there is no training split; there is: {', '.join(splits) or 'nothing'}",
            "name the file train.EXT, or give the file or folder that holds the training rows",
        )
    notes = _check_ids(splits)
    if "validation" in splits:
        return dict(splits), notes
    train = splits["train"]
    if cut.group is not None and cut.group not in (train.column_names or ()):
        raise UserError(
            f"there is no column '{cut.group}' to group rows by; there is: {', '.join(train.column_names or ())}",
            "name one of the columns with --group-column",
        )
    if isinstance(train, Dataset):
        kept, chosen = _choose_rows(train, cut)
        rest = train.select(kept)
        validation = train.select(chosen)
        remainder = f"{len(rest)} rows stay"
    else:
        rest, validation = _cut_stream(train, cut)
        remainder = "the rest stays a stream"
    notes.append(f"validation: {len(validation)} rows cut from train (seed {cut.seed}, equal rows together); {remainder}")
    # Splits are shown in this order.
    others = {split: rows for split, rows in splits.items() if split != "train"}
    return {"train": rest, "validation": validation, **others}, notes


def words(row: Row, form: str) -> str:
    """The words that make a row what it is, in lower case, punctuation and space aside."""
    spec = forms.get(form)
    if spec.without_answer is not None:
        row = spec.without_answer(row)
    text = " ".join(_flat(row.get(column)) for column in spec.key_columns)
    return " ".join(re.findall(r"\w+", text.casefold())) or text.strip()


def _flat(value: object) -> str:
    """All that a value of a row says, on one line."""
    if isinstance(value, Mapping):
        return turns.words(value) if "role" in value else " ".join(map(_flat, value.values()))
    if isinstance(value, list):
        return " ".join(map(_flat, value))
    return "" if value is None else str(value)


def _bound_groups(keys: Sequence[list[int]]) -> list[list[int]]:
    """The rows that a common key binds together, directly or through others: row numbers by group.

    Args:
        keys: those of each row.
    """
    parent = list(range(len(keys)))  # of a row in the tree of its group (union-find)

    def root(row_index: int) -> int:
        while parent[row_index] != row_index:
            parent[row_index] = parent[parent[row_index]]
            row_index = parent[row_index]
        return row_index

    first_with: dict[int, int] = {}
    # The first row with a key is the root of all later ones with it.
    for row_index, own_keys in enumerate(keys):
        for key in own_keys:
            parent[root(row_index)] = root(first_with.setdefault(key, row_index))
    groups: dict[int, list[int]] = defaultdict(list)
    for row_index in range(len(keys)):
        groups[root(row_index)].append(row_index)
    return list(groups.values())


def bound_rows(rows: Dataset, *, seed: int, group: str | None, form: str) -> list[list[int]]:
    """The numbers of rows that are to stay on one side of any cut, by group; most rows are a group of their own.

    Args:
        rows: in the columns of `form`.
        seed: of the hashes; groups do not depend on it.
        group: the column whose rows of one value belong together; None: there is no such column.
        form: the form of the rows.
    """
    return _bound_groups(_keys_of(rows, _Cut(seed, 0.0, group, form)))


def cut_validation(
    rows: Dataset, *, seed: int, share: float, group: str | None, form: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers of the rows that a run would train on, and of those that it would cut for validation.

    Args:
        rows: in the columns of `form`.
        seed: decides which rows are cut.
        share: how much is cut, between 0 and 1.
        group: the column whose rows of one value stay on one side; None: there is no such column.
        form: the form of the rows.

    Raises:
        UserError: too few rows or groups to cut.
    """
    return _choose_rows(rows, _Cut(seed, share, group, form))


def _keys_of(rows: Dataset, cut: _Cut) -> list[list[int]]:
    """The keys of each row; only the columns that they are made of are read."""
    columns = [*forms.get(cut.form).key_columns, *([cut.group] if cut.group else [])]
    slim = rows.select_columns([column for column in dict.fromkeys(columns) if column in rows.column_names])
    return list(map(cut.keys_of, slim))


def _choose_rows(rows: Dataset, cut: _Cut) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers of the rows that stay, and of those that are cut: whole groups of equal rows, of each class its share."""
    import numpy as np

    keys = _keys_of(rows, cut)
    groups = _bound_groups(keys)
    if len(groups) < 2:
        raise UserError(
            f"train has {len(rows)} rows in {len(groups)} group of equal rows: too few to cut a validation split from",
            "give more rows, or a validation split of your own",
        )
    # In an order that depends on what rows say, and not on where they stand.
    groups.sort(key=lambda group: min(keys[row_index][-1] for row_index in group))
    by_class = _by_class(rows, groups, cut.form)
    quotas = _quotas({label: sum(map(len, of_class)) for label, of_class in by_class.items()}, cut.share)
    chosen: list[int] = []
    for label, of_class in by_class.items():
        room = quotas[label]
        for group in of_class:
            if len(group) <= room:
                chosen += group
                room -= len(group)
    if not chosen:  # every group is larger than its share: the smallest one is cut
        chosen = min(groups, key=len)
    is_chosen = np.zeros(len(rows), dtype=bool)
    is_chosen[chosen] = True
    return np.flatnonzero(~is_chosen), np.flatnonzero(is_chosen)


def _by_class(rows: Dataset, groups: Sequence[list[int]], form: str) -> dict[object, list[list[int]]]:
    """Groups of rows by the label that most of their rows have; under None where rows of this form have none."""
    columns = forms.get(form).of_kind("class")
    labels = rows[columns[0].name][:] if columns else [None] * len(rows)
    by_class: dict[object, list[list[int]]] = defaultdict(list)
    for group in groups:
        label_counts = Counter(labels[row_index] for row_index in group)
        [(label, _)] = label_counts.most_common(1)
        by_class[label].append(group)
    return by_class


def _quotas(sizes: Mapping[object, int], share: float) -> dict[object, int]:
    """How many rows of each class to cut: shares of the whole, largest remainders first, never all of a class.

    Args:
        sizes: the label of a class -> its rows.
    """
    total = max(1, round(share * sum(sizes.values())))
    quotas = {label: min(int(share * size), size - 1) for label, size in sizes.items()}
    for label in sorted(sizes, key=lambda label: (quotas[label] - share * sizes[label], str(label))):
        if sum(quotas.values()) < total and quotas[label] < sizes[label] - 1:
            quotas[label] += 1
    return quotas


def _cut_stream(rows: IterableDataset, cut: _Cut) -> tuple[IterableDataset, Dataset]:
    """The stream without the rows that are cut, and these."""
    key_index = 0 if cut.group is None else -1  # a group is cut whole
    most = cut.share * 2**64
    # A stream cannot be counted, so that the hash of each row alone decides.
    chosen = list(islice((row for row in rows if cut.keys_of(row)[key_index] < most), STREAM_ROWS))
    if not chosen:
        raise UserError(
            "the stream gave no rows for a validation split",
            "give a validation split of your own, or read without streaming",
        )
    # Also rows behind those that were read: equal ones stay on one side.
    chosen_keys = set[int]().union(*map(cut.keys_of, chosen))
    rest = rows.filter(lambda row: chosen_keys.isdisjoint(cut.keys_of(row)))
    if next(iter(rest), None) is None:
        raise UserError("the stream has too few rows to cut a validation split from", "give a validation split of your own")
    return rest, tables.from_rows(chosen, rows.features)


def _check_ids(splits: Mapping[str, Rows]) -> list[str]:
    """Notes about ids met twice; UserError for one id on two different rows of one split. Streams are not checked."""
    from datasets import Dataset

    notes: list[str] = []
    split_of_id: dict[object, str] = {}
    for split, rows in splits.items():
        if not isinstance(rows, Dataset) or "id" not in rows.column_names:
            continue
        ids = rows["id"][:]
        repeated = {value for value, count in Counter(ids).items() if count > 1 and value is not None}
        if repeated:
            _require_equal_rows(rows, ids, repeated, split)
            notes.append(f"{split}: {len(repeated)} ids are there more than once, each time on the same row")
        common = split_of_id.keys() & (set(ids) - {None})
        if common:
            others = sorted({split_of_id[value] for value in common})
            notes.append(f"{split}: {len(common)} ids are also in {', '.join(others)}")
        split_of_id.update(dict.fromkeys(ids, split))
    return notes


def _require_equal_rows(rows: Dataset, ids: Sequence[object], repeated: set[object], split: str) -> None:
    """Raise `UserError` where an id that is there more than once stands for different rows."""
    row_indices_of: dict[object, list[int]] = defaultdict(list)
    for row_index, value in enumerate(ids):
        if value in repeated:
            row_indices_of[value].append(row_index)
    for value, row_indices in row_indices_of.items():
        first, *others = row_indices
        if any(rows[row_index] != rows[first] for row_index in others):
            raise UserError(
                f"{split}: the id {value!r} stands for different rows ({', '.join(map(str, row_indices[:5]))}, "
                f"counted from 0); {len(repeated)} ids are there more than once",
                "an id names one row: correct the ids, or give the column another name",
                "--columns example_id=id",
            )
