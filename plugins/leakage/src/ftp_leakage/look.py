"""Looking for every kind of leak in the splits of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

from ftp_leakage import benchmarks, groups, labels
from ftp_leakage.near.search import blocks, rows_of_same_words
from ftp_leakage.normalise import Vocabulary, Words, number, side_by_side
from ftp_leakage.overlaps import Parts, overlaps_of_rows, overlaps_of_sides, with_swapped
from ftp_leakage.report import Contained, Late, Report, Shared
from ftp_leakage.rows import Reading, label_of, part, whole

if TYPE_CHECKING:
    from datasets import Dataset

ORDER = ("train", "validation", "test")
MOST_ROWS = 1_000_000
MOST_STREAMED = 100_000  # rows of a stream, which are held in memory
FEWEST = 10  # rows; that fewer have the same text in a column is no wonder


@dataclass(frozen=True)
class Wanted:
    """What to look for.

    Args:
        threshold: least similarity of near duplicates.
        within: look inside of each split as well.
        group_column: a column of which no value may be in two splits.
        date_column: a column by which no training row may be later than the first evaluation row.
        against: benchmark file -> its rows (part -> text).
        most_rows: rows of a split looked at; of more, a sample is.
    """

    threshold: float = 0.8
    within: bool = False
    group_column: str | None = None
    date_column: str | None = None
    against: Mapping[str, Any] = field(default_factory=dict)
    most_rows: int = MOST_ROWS
    seed: int = 0


@dataclass(frozen=True)
class _Sample:
    """The rows of a split that are looked at.

    Args:
        total: rows in the data; None: a stream that goes on.
        row_numbers: [rows] their numbers in the data, where these are not all of it.
    """

    total: int | None
    rows: Any
    row_numbers: Any


def look(splits: Mapping[str, Dataset], reading: Reading, wanted: Wanted = Wanted(), names: Sequence[str] = ()) -> Report:
    """Compare the splits with one another (`general` is left out) and with the benchmarks.

    Splits of any size are compared in bounded memory.

    Args:
        names: class names in the order of the labels' numbers.
    """
    known = [split for split in ORDER if split in splits]
    others = [split for split in splits if split not in ORDER and split != "general"]
    order = known + others

    samples = {split: _sample(splits[split], wanted) for split in order}
    rows = {split: sample.rows for split, sample in samples.items()}
    sampled = []
    for split, sample in samples.items():
        if sample.row_numbers is not None:
            sampled.append(f"{split}: {len(sample.rows)} of {sample.total or 'many'} rows were looked at")

    # words become numbers of one vocabulary, so that texts of all splits can be compared
    vocabulary = Vocabulary()
    parts: Parts = {}
    for name in reading.parts:
        parts[name] = {split: number(part(reading, rows[split], name), vocabulary) for split in order}
    reading, left_out = _without_constants(reading, parts)
    parts = {name: parts[name] for name in reading.parts}
    texts = {split: _whole_rows(parts, reading, split, len(rows[split]), vocabulary) for split in order}

    report: dict[str, Any] = {
        "splits": tuple(order),
        "rows": {split: sample.total for split, sample in samples.items()},
        "looked": {split: len(texts[split]) for split in order},
        "empty": {split: int((texts[split].lengths == 0).sum()) for split in order if len(texts[split])},
        "numbers": {split: sample.row_numbers for split, sample in samples.items()},
        "train": order[0] if order else "train",
    }

    # rows, and parts of them, that two splits share
    overlaps, inside = overlaps_of_rows(order, texts, parts, reading, wanted.threshold, wanted.within)
    if reading.sides:
        swapped = reading.swapped
        turned = {split: _whole_rows(parts, swapped, split, len(rows[split]), vocabulary) for split in order[:-1]}
        overlaps = tuple(with_swapped(overlap, turned[overlap.first], texts[overlap.second]) for overlap in overlaps)
    report.update(overlaps=overlaps, inside=inside)
    if reading.shareable:
        report["sides"] = tuple(overlaps_of_sides(order, parts, reading, wanted.threshold, overlaps))

    # labels: conflicts in all splits that have them, giveaways in the first split
    label = _label_column(order, rows, reading)
    labelled = [split for split in order if label in (rows[split].column_names or ())]
    if label and labelled:
        about_labels = _labels(labelled, rows, texts, label, reading, names)
        if labelled[0] != order[0]:
            about_labels = {"conflicts": about_labels["conflicts"]}
        report.update(about_labels)
        for split in order:
            if split not in labelled:
                left_out.append(f"{split} has no column {label}: its labels were not compared")
        if len(rows[labelled[0]]) > labels.SAMPLE:
            sampled.append(f"labels: {labels.SAMPLE} of {len(rows[labelled[0]])} rows of {labelled[0]} were looked at for what "
                           "gives them away")

    report["shared"], without_groups = _groups(order, rows, reading, wanted)
    report["late"], report["undated"], without_dates = _dates(order, rows, wanted)
    left_out += without_groups + without_dates
    if wanted.against and order:
        report["contained"] = tuple(_contained(wanted, texts[order[0]], vocabulary))
    return Report(**report, sampled=tuple(sampled), left_out=tuple(left_out))


def _sample(rows: Any, wanted: Wanted) -> _Sample:
    """The rows of a split to look at: all of them, the first of a stream, or some at random."""
    import numpy as np

    if not hasattr(rows, "num_rows"):  # a stream
        return _first_of_stream(rows, min(wanted.most_rows, MOST_STREAMED))
    if len(rows) <= wanted.most_rows:
        return _Sample(len(rows), rows, None)
    chosen = np.sort(np.random.default_rng(wanted.seed).permutation(len(rows))[: wanted.most_rows])
    return _Sample(len(rows), rows.select(chosen), chosen)


def _first_of_stream(rows: Any, most: int) -> _Sample:
    import numpy as np
    from datasets import Dataset

    from ftp.data.tables import from_rows

    first = list(rows.take(most))
    stored = from_rows(first) if first else Dataset.from_dict({name: [] for name in rows.column_names or ()})
    if len(stored) < most:  # the stream ended
        return _Sample(len(stored), stored, None)
    return _Sample(None, stored, np.arange(len(stored)))


def _whole_rows(parts: Parts, reading: Reading, split: str, rows: int, vocabulary: Vocabulary) -> Words:
    """All parts of each row as one text, in the order in which they are read."""
    if not reading.parts:
        return number([""] * rows, vocabulary)
    return side_by_side([parts[name][split] for name in reading.parts])


def _without_constants(reading: Reading, parts: Parts) -> tuple[Reading, list[str]]:
    """The reading without parts that say the same in every row: they would only make all rows alike."""
    if len(parts) < 2:
        return reading, []
    constant = []
    for name, texts in parts.items():
        alike = rows_of_same_words(list(texts.values()))
        rows = sum(map(len, texts.values()))
        if alike and len(alike[0]) == rows and rows >= FEWEST:
            constant.append(name)
    rest = tuple(name for name in reading.parts if name not in constant)
    if not constant or not rest:
        return reading, []
    shareable = tuple(name for name in reading.shareable if name in rest and len(rest) > 1)
    sides = reading.sides if set(reading.sides) <= set(rest) else ()
    left_out = [f"{name} says the same in every row and was left out" for name in constant]
    return replace(reading, parts=rest, shareable=shareable, sides=sides), left_out


def _label_column(order: Sequence[str], rows: Mapping[str, Any], reading: Reading) -> str | None:
    """The column of labels: the one that is named, else that of the first split that has one."""
    if reading.label is not None or reading.form not in ("labelled", "text", "columns"):
        return reading.label
    for split in order:
        column = label_of(rows[split].column_names or ())
        if column:
            return column
    return None


def _labels(
    order: Sequence[str], rows: Mapping[str, Any], texts: Mapping[str, Words], label: str, reading: Reading, names: Sequence[str]
) -> dict[str, Any]:
    """Conflicts over all splits that have labels; giveaways in the first of them."""
    import numpy as np

    # the same text with two labels, wherever it is
    values: list[Any] = []
    split_and_row: list[tuple[str, int]] = []
    for split in order:
        column = rows[split][label][:]
        values += column
        split_and_row += [(split, row) for row in range(len(column))]
    same_words = rows_of_same_words([texts[split] for split in order])
    conflicts = []
    for first, second in labels.conflicts(same_words, values):
        conflicts.append((*split_and_row[first], *split_and_row[second]))

    # a large split is looked at in even steps, as its rows may be sorted by label
    looked_at = rows[order[0]]
    row_numbers = np.arange(len(looked_at))
    if len(looked_at) > labels.SAMPLE:
        row_numbers = np.linspace(0, len(looked_at) - 1, labels.SAMPLE).astype(np.int64)
        looked_at = looked_at.select(row_numbers)
    row_labels = [values[row] for row in row_numbers.tolist()]
    classes = set(row_labels)
    has_classes = all(isinstance(value, (str, int, bool)) for value in classes) and len(classes) <= max(2, len(row_labels) // 4)
    if not has_classes:
        return {"conflicts": tuple(conflicts), "labelled": False}

    class_names = {value: _class_name(value, names, looked_at, row_labels) for value in classes}
    of_sample, share = labels.giveaways(whole(reading, looked_at), row_labels, class_names)
    giveaways = [replace(giveaway, example=int(row_numbers[giveaway.example])) for giveaway in of_sample]
    telling = labels.columns(looked_at, row_labels, (*reading.parts, label))
    return {"conflicts": tuple(conflicts), "giveaways": tuple(giveaways), "given_away": share, "telling": tuple(telling),
            "labelled": True}


def _class_name(value: Any, names: Sequence[str], rows: Any, row_labels: Sequence[Any]) -> str:
    """The name of a class: by its number, or as a column of names has it."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if is_number and names:
        return names[value] if 0 <= value < len(names) else str(value)
    if is_number and "label_name" in rows.column_names:
        return str(rows["label_name"][row_labels.index(value)])
    return str(value)


