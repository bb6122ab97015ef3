"""Labels of any spelling -> class numbers and names, the same for all splits."""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from ftp.data import spellings, unsupported_labels
from ftp.errors import Problem, UserError, nearest
from ftp.forms import ColumnKind

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

    Rows: TypeAlias = Dataset | IterableDataset

NUMBER = re.compile(r"-?\d+(\.\d+)?")


def encode(
    splits: Mapping[str, Rows],
    labels: Sequence[str] = (),
    column: str = "label",
    kind: ColumnKind = "class",
    *,
    join: bool = False,
    source_name: str = "data",
) -> tuple[dict[str, Rows], tuple[str, ...], list[str]]:
    """Make `column` a class number in every split. Returns the splits, the class names in order, and notes to tell.

    Labels may be words, whole numbers (named by a column `label_name` where there is one), true/false, whole decimals
    (0.0, 1.0: told), or a ClassLabel; for the kinds `tags` and `classes`, lists of these. Classes are taken over all splits and
    sorted, numbers by number. `labels` fixes names and order: words must be among them, numbers must count them from 0.
    A split whose labels are all -1 (hidden labels on the hub) is left out and told; so is a class that training rows
    lack. Spellings of what is probably one class (`good`, `Good`) are told, and with `join` become one, in its most frequent
    spelling; told are also words that say that a cell is empty. `source_name`: for messages.
    UserError: numbers or several labels a row, which are other tasks; a label that is missing, NaN or another decimal
    (counted, first rows listed), a value that `labels` does not name, one class only in train.
    """
    splits = dict(splits)
    if not splits:
        return {}, tuple(labels), []
    notes: list[str] = []
    counts = {split: _counts(rows, column) for split, rows in splits.items()}
    found = {split: set(values) for split, values in counts.items()}
    for split in [split for split, values in found.items() if values == {-1}]:
        notes.append(f"{split}: all labels are -1, which hides them; the split is left out")
        del splits[split], found[split], counts[split]
    if kind == "class":
        _refuse_other_tasks(counts, source_name)
    _refuse_missing(splits, found, column)
    known = {tuple(_class_names(rows, column) or ()) for rows in splits.values()}
    if not labels and len(known) == 1:
        labels = next(iter(known))  # the order that a ClassLabel of all splits has is kept
    naming = _naming(splits, found, column, notes, named=bool(labels))
    is_raw = any(_class_names(rows, column) is None for rows in splits.values())  # what is numbered already was told before
    by_name = _by_name(counts.values(), naming)
    variants = spellings.find_variants({**dict.fromkeys(labels, 0), **by_name}, labels)
    if join:
        usual = spellings.usual_spellings({*naming.values(), *labels}, variants)
        naming = {value: usual[name] for value, name in naming.items()}
        labels = tuple(dict.fromkeys(usual[name] for name in labels))
    if is_raw:
        notes += _spelling_notes(variants, by_name, column, source_name, join)
    named = {split: {value: naming[value] for value in values} for split, values in found.items()}
    used = {name for values in named.values() for name in values.values()}
    if labels:
        names = tuple(labels)
        numbers = _numbers(used, names, naming)
        by_place = sorted((number, name) for name, number in numbers.items() if name in used and name not in names)
        if by_place:
            notes.append(f"{column}: " + ", ".join(f"{name} = {names[number]}" for number, name in by_place[:10]))
    else:
        # numbers that have names keep their order, other names are sorted
        numbered = {naming[value]: value for value in naming if not isinstance(value, str)}
        names = tuple(sorted(used, key=lambda name: (name not in numbered, numbered.get(name, 0), _order(name))))
        if kind == "tags":
            names = tuple(sorted(names, key=lambda name: (name != "O", name[2:] if name[1:2] == "-" else name, name)))
        numbers = {name: place for place, name in enumerate(names)}
    learnt = set(named["train"].values()) if "train" in named else used
    if len(learnt) < 2 and ("train" in named or not labels):
        raise UserError(
            f"all training rows have the same {column}, {next(iter(learnt), 'none')!r}; there is nothing to tell apart",
            f"give rows of at least two classes, or another column with --columns {column}=NAME",
        )
    notes += _absent(named, names, numbers)
    places = {value: numbers[name] for value, name in naming.items()}
    return {split: _cast(rows, column, kind, places, names) for split, rows in splits.items()}, names, notes


