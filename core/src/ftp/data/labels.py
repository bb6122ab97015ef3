"""Labels of any spelling -> class numbers and names, the same for all splits."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ftp.data import label_values, spellings, unsupported_labels
from ftp.data.label_values import Counts, LabelValue, class_names
from ftp.errors import Problem, UserError, nearest
from ftp.forms import ColumnKind

if TYPE_CHECKING:
    from ftp.data.row_types import Rows

NUMBER = re.compile(r"-?\d+(\.\d+)?")

BOOLEANS = ("false", "true")
"""Names of the classes of a column of booleans, in the order of their numbers."""

SHOWN = 10
"""Classes that a note lists."""


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
    sorted, numbers by number. A split whose labels are all -1 (hidden labels on the hub) is left out and told; so is a class
    that training rows lack. Spellings of what is probably one class (`good`, `Good`) are told, and words that say that a cell
    is empty.

    Args:
        labels: the classes in the order of their numbers; words must be among them, numbers must count them from 0.
        join: spellings of one class become its most frequent one.
        source_name: for messages.

    Raises:
        UserError: numbers or several labels a row, which are other tasks; a label that is missing, NaN or another decimal
            (counted, first rows listed), a value that `labels` does not name, one class only in train.
    """
    splits = dict(splits)
    if not splits:
        return {}, tuple(labels), []
    notes: list[str] = []
    counts = {split: label_values.count_values(rows, column) for split, rows in splits.items()}
    # Competitions and the hub publish test rows without their labels.
    for split in [split for split in splits if set(counts[split]) == {-1}]:
        notes.append(f"{split}: all labels are -1, which hides them; the split is left out")
        del splits[split], counts[split]
    if kind == "class":
        _refuse_other_tasks(counts, source_name)
    values = label_values.require_labels(splits, counts, column)
    # A ClassLabel that all splits have keeps its order.
    labels = tuple(labels) or _shared_class_names(splits.values(), column)
    class_of = label_values.name_classes(splits, values, column, notes, has_names=bool(labels))

    # Over all splits together, so that a spelling is joined the same way in each.
    class_counts = _count_classes(counts.values(), class_of)
    variants = spellings.find_variants({**dict.fromkeys(labels, 0), **class_counts}, labels)
    if join:
        usual = spellings.usual_spellings({*class_of.values(), *labels}, variants)
        class_of = {value: usual[name] for value, name in class_of.items()}
        labels = tuple(dict.fromkeys(map(usual.__getitem__, labels)))
    is_numbered = all(class_names(rows, column) is not None for rows in splits.values())
    if not is_numbered:  # what is numbered already was told before
        notes += _spelling_notes(variants, class_counts, column, source_name, join)

    names, number_of, number_notes = _number_classes(values, labels, class_of, column, kind)
    for split, rows in splits.items():
        splits[split] = _with_numbers(rows, column, kind, number_of, names)
    return splits, names, [*notes, *number_notes]


def _shared_class_names(splits: Iterable[Rows], column: str) -> tuple[str, ...]:
    """The names of the classes of a ClassLabel that all splits have in the same order; empty where they do not."""
    orders = {tuple(class_names(rows, column) or ()) for rows in splits}
    return orders.pop() if len(orders) == 1 else ()


def _count_classes(counts: Iterable[Counts], class_of: Mapping[LabelValue, str]) -> Counter[str]:
    """How often each class occurs in all splits together."""
    total: Counter[str] = Counter()
    for values in counts:
        for value, count in values.items():
            if value is not None:  # none is left here, but the type allows it
                total[class_of[value]] += count
    return total


def _refuse_other_tasks(counts: Mapping[str, Counts], source_name: str) -> None:
    """Raise `UserError` for labels that are numbers to be predicted, or several in a cell."""
    problems: list[Problem] = []
    for split, values in counts.items():
        source = f"{source_name} ({split})"
        problem = unsupported_labels.numbers_problem(source, values) or unsupported_labels.several_labels_problem(source, values)
        if problem is not None:
            problems.append(problem)
    if problems:
        raise UserError(problems)


