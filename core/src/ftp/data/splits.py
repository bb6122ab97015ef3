"""Cut a missing validation split from the training rows: the same rows in every process, equal rows on one side."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from ftp import forms
from ftp.data import tables, turns
from ftp.errors import Problem, UserError

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset, IterableDataset

    Rows: TypeAlias = Dataset | IterableDataset

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
        refused: for a look at rows that is no run: gets what a run would refuse, and the splits stay as they are.

    Raises:
        UserError: no train, too few rows or groups to cut, no column `group`; one `id` for two different rows of a split
            (the same id in two splits is a note: many sets number each file from 0).
    """
    try:
        return _completed(splits, seed, validation_share, group, form)
    except UserError as error:
        if refused is None:
            raise
        refused.extend(error.problems)
    return dict(splits), []


def _completed(
    splits: Mapping[str, Rows], seed: int, validation_share: float, group: str | None, form: str
) -> tuple[dict[str, Rows], list[str]]:
    if "train" not in splits:
        raise UserError(
            f"there is no training split; there is: {', '.join(splits) or 'nothing'}",
            "name the file train.EXT, or give the file or folder that holds the training rows",
        )
    splits = dict(splits)
    notes = _check_ids(splits)
    if "validation" in splits:
        return splits, notes
    train = splits["train"]
    if group is not None and group not in (train.column_names or ()):
        raise UserError(
            f"there is no column '{group}' to group rows by; there is: {', '.join(train.column_names or ())}",
            "name one of the columns with --group-column",
        )
    from datasets import Dataset

    if isinstance(train, Dataset):
        kept, cut = _cut(train, seed, validation_share, group, form)
        rest, held = train.select(kept), train.select(cut)
    else:
        rest, held = _cut_stream(train, seed, validation_share, group, form)
    # in this order splits are shown
    done: dict[str, Rows] = {"train": rest, "validation": held}
    done.update({split: rows for split, rows in splits.items() if split != "train"})
    remainder = f"{len(rest)} rows stay" if isinstance(rest, Dataset) else "the rest stays a stream"
    notes.append(f"validation: {len(held)} rows cut from train (seed {seed}, equal rows together); {remainder}")
    return done, notes


def words(row: Mapping[str, Any], form: str) -> str:
    """The words that make a row what it is, in lower case, punctuation and space aside."""
    spec = forms.get(form)
    asked = row if spec.without_answer is None else spec.without_answer(row)
    said = " ".join(_flat(asked.get(column)) for column in spec.key_columns)
    return " ".join(re.findall(r"\w+", said.casefold())) or said.strip()


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return turns.words(value) if "role" in value else " ".join(_flat(item) for item in value.values())
    if isinstance(value, list):
        return " ".join(_flat(item) for item in value)
    return "" if value is None else str(value)


def _hash(seed: int, text: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}|{text}".encode(), digest_size=8).digest(), "big")


def _keys(row: Mapping[str, Any], seed: int, group: str | None, form: str) -> list[int]:
    """Hashes that bind a row to others: of its words and, where it has one, of its group."""
    found = [_hash(seed, "t" + words(row, form))]
    if group is not None and row[group] is not None:
        found.append(_hash(seed, f"g{row[group]!r}"))
    return found