def _counts(rows: Rows, column: str) -> Counter[Any]:
    """How often each value of the column occurs; a stream is read once from end to end."""
    from datasets import Dataset

    if not isinstance(rows, Dataset):
        return Counter(item for value in rows.select_columns([column]) for item in _items(value[column]))
    import pyarrow as pa
    import pyarrow.compute as pc

    counts = Counter[Any]()
    for start in range(0, len(rows), 100_000):
        values = rows.select_columns([column]).with_format("arrow")[start : start + 100_000].column(column)
        while pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
            values = pc.list_flatten(values)
        # not as a dictionary: NaN equals nothing, not even itself
        for pair in pc.value_counts(values).to_pylist():
            counts[pair["values"]] += pair["counts"]
    return counts


def _by_name(counts: Iterable[Mapping[Any, int]], naming: Mapping[Any, str]) -> Counter[str]:
    """How often each class occurs in all splits together."""
    total = Counter[str]()
    for values in counts:
        for value, count in values.items():
            total[naming[value]] += count
    return total


def _refuse_other_tasks(counts: Mapping[str, Mapping[Any, int]], source_name: str) -> None:
    """Raise `UserError` for labels that are numbers to be predicted, or several in a cell."""
    problems = []
    for split, values in counts.items():
        source = f"{source_name} ({split})"
        problem = unsupported_labels.numbers_problem(source, values) or unsupported_labels.several_labels_problem(source, values)
        problems += [problem] if problem is not None else []
    if problems:
        raise UserError(problems)


def _spelling_notes(
    variants: Sequence[spellings.Variants], counts: Mapping[str, int], column: str, source_name: str, join: bool
) -> list[str]:
    """A word about spellings of one class, and about words for nothing."""
    notes = []
    spelt = [group for group in variants if sum(count > 0 for _, count in group.counts) > 1]
    for group in spelt[:5]:
        if join:
            notes.append(f"{column}: joined as {group.usual!r}: {group}")
        else:
            notes.append(f"{column}: probably spellings of one class, and {len(group.counts)} classes now: {group}")
    if spelt and not join:
        more = f" (and of {len(spelt) - 5} more classes)" if len(spelt) > 5 else ""
        notes.append(f"to join the spellings of a class{more}: --data {shlex.quote(source_name)} {spellings.JOIN}")
    for name in spellings.words_for_nothing(counts):
        notes.append(f"{column}: {name!r} ({counts[name]:,}) is a class now; where it says that there is no label, leave these "
                     "rows out")
    return notes


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _missing(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value) or value != int(value)
    return value is None or not isinstance(value, str | int) or (isinstance(value, str) and not value.strip())


def _refuse_missing(splits: Mapping[str, Rows], found: Mapping[str, set[Any]], column: str) -> None:
    wrong = []
    for split, values in found.items():
        if not any(_missing(value) for value in values):
            continue
        rows = [
            (place, row[column])
            for place, row in enumerate(splits[split].select_columns([column]))
            if any(_missing(value) for value in _items(row[column]))
        ]
        first = ", ".join(f"{place} ({value!r:.40})" for place, value in islice(rows, 5))
        wrong.append(
            Problem(
                f"{split}: {len(rows)} rows have no usable {column}; the first, counted from 0: {first}",
                "a label is a word, a whole number, or true/false; decimals such as 0.5 are no classes; mend or leave out these "
                "rows, or map another column",
                f"--columns {column}=NAME",
            )
        )
    if wrong:
        raise UserError(wrong)


def _naming(
    splits: Mapping[str, Rows], found: Mapping[str, set[Any]], column: str, notes: list[str], *, named: bool
) -> dict[Any, str]:
    """The name of every value that occurs in any split. `named`: the classes have names already."""
    everything = {value for values in found.values() for value in values}
    kinds = {type(value) for value in everything}
    naming: dict[Any, str] = {}
    if kinds == {bool}:
        if not named:
            notes.append(f"{column} is true or false; the classes are named 'false' and 'true'")
        return {value: str(value).lower() for value in everything}
    if float in kinds:
        notes.append(f"{column} is a decimal (as 1.0); taken as whole numbers")
    # beside words, true is `true`; beside numbers it is 1, for which Python takes it
    written = _as_word if not kinds & {int, float} else _as_number
    pairs: dict[Any, str] = {}
    if column == "label" and kinds <= {int, float}:
        for rows in splits.values():
            _pairs(rows, column, pairs)
    for split, rows in splits.items():
        known = _class_names(rows, column)
        if known:
            wrong = sorted(value for value in found[split] if not 0 <= value < len(known))
            if wrong:
                raise UserError(f"{split}: the labels {wrong[:5]} are outside of its {len(known)} class names")
        for value in found[split]:
            plain = value if isinstance(value, str) else pairs.get(value) or written(value)
            name = known[value] if known else plain
            if naming.setdefault(value, name) != name:
                raise UserError(
                    f"the {column} {value!r} is called {naming[value]!r} and, in {split}, {name!r}",
                    "give each label number one name in all splits",
                )
    return naming