def _spelling_notes(
    variants: Sequence[spellings.Variants], counts: Mapping[str, int], column: str, source_name: str, join: bool
) -> list[str]:
    """A word about spellings of one class, and about words for nothing."""
    notes: list[str] = []
    # Names that the user gave are variants too, but only what rows say can be joined.
    occurring = [group for group in variants if group.num_occurring > 1]
    for group in occurring[:5]:
        if join:
            notes.append(f"{column}: joined as {group.usual!r}: {group}")
        else:
            notes.append(f"{column}: probably spellings of one class, and {len(group.counts)} classes now: {group}")
    if occurring and not join:
        more = f" (and of {len(occurring) - 5} more classes)" if len(occurring) > 5 else ""
        notes.append(f"to join the spellings of a class{more}: --data {shlex.quote(source_name)} {spellings.JOIN}")
    for name in spellings.words_for_nothing(counts):
        notes.append(
            f"{column}: {name!r} ({counts[name]:,}) is a class now; where it says that there is no label, leave these rows out"
        )
    return notes


def _number_classes(
    values: Mapping[str, set[LabelValue]],
    labels: Sequence[str],
    class_of: Mapping[LabelValue, str],
    column: str,
    kind: ColumnKind,
) -> tuple[tuple[str, ...], dict[LabelValue, int], list[str]]:
    """The names of all classes in the order of their numbers, the number that each label becomes, and notes to tell.

    Args:
        values: split -> its different labels.
        labels: the classes in their order, where that is known.
    """
    notes: list[str] = []
    classes_of_split: dict[str, set[str]] = {}
    for split, split_values in values.items():
        classes_of_split[split] = {class_of[value] for value in split_values}
    used = set[str]().union(*classes_of_split.values())
    names = tuple(labels) or _sorted_classes(used, class_of, kind)
    numbers = _number_names(used, names, has_booleans=bool in map(type, class_of))
    # Numbers, or true and false, where the user gave names: which is which is not to be guessed in silence.
    renamed = sorted(used.difference(names), key=numbers.__getitem__)
    if renamed:
        notes.append(f"{column}: " + ", ".join(f"{name} = {names[numbers[name]]}" for name in renamed[:SHOWN]))

    # A file of test rows alone may well have one class.
    learnt = classes_of_split.get("train", used)
    if len(learnt) < 2 and ("train" in classes_of_split or not labels):
        raise UserError(
            f"all training rows have the same {column}, {next(iter(learnt), 'none')!r}; there is nothing to tell apart",
            f"give rows of at least two classes, or another column with --columns {column}=NAME",
        )
    notes += _missing_class_notes(classes_of_split, names, numbers)
    return names, {value: numbers[name] for value, name in class_of.items()}, notes


def _sorted_classes(used: Iterable[str], class_of: Mapping[LabelValue, str], kind: ColumnKind) -> tuple[str, ...]:
    """The classes in the order of their numbers, where none is known: by the number that was a label, else by name."""
    if kind == "tags":
        return tuple(sorted(used, key=_tag_order))
    number_of_name: dict[str, float] = {}
    for value, name in class_of.items():
        if not isinstance(value, str):
            number_of_name[name] = value
    return tuple(sorted(used, key=lambda name: (name not in number_of_name, number_of_name.get(name, 0), _name_order(name))))


def _tag_order(name: str) -> tuple[bool, str, str]:
    """`O` first, then the tags of one type together, whatever their prefix is (B-PER, I-PER)."""
    has_prefix = name[1:2] == "-"
    return (name != "O", name[2:] if has_prefix else name, name)


def _name_order(name: str) -> tuple[int, float, str]:
    """Names that are numbers first, by their number."""
    return (0, float(name), name) if NUMBER.fullmatch(name) else (1, 0.0, name)


