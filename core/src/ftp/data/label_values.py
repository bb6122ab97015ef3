"""The values of a column of labels: how often each occurs, which of them are no labels, and what class each means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

from ftp.errors import Problem, UserError

if TYPE_CHECKING:
    from ftp.data.row_types import Rows

LabelValue: TypeAlias = str | float
"""A label as its file has it: a word, a whole number (1.0 as well), true or false."""

Counts: TypeAlias = Mapping[LabelValue | None, int]
"""How often each value of a column occurs; None and NaN are cells without one."""

BATCH_ROWS = 100_000
"""Rows whose values are counted together."""


def count_values(rows: Rows, column: str) -> Counter[LabelValue | None]:
    """How often each value of a column (or of its lists) occurs; a stream is read once from end to end."""
    from datasets import Dataset

    # Stored rows are counted by Arrow: a large file has millions of labels and a few classes.
    counts: Counter[LabelValue | None] = Counter()
    if not isinstance(rows, Dataset):
        for row in rows.select_columns([column]):
            counts.update(_listed(row[column]))
        return counts
    import pyarrow as pa
    import pyarrow.compute as pc

    stored = rows.select_columns([column]).with_format("arrow")
    for start in range(0, len(stored), BATCH_ROWS):
        values = stored[start : start + BATCH_ROWS].column(column)
        while pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
            values = pc.list_flatten(values)
        # Not as a dictionary: NaN equals nothing, not even itself.
        for pair in pc.value_counts(values).to_pylist():
            counts[pair["values"]] += pair["counts"]
    return counts


def require_labels(splits: Mapping[str, Rows], counts: Mapping[str, Counts], column: str) -> dict[str, set[LabelValue]]:
    """The different labels of each split.

    Args:
        counts: split -> what `count_values` says of it.

    Raises:
        UserError: rows have none; they are counted and the first ones listed, for all splits at once.
    """
    labels: dict[str, set[LabelValue]] = {}
    problems: list[Problem] = []
    for split, values in counts.items():
        labels[split] = set(filter(_is_label, values))
        if len(labels[split]) < len(values):
            problems.append(_unusable_problem(split, splits[split], column))
    if problems:
        raise UserError(problems)
    return labels


def _listed(cell: LabelValue | list[LabelValue | None] | None) -> list[LabelValue | None]:
    """The values of a cell, of which a list has several."""
    return cell if isinstance(cell, list) else [cell]


def _is_label(value: object) -> TypeGuard[LabelValue]:
    """Whether a value can mean a class."""
    if isinstance(value, float):
        return value.is_integer()  # which NaN and infinity are not
    if isinstance(value, str):
        return bool(value.strip())
    return isinstance(value, int)


def _unusable_problem(split: str, rows: Rows, column: str) -> Problem:
    """What is wrong with a split in which some rows have no label."""
    unusable: list[str] = []
    for row_index, row in enumerate(rows.select_columns([column])):
        if not all(map(_is_label, _listed(row[column]))):
            unusable.append(f"{row_index} ({row[column]!r:.40})")
    return Problem(
        f"{split}: {len(unusable)} rows have no usable {column}; the first, counted from 0: {', '.join(unusable[:5])}",
        "a label is a word, a whole number, or true/false; decimals such as 0.5 are no classes; correct or leave out these "
        "rows, or map another column",
        f"--columns {column}=NAME",
    )


def name_classes(
    splits: Mapping[str, Rows], labels: Mapping[str, set[LabelValue]], column: str, notes: list[str], *, has_names: bool
) -> dict[LabelValue, str]:
    """The class that each label means, by name: that of a ClassLabel, of a column `label_name`, else as it is written.

    Args:
        labels: split -> its different labels.
        notes: gets what the user should know about how labels were read.
        has_names: the names of the classes are known already.

    Raises:
        UserError: a label means two classes, or one that its ClassLabel does not name.
    """
    all_values = set[LabelValue]().union(*labels.values())
    types = set(map(type, all_values))
    if types == {bool}:
        if not has_names:
            notes.append(f"{column} is true or false; the classes are named 'false' and 'true'")
        return {value: str(value).lower() for value in all_values}
    if float in types:
        notes.append(f"{column} is a decimal (as 1.0); taken as whole numbers")
    has_numbers = not types.isdisjoint({int, float})
    # A column of names beside that of numbers is what sets of the hub have.
    name_of_number: dict[LabelValue, str] = {}
    if column == "label" and types <= {int, float}:
        name_of_number = _read_label_names(splits.values(), column)

    class_of: dict[LabelValue, str] = {}
    for split, rows in splits.items():
        known = class_names(rows, column)
        if known:
            _require_within(labels[split], len(known), split)
        for value in labels[split]:
            if isinstance(value, str):
                name = value
            elif known:
                name = known[int(value)]
            elif name_of_number.get(value):
                name = name_of_number[value]
            else:
                # Beside words, true is `true`; beside numbers it is 1, for which Python takes it.
                name = str(int(value)) if has_numbers else str(value).lower()
            if class_of.setdefault(value, name) != name:
                raise UserError(
                    f"the {column} {value!r} is called {class_of[value]!r} and, in {split}, {name!r}",
                    "give each label number one name in all splits",
                )
    return class_of


def _require_within(values: Iterable[LabelValue], num_classes: int, split: str) -> None:
    """Raise `UserError` for numbers that a ClassLabel does not name."""
    numbers = [value for value in values if not isinstance(value, str)]
    outside = sorted(number for number in numbers if not 0 <= number < num_classes)
    if outside:
        raise UserError(f"{split}: the labels {outside[:5]} are outside of its {num_classes} class names")


def _read_label_names(splits: Iterable[Rows], column: str) -> dict[LabelValue, str]:
    """Label number -> its name in the column `label_name`, where splits have one; `UserError` unless each has one of its own."""
    names: dict[LabelValue, str] = {}
    for rows in splits:
        if "label_name" not in (rows.column_names or ()) or class_names(rows, column):
            continue
        for batch in rows.select_columns([column, "label_name"]).iter(10_000):
            # Pairs recur: a batch has as many different ones as there are classes.
            for value, name in set(zip(batch[column], batch["label_name"], strict=True)):
                if name is not None and names.setdefault(value, str(name)) != str(name):
                    raise UserError(
                        f"the label {value!r} has two names in label_name: {names[value]!r} and {name!r}",
                        "give each label number one name",
                    )
        if len(set(names.values())) < len(names):
            raise UserError(f"two label numbers have one name in label_name: {names}", "give each class a name of its own")
    return names


def class_names(rows: Rows, column: str) -> list[str] | None:
    """The names of the classes of a column that is a ClassLabel, or lists of them; None for any other."""
    column_type = (rows.features or {}).get(column)
    return getattr(getattr(column_type, "feature", column_type), "names", None)
