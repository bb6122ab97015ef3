"""Look for every kind of leak in the splits of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

from ftp_leakage import benchmarks, groups, labels
from ftp_leakage.check_options import CheckOptions
from ftp_leakage.label_leaks import labelled_splits, look_at_labels
from ftp_leakage.near.search import blocks
from ftp_leakage.normalise import Vocabulary, Words
from ftp_leakage.overlaps import overlaps_of_rows, overlaps_of_sides, with_swapped
from ftp_leakage.report import Contained, Late, Report, Shared
from ftp_leakage.rows import Reading
from ftp_leakage.split_texts import SplitTexts, count_empty, number_splits, whole_rows

if TYPE_CHECKING:
    from datasets import Dataset

    from ftp_leakage.report import Overlap


def look(
    splits: Mapping[str, Dataset],
    reading: Reading,
    options: CheckOptions | None = None,
    class_names: Sequence[str] = (),
) -> Report:
    """Compare the splits with one another (`general` is left out) and with the benchmarks.

    Splits of any size are compared in bounded memory.

    Args:
        class_names: in the order of the labels' numbers.
    """
    options = options or CheckOptions()
    texts, reading, left_out = number_splits(splits, reading, options)
    rows = texts.rows
    order = texts.order
    train = order[0] if order else "train"

    overlaps, inside = _overlaps(texts, reading, options)
    sides: Iterator[Overlap] = iter(())
    if reading.shareable:
        sides = overlaps_of_sides(order, texts.parts, reading, options.threshold, overlaps)
    label_findings, unlabelled = look_at_labels(texts, reading, class_names)
    shared, without_groups = _shared_groups(order, rows, reading, options)
    late, undated, without_dates = _late_rows(order, rows, options)
    contained: Iterator[Contained] = iter(())
    if options.benchmarks and order:
        contained = _contained(options, texts.whole[train], texts.vocabulary)

    return Report(
        splits=order,
        rows={split: sample.total for split, sample in texts.samples.items()},
        looked={split: len(texts.whole[split]) for split in order},
        empty=count_empty(texts),
        overlaps=overlaps,
        sides=tuple(sides),
        inside=inside,
        shared=shared,
        late=late,
        undated=undated,
        contained=tuple(contained),
        numbers={split: sample.row_numbers for split, sample in texts.samples.items()},
        train=train,
        sampled=_describe_samples(texts, reading),
        left_out=(*left_out, *unlabelled, *without_groups, *without_dates),
        **label_findings,
    )


def _describe_samples(texts: SplitTexts, reading: Reading) -> tuple[str, ...]:
    """Where not all rows were looked at, in words."""
    sampled = []
    for split, sample in texts.samples.items():
        if sample.row_numbers is not None:
            of = sample.total or "many"
            sampled.append(f"{split}: {len(sample.rows)} of {of} rows were looked at")
    labelled = labelled_splits(texts, reading)
    if labelled:
        num_rows = len(texts.samples[labelled[0]].rows)
        if num_rows > labels.SAMPLE:
            sampled.append(
                f"labels: {labels.SAMPLE} of {num_rows} rows of {labelled[0]} were looked at for "
                "what gives them away"
            )
    return tuple(sampled)


def _overlaps(
    texts: SplitTexts, reading: Reading, options: CheckOptions
) -> tuple[tuple[Overlap, ...], tuple[Overlap, ...]]:
    """Rows that two splits share, with their sides swapped as well; and those inside of a split."""
    overlaps, inside = overlaps_of_rows(
        texts.order, texts.whole, texts.parts, reading, options.threshold, options.within
    )
    if not reading.sides:
        return overlaps, inside
    swapped = {}
    for split in texts.order[:-1]:
        num_rows = len(texts.samples[split].rows)
        swapped[split] = whole_rows(texts.parts, reading.swapped, split, num_rows, texts.vocabulary)
    with_sides_swapped = []
    for overlap in overlaps:
        second = texts.whole[overlap.second]
        with_sides_swapped.append(with_swapped(overlap, swapped[overlap.first], second))
    return tuple(with_sides_swapped), inside


def _shared_groups(
    order: Sequence[str], rows: Mapping[str, Dataset], reading: Reading, options: CheckOptions
) -> tuple[tuple[Shared, ...], list[str]]:
    """Groups that two splits share, in the column that is named or in those that look like one; and
    what was left out."""
    is_named = options.group_column is not None
    columns = [options.group_column] if options.group_column else []
    columns = columns or groups.find_group_columns(rows, reading.parts)
    shared = []
    left_out = []
    for column in columns:
        keys = {split: groups.group_keys(rows[split], column) for split in order}
        for split in order:
            if all(key is None for key in keys[split]):
                left_out.append(
                    f"{column} is empty in all rows of {split}: its groups were not compared"
                )
        for first, second in combinations(order, 2):
            values = groups.shared_groups(keys[first], keys[second])
            shared.append(Shared(column, is_named, first, second, values, len(keys[second])))
    return tuple(shared), left_out


def _late_rows(
    order: Sequence[str], rows: Mapping[str, Dataset], options: CheckOptions
) -> tuple[tuple[Late, ...], dict[str, int], list[str]]:
    """Rows that are later than a split after theirs begins, rows without a date in each split, and
    what was left out."""
    import numpy as np

    column = options.date_column
    if not column:
        return (), {}, []
    # split -> [rows] seconds since 1970, NaN where there is no date
    dates = {split: groups.read_dates(rows[split], column) for split in order}
    undated = {split: int(np.isnan(values).sum()) for split, values in dates.items()}
    left_out = []
    for split in order:
        if undated[split] == len(dates[split]):
            left_out.append(
                f"{column} holds no date in any row of {split}: its dates were not compared"
            )
    late = []
    for first, second in combinations(order, 2):
        earlier = dates[first]
        later = dates[second]
        if np.isnan(earlier).all() or np.isnan(later).all():
            continue
        dated = earlier[~np.isnan(earlier)]
        late.append(
            Late(
                first,
                second,
                rows=int((dated >= np.nanmin(later)).sum()),
                num_dated=len(dated),
                latest=int(np.nanargmax(earlier)),
                earliest=int(np.nanargmin(later)),
                to_remove=groups.rows_beyond_cut(earlier, later),
            )
        )
    return tuple(late), undated, left_out


def _contained(options: CheckOptions, train: Words, vocabulary: Vocabulary) -> Iterator[Contained]:
    """Rows of each benchmark that stand in training rows."""
    import numpy as np

    for name, benchmark_rows in options.benchmarks.items():
        texts = benchmarks.benchmark_texts(benchmark_rows, vocabulary)
        parts = []
        for first_row, block in blocks(train):
            matches = benchmarks.find_contained(texts.words, block)
            parts.append(replace(matches, row=matches.row + first_row))
        matches = benchmarks.joined_matches(parts)

        # of one benchmark row in one training row: the part that scored best, and rather all of it
        benchmark_row = texts.row[matches.text]
        best_first = np.lexsort((matches.text, -matches.score, matches.row, benchmark_row))
        matches = matches.take(best_first)
        benchmark_row = texts.row[matches.text]
        rows = np.stack((benchmark_row, matches.row))
        _, first = np.unique(rows, axis=1, return_index=True)
        matches = matches.take(first)
        yield Contained(
            name,
            matches.row,
            benchmark_row[first],
            matches.score,
            [texts.part[text] for text in matches.text],
            texts.num_compared(),
            texts.num_rows,
        )