def _as_word(value: bool) -> str:
    return str(value).lower()


def _as_number(value: float) -> str:
    return str(int(value))


def _pairs(rows: Rows, column: str, pairs: dict[Any, str]) -> None:
    """Add label number -> name from a column `label_name`; UserError where one number has two names."""
    if "label_name" not in (rows.column_names or ()) or _class_names(rows, column):
        return
    for batch in rows.select_columns([column, "label_name"]).iter(10_000):
        for value, name in set(zip(batch[column], batch["label_name"], strict=True)):
            if name is not None and pairs.setdefault(value, str(name)) != str(name):
                raise UserError(
                    f"the label {value!r} has two names in label_name: {pairs[value]!r} and {name!r}",
                    "give each label number one name",
                )
    if len(set(pairs.values())) < len(pairs):
        raise UserError(f"two label numbers have one name in label_name: {pairs}", "give each class a name of its own")


def _class_names(rows: Rows, column: str) -> list[str] | None:
    kind = (rows.features or {}).get(column)
    return getattr(getattr(kind, "feature", kind), "names", None)


def _order(name: str) -> tuple[int, float, str]:
    return (0, float(name), name) if NUMBER.fullmatch(name) else (1, 0.0, name)


def _numbers(used: set[str], names: tuple[str, ...], naming: Mapping[Any, str]) -> dict[str, int]:
    """Name -> number where names are given; label numbers without names of their own count them from 0."""
    numbers = {name: place for place, name in enumerate(names)}
    strange = sorted(used - numbers.keys(), key=_order)
    if strange and all(name.lstrip("-").isdigit() for name in used):
        outside = [name for name in strange if not 0 <= int(name) < len(names)]
        if not outside:
            return {name: int(name) for name in used}
        raise UserError(
            f"the labels {', '.join(outside[:5])} are outside of the {len(names)} classes: {', '.join(names)}",
            f"label numbers count the classes from 0 to {len(names) - 1}",
        )
    if strange and set(strange) <= {"false", "true"} and len(names) == 2 and bool in map(type, naming):
        called = [name.lower() for name in names]
        return {name: called.index(name) if set(called) == {"false", "true"} else ("false", "true").index(name) for name in used}
    if strange:
        near = nearest(strange[0], names) or nearest(strange[0].lower(), names)
        raise UserError(
            f"{len(strange)} labels are none of the classes {', '.join(names)}: {', '.join(map(repr, strange[:5]))}"
            + (f"; {near}" if near else ""),
            "spell labels as the classes are, or choose a domain whose classes these are",
            *((spellings.JOIN,) if spellings.plain_spelling(strange[0]) in map(spellings.plain_spelling, names) else ()),
        )
    return numbers


def _absent(named: Mapping[str, Mapping[Any, str]], names: tuple[str, ...], numbers: Mapping[str, int]) -> list[str]:
    """A word about classes that training rows lack."""
    if "train" not in named:
        return []
    trained = {numbers[name] for name in named["train"].values()}
    notes = []
    for split, values in named.items():
        lacking = sorted({numbers[name] for name in values.values()} - trained)
        if lacking:
            lacking_names = ", ".join(names[number] for number in lacking[:10])
            notes.append(f"{split} has classes that train lacks, which cannot be learnt: {lacking_names}")
    everywhere = {numbers[name] for values in named.values() for name in values.values()}
    unused = [name for place, name in enumerate(names) if place not in everywhere]
    return notes + ([f"no row has the class {', '.join(unused[:10])}"] if unused else [])


def _cast(rows: Rows, column: str, kind: ColumnKind, places: Mapping[Any, int], names: tuple[str, ...]) -> Rows:
    from functools import partial

    from datasets import ClassLabel, Features

    from ftp.host.quiet import without_progress_bars

    classes = ClassLabel(names=list(names))
    if _class_names(rows, column) == list(names) and all(value == place for value, place in places.items()):
        return rows
    features = Features({**rows.features, column: classes if kind == "class" else [classes]}) if rows.features else None
    change = partial(_replace, column=column, places=dict(places))
    with without_progress_bars():
        return rows.map(change, batched=True, features=features)


def _replace(batch: Mapping[str, list[Any]], *, column: str, places: Mapping[Any, int]) -> dict[str, list[Any]]:
    return {column: [[places[item] for item in value] if isinstance(value, list) else places[value] for value in batch[column]]}