def _components(keys: Sequence[list[int]]) -> list[list[int]]:
    """Rows bound together by a common key, directly or through others (union-find)."""
    parent = list(range(len(keys)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    first: dict[int, int] = {}
    for place, bound in enumerate(keys):
        for key in bound:
            parent[root(place)] = root(first.setdefault(key, place))
    found: dict[int, list[int]] = defaultdict(list)
    for place in range(len(keys)):
        found[root(place)].append(place)
    return list(found.values())


def _cut(rows: Dataset, seed: int, share: float, group: str | None, form: str) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    columns = [*forms.get(form).key_columns, *([group] if group else [])]
    slim = rows.select_columns([column for column in dict.fromkeys(columns) if column in rows.column_names])
    keys = [_keys(row, seed, group, form) for row in slim]
    groups = _components(keys)
    if len(groups) < 2:
        raise UserError(
            f"train has {len(rows)} rows in {len(groups)} group of equal rows: too few to cut a validation split from",
            "give more rows, or a validation split of your own",
        )
    classes = forms.get(form).of_kind("class")
    labels = rows[classes[0].name][:] if classes else [None] * len(rows)
    by_class: dict[Any, list[list[int]]] = defaultdict(list)
    for places in groups:
        by_class[Counter(labels[place] for place in places).most_common(1)[0][0]].append(places)
    chosen: list[int] = []
    for name, wanted in _quotas({name: sum(map(len, found)) for name, found in by_class.items()}, share).items():
        taken = 0
        for places in sorted(by_class[name], key=lambda places: min(keys[place][-1] for place in places)):
            if taken + len(places) <= wanted:
                chosen += places
                taken += len(places)
    if not chosen:
        chosen = min(groups, key=lambda places: (len(places), min(keys[place][-1] for place in places)))
    mask = np.zeros(len(rows), dtype=bool)
    mask[chosen] = True
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def _quotas(sizes: Mapping[Any, int], share: float) -> dict[Any, int]:
    """How many rows of each class to cut: shares of the whole, largest remainders first, never all of a class."""
    total = max(1, round(share * sum(sizes.values())))
    quotas = {name: min(int(share * size), size - 1) for name, size in sizes.items()}
    order = sorted(sizes, key=lambda name: (quotas[name] - share * sizes[name], str(name)))
    for name in order:
        if sum(quotas.values()) < total and quotas[name] < sizes[name] - 1:
            quotas[name] += 1
    return quotas


def _cut_stream(rows: IterableDataset, seed: int, share: float, group: str | None, form: str) -> tuple[IterableDataset, Dataset]:
    which = 0 if group is None else -1  # a group is cut whole

    def picked(row: Mapping[str, Any]) -> bool:
        return _keys(row, seed, group, form)[which] < share * 2**64

    held = list(islice((row for row in rows if picked(row)), STREAM_ROWS))
    if not held:
        raise UserError(
            "the stream gave no rows for a validation split",
            "give a validation split of your own, or read without streaming",
        )
    bound = {key for row in held for key in _keys(row, seed, group, form)}
    rest = rows.filter(lambda row: bound.isdisjoint(_keys(row, seed, group, form)))
    if next(iter(rest), None) is None:
        raise UserError("the stream has too few rows to cut a validation split from", "give a validation split of your own")
    return rest, tables.from_rows(held, rows.features)


def _check_ids(splits: Mapping[str, Rows]) -> list[str]:
    """Notes about ids met twice; UserError for one id on two different rows of one split. Streams are not checked."""
    from datasets import Dataset

    notes: list[str] = []
    seen: dict[Any, tuple[str, int]] = {}
    for split, rows in splits.items():
        if not isinstance(rows, Dataset) or "id" not in rows.column_names:
            continue
        ids = rows["id"][:]
        twice = {value for value, count in Counter(ids).items() if count > 1 and value is not None}
        if twice:
            held: dict[Any, list[int]] = defaultdict(list)
            for place, value in enumerate(ids):
                if value in twice:
                    held[value].append(place)
            for value, places in held.items():
                if any(rows[place] != rows[places[0]] for place in places[1:]):
                    raise UserError(
                        f"{split}: the id {value!r} stands for different rows ({', '.join(map(str, places[:5]))}, "
                        f"counted from 0); {len(twice)} ids are there more than once",
                        "an id names one row: mend the ids, or give the column another name",
                        "--columns example_id=id",
                    )
            notes.append(f"{split}: {len(twice)} ids are there more than once, each time on the same row")
        common = [value for value in set(ids) if value is not None and value in seen]
        if common:
            with_ = sorted({seen[value][0] for value in common})
            notes.append(f"{split}: {len(common)} ids are also in {', '.join(with_)}")
        seen.update({value: (split, place) for place, value in enumerate(ids)})
    return notes