def _number_names(used: set[str], names: Sequence[str], *, has_booleans: bool) -> dict[str, int]:
    """Name -> number; label numbers without names of their own count the classes from 0.

    Args:
        used: what the labels of rows are called.
        names: the classes in the order of their numbers.
        has_booleans: some labels are true or false, and not only words that say so.
    """
    numbers = {name: number for number, name in enumerate(names)}
    unknown = sorted(used - numbers.keys(), key=_name_order)
    if not unknown:
        return numbers
    if all(name.lstrip("-").isdigit() for name in used):
        outside = [name for name in unknown if not 0 <= int(name) < len(names)]
        if not outside:
            return {name: int(name) for name in used}
        raise UserError(
            f"the labels {', '.join(outside[:5])} are outside of the {len(names)} classes: {', '.join(names)}",
            f"label numbers count the classes from 0 to {len(names) - 1}",
        )
    if has_booleans and used <= {*BOOLEANS} and len(names) == 2:
        # Classes called True and False in any spelling keep their order; of two others the first is false.
        in_small = [name.lower() for name in names]
        order = in_small if set(in_small) == {*BOOLEANS} else BOOLEANS
        return {name: order.index(name) for name in used}
    near = nearest(unknown[0], names) or nearest(unknown[0].lower(), names)
    plain_names = map(spellings.plain_spelling, names)
    raise UserError(
        f"{len(unknown)} labels are none of the classes {', '.join(names)}: {', '.join(map(repr, unknown[:5]))}"
        + (f"; {near}" if near else ""),
        "spell labels as the classes are, or choose a domain whose classes these are",
        spellings.JOIN if spellings.plain_spelling(unknown[0]) in plain_names else "",
    )


def _missing_class_notes(
    classes_of_split: Mapping[str, set[str]], names: Sequence[str], numbers: Mapping[str, int]
) -> list[str]:
    """A word about classes that training rows lack."""
    if "train" not in classes_of_split:
        return []
    # Two spellings may be one number: `1` and `positive`.
    numbers_of_split: dict[str, set[int]] = {}
    for split, classes in classes_of_split.items():
        numbers_of_split[split] = {numbers[name] for name in classes}
    notes: list[str] = []
    for split, used in numbers_of_split.items():
        lacking = sorted(used - numbers_of_split["train"])
        if lacking:
            lacking_names = ", ".join(names[number] for number in lacking[:SHOWN])
            notes.append(f"{split} has classes that train lacks, which cannot be learnt: {lacking_names}")
    all_used = set[int]().union(*numbers_of_split.values())
    unused = [name for number, name in enumerate(names) if number not in all_used]
    if unused:
        notes.append(f"no row has the class {', '.join(unused[:SHOWN])}")
    return notes


def _with_numbers(
    rows: Rows, column: str, kind: ColumnKind, number_of: Mapping[LabelValue, int], names: Sequence[str]
) -> Rows:
    """The rows with class numbers in place of labels; the same object where they have these already."""
    from datasets import ClassLabel, Features

    from ftp.host.quiet import without_progress_bars

    is_numbered = all(value == number for value, number in number_of.items())
    if is_numbered and class_names(rows, column) == list(names):
        return rows
    classes = ClassLabel(names=list(names))
    features = None  # of a stream whose types are not known
    if rows.features:
        features = Features({**rows.features, column: classes if kind == "class" else [classes]})
    with without_progress_bars():
        return rows.map(partial(_number_batch, column=column, number_of=dict(number_of)), batched=True, features=features)


def _number_batch(
    batch: Mapping[str, list[LabelValue | list[LabelValue]]], *, column: str, number_of: Mapping[LabelValue, int]
) -> dict[str, list[int | list[int]]]:
    """A batch of rows with class numbers in place of labels."""
    numbers: list[int | list[int]] = []
    for cell in batch[column]:
        if isinstance(cell, list):
            numbers.append([number_of[value] for value in cell])
        else:
            numbers.append(number_of[cell])
    return {column: numbers}