def _groups(
    order: Sequence[str], rows: Mapping[str, Any], reading: Reading, wanted: Wanted
) -> tuple[tuple[Shared, ...], list[str]]:
    """Groups that two splits share, in the column that is named or in those that look like one; and what was left out."""
    is_named = wanted.group_column is not None
    if wanted.group_column:
        columns = [wanted.group_column]
    else:
        columns = groups.detect({split: rows[split] for split in order}, reading.parts)
    shared = []
    left_out = []
    for column in columns:
        keys = {split: groups.keys(rows[split], column) for split in order}
        for split in order:
            if all(key is None for key in keys[split]):
                left_out.append(f"{column} is empty in all rows of {split}: its groups were not compared")
        for first, second in combinations(order, 2):
            values = groups.shared(keys[first], keys[second])
            shared.append(Shared(column, is_named, first, second, values, len(keys[second])))
    return tuple(shared), left_out


def _dates(
    order: Sequence[str], rows: Mapping[str, Any], wanted: Wanted
) -> tuple[tuple[Late, ...], dict[str, int], list[str]]:
    """Rows that are later than a split after theirs begins, rows without a date in each split, and what was left out."""
    import numpy as np

    column = wanted.date_column
    if not column:
        return (), {}, []
    dates = {split: groups.dates(rows[split], column) for split in order}  # seconds since 1970, NaN where there is none
    undated = {split: int(np.isnan(values).sum()) for split, values in dates.items()}
    left_out = []
    for split in order:
        if undated[split] == len(dates[split]):
            left_out.append(f"{column} holds no date in any row of {split}: its dates were not compared")
    late = []
    for first, second in combinations(order, 2):
        earlier, later = dates[first], dates[second]
        if np.isnan(earlier).all() or np.isnan(later).all():
            continue
        start = np.nanmin(later)
        dated = earlier[~np.isnan(earlier)]
        late.append(Late(
            first, second, rows=int((dated >= start).sum()), of=len(dated), latest=int(np.nanargmax(earlier)),
            earliest=int(np.nanargmin(later)), go=groups.cut(earlier, later),
        ))
    return tuple(late), undated, left_out


def _contained(wanted: Wanted, train: Words, vocabulary: Vocabulary) -> Iterator[Contained]:
    """Rows of each benchmark that stand in training rows."""
    import numpy as np

    for name, benchmark_rows in wanted.against.items():
        bench = benchmarks.texts(benchmark_rows, vocabulary)
        row, text, score = np.zeros(0, int), np.zeros(0, int), np.zeros(0, int)
        matches = []
        for first_row, piece in blocks(train):
            piece_row, piece_text, piece_score = benchmarks.contained(bench.words, piece)
            matches.append((piece_row + first_row, piece_text, piece_score))
        if matches:
            row, text, score = (np.concatenate(column) for column in zip(*matches, strict=True))

        # of one benchmark row in one training row: the part that scored best, and rather all of it
        best = np.lexsort((text, -score, row, bench.row[text]))
        row, text, score = row[best], text[best], score[best]
        _, first = np.unique(np.stack((bench.row[text], row)), axis=1, return_index=True)
        row, text, score = row[first], text[first], score[first]
        parts = [bench.part[number] for number in text]
        yield Contained(name, row, bench.row[text], score, parts, bench.compared(), bench.rows)
