"""What the labels of splits give away, and where they contradict one another."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

from ftp_leakage import labels
from ftp_leakage.near.search import rows_of_same_words
from ftp_leakage.rows import Reading, is_of_texts, label_of, whole_texts

if TYPE_CHECKING:
    from datasets import Dataset

    from ftp_leakage.split_texts import SplitTexts

ROWS_PER_CLASS = 4  # labels of more different values are numbers or texts, no classes


class LabelFindings(TypedDict, total=False):
    """The fields of a report that are about labels."""

    conflicts: tuple[tuple[str, int, str, int], ...]
    giveaways: tuple[labels.Giveaway, ...]
    given_away: float
    telling: tuple[labels.Giveaway, ...]
    has_classes: bool


def _label_column(texts: SplitTexts, reading: Reading) -> str | None:
    """The column of labels: the one that is named, else that of the first split that has one."""
    if reading.label is not None or not is_of_texts(reading.form):
        return reading.label
    for split in texts.order:
        column = label_of(texts.samples[split].rows.column_names or ())
        if column:
            return column
    return None


def labelled_splits(texts: SplitTexts, reading: Reading) -> list[str]:
    """The splits that have the column of labels."""
    label = _label_column(texts, reading)
    if not label:
        return []
    rows = texts.rows
    return [split for split in texts.order if label in (rows[split].column_names or ())]


def look_at_labels(
    texts: SplitTexts, reading: Reading, class_names: Sequence[str]
) -> tuple[LabelFindings, list[str]]:
    """Fields of the report: conflicts in all splits that have labels, giveaways in the first split;
    and the splits whose labels could not be compared, in words."""
    label = _label_column(texts, reading)
    labelled = labelled_splits(texts, reading)
    if not label or not labelled:
        return {}, []
    findings = _label_findings(labelled, texts, label, reading, class_names)
    if labelled[0] != texts.order[0]:
        findings = {"conflicts": findings["conflicts"]}
    left_out = []
    for split in texts.order:
        if split not in labelled:
            left_out.append(f"{split} has no column {label}: its labels were not compared")
    return findings, left_out


def _label_findings(
    labelled: Sequence[str], texts: SplitTexts, label: str, reading: Reading, names: Sequence[str]
) -> LabelFindings:
    """Conflicts over all splits that have labels; giveaways in the first of them."""
    import numpy as np

    values: list[Hashable] = []
    for split in labelled:
        values += texts.samples[split].rows[label][:]
    conflicts = _conflicts(labelled, texts, values)

    # a large split is looked at in even steps, as its rows may be sorted by label
    rows = texts.samples[labelled[0]].rows
    row_numbers = np.arange(len(rows))
    if len(rows) > labels.SAMPLE:
        row_numbers = np.linspace(0, len(rows) - 1, labels.SAMPLE).astype(np.int64)
        rows = rows.select(row_numbers)
    row_labels = [values[row] for row in row_numbers.tolist()]
    classes = set(row_labels)
    is_named = all(isinstance(value, (str, int, bool)) for value in classes)
    if not is_named or len(classes) > max(2, len(row_labels) // ROWS_PER_CLASS):
        return {"conflicts": conflicts, "has_classes": False}

    class_names = {value: _class_name(value, names, rows, row_labels) for value in classes}
    whole = whole_texts(reading, rows)
    of_sample, share = labels.find_giveaways(whole, row_labels, class_names)
    giveaways = []
    for giveaway in of_sample:
        giveaways.append(replace(giveaway, example=int(row_numbers[giveaway.example])))
    telling = labels.find_telling_columns(rows, row_labels, (*reading.parts, label))
    return {
        "conflicts": conflicts,
        "giveaways": tuple(giveaways),
        "given_away": share,
        "telling": tuple(telling),
        "has_classes": True,
    }


def _conflicts(
    labelled: Sequence[str], texts: SplitTexts, values: Sequence[Hashable]
) -> tuple[tuple[str, int, str, int], ...]:
    """The same text with two labels, in one split or in two.

    Args:
        values: the labels of all these splits, one split after the other.
    """
    split_and_row: list[tuple[str, int]] = []
    for split in labelled:
        num_rows = len(texts.samples[split].rows)
        split_and_row += [(split, row) for row in range(num_rows)]
    same_words = rows_of_same_words([texts.whole[split] for split in labelled])
    conflicts = []
    for first, second in labels.find_conflicts(same_words, values):
        conflicts.append((*split_and_row[first], *split_and_row[second]))
    return tuple(conflicts)


def _class_name(
    value: object, names: Sequence[str], rows: Dataset, row_labels: Sequence[object]
) -> str:
    """The name of a class: by its number, or as a column of names has it."""
    if not isinstance(value, int) or isinstance(value, bool):
        return str(value)
    if names:
        return names[value] if 0 <= value < len(names) else str(value)
    if "label_name" in rows.column_names:
        return str(rows["label_name"][row_labels.index(value)])
    return str(value)
