"""Looking for every kind of leak in the splits of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

from ftp_leakage import benchmarks, groups, labels
from ftp_leakage.near.copies import START
from ftp_leakage.near.pairs import CUT, PART, SWAPPED, Pairs, nothing, together
from ftp_leakage.near.search import between, blocks, rows_of_same_words
from ftp_leakage.normalise import Vocabulary, Words, joined, number, side_by_side
from ftp_leakage.report import ASKED, Contained, Late, Overlap, Report, Shared
from ftp_leakage.rows import Reading, label_of, part, whole
from ftp_leakage.similarity import in_common

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

ORDER = ("train", "validation", "test")
MOST_ROWS = 1_000_000


SIDE = 6  # words; many people write the same shorter prompt or answer
FEWEST = 10  # rows; that fewer have the same text in a column is no wonder
COMMON, COMMON_SHARE = 5, 0.01  # a side of more rows, and of a larger share of them, is a phrase of everybody's


TALK = ("conversation", "feedback")  # of one row another may be the beginning, be it a small part


@dataclass(frozen=True)
class Wanted:
    """What to look for. `threshold`: least similarity of near duplicates. `within`: also inside of each split.
    `against`: benchmark file -> its rows (part -> text). `most_rows`: rows of a split looked at; of more, a sample is."""

    threshold: float = 0.8
    within: bool = False
    group_column: str | None = None
    date_column: str | None = None
    against: Mapping[str, Any] = field(default_factory=dict)
    most_rows: int = MOST_ROWS
    seed: int = 0


def look(splits: Mapping[str, Dataset], reading: Reading, wanted: Wanted = Wanted(), names: Sequence[str] = ()) -> Report:
    """Compare the splits with one another (`general` is left out) and with the benchmarks.

    `names`: class names in the order of the labels' numbers. Splits of any size are compared in bounded memory.
    """
    order = [split for split in (*ORDER, *splits) if split in splits and split != "general"]
    order = list(dict.fromkeys(order))
    rows, numbers, told = {}, {}, []
    sizes = {}
    for split in order:
        sizes[split], rows[split], numbers[split] = _sample(splits[split], wanted)
        if numbers[split] is not None:
            told.append(f"{split}: {len(rows[split])} of {sizes[split] or 'many'} rows were looked at")
    vocabulary = Vocabulary()
    parts = {name: {split: number(part(reading, rows[split], name), vocabulary) for split in order} for name in reading.parts}
    reading, left_out = _without_constants(reading, parts)
    texts = {split: side_by_side([parts[name][split] for name in reading.parts]) if reading.parts
             else number([""] * len(rows[split]), vocabulary) for split in order}
    report: dict[str, Any] = {
        "splits": tuple(order), "rows": sizes, "looked": {split: len(texts[split]) for split in order},
        "empty": {split: int((texts[split].lengths == 0).sum()) for split in order if len(texts[split])},
        "numbers": numbers, "train": order[0] if order else "train",
    }
    parts = {name: parts[name] for name in reading.parts}
    overlaps, inside = _overlaps(order, texts, parts, reading, wanted)
    if reading.sides:
        turned = {split: side_by_side([parts[name][split] for name in reading.swapped.parts]) for split in order[:-1]}
        overlaps = tuple(_with_swapped(one, turned[one.first], texts[one.second]) for one in overlaps)
    report.update(overlaps=overlaps, inside=inside)
    if reading.told:
        report["sides"] = tuple(_sides(order, parts, reading, wanted, overlaps))
    label = reading.label
    if label is None and reading.form in ("labelled", "text", "columns"):
        label = next((name for split in order if (name := label_of(rows[split].column_names or ()))), None)
    labelled = [split for split in order if label in (rows[split].column_names or ())]
    if label and labelled:
        found = _labels(labelled, rows, texts, label, reading, names)
        report.update(found if labelled[0] == order[0] else {"conflicts": found["conflicts"]})
        left_out += [f"{split} has no column {label}: its labels were not compared" for split in order
                     if split not in labelled]
        if len(rows[labelled[0]]) > labels.SAMPLE:
            told.append(f"labels: {labels.SAMPLE} of {len(rows[labelled[0]])} rows of {labelled[0]} were looked at for what "
                        "gives them away")
    report["shared"], report["late"], report["undated"], more = _origins(order, rows, reading, wanted)
    left_out += more
    if wanted.against and order:
        report["contained"] = tuple(_contained(wanted, texts[order[0]], vocabulary))
    return Report(**report, told=tuple(told), left_out=tuple(left_out))


def _sample(rows: Any, wanted: Wanted) -> tuple[int | None, Any, Any]:
    """Rows in the data, the rows to look at, and their numbers where these are not all."""
    import numpy as np

    if not hasattr(rows, "num_rows"):  # a stream: its first rows
        from datasets import Dataset

        from ftp.data.tables import from_rows

        most = min(wanted.most_rows, 100_000)
        first = list(rows.take(most))
        stored = from_rows(first) if first else Dataset.from_dict({name: [] for name in rows.column_names or ()})
        return (len(stored) if len(stored) < most else None), stored, (None if len(stored) < most else np.arange(len(stored)))
    if len(rows) <= wanted.most_rows:
        return len(rows), rows, None
    some = np.sort(np.random.default_rng(wanted.seed).permutation(len(rows))[: wanted.most_rows])
    return len(rows), rows.select(some), some


def _without_constants(reading: Reading, parts: Mapping[str, Mapping[str, Words]]) -> tuple[Reading, list[str]]:
    """The reading without parts that say the same in every row: they would only make all rows alike."""
    same = []
    for name, of in parts.items() if len(parts) > 1 else ():
        alike = rows_of_same_words(list(of.values()))
        if alike and len(alike[0]) == sum(map(len, of.values())) >= FEWEST:
            same.append(name)
    rest = tuple(name for name in reading.parts if name not in same)
    if not same or not rest:
        return reading, []
    left = replace(reading, parts=rest, told=tuple(name for name in reading.told if name in rest and len(rest) > 1),
                   sides=reading.sides if set(reading.sides) <= set(rest) else ())
    return left, [f"{name} says the same in every row and was left out" for name in same]


def _overlaps(
    order: Sequence[str], texts: Mapping[str, Words], parts: Mapping[str, Mapping[str, Words]], reading: Reading, wanted: Wanted
) -> tuple[tuple[Overlap, ...], tuple[Overlap, ...]]:
    """Pairs across splits, and where wanted pairs within each split."""
    start = 0.0 if reading.form in TALK else START
    found = between([texts[split] for split in order], wanted.threshold, wanted.within, start=start)
    kept = {pair: _all_parts(order[pair[0]], order[pair[1]], pairs, parts, reading, wanted.threshold)
            for pair, pairs in found.items()}
    across = [Overlap("row", order[a], order[b], kept.get((a, b), nothing())) for a, b in combinations(range(len(order)), 2)]
    inside = [Overlap("row", split, split, kept.get((at, at), nothing())) for at, split in enumerate(order)]
    return tuple(across), tuple(inside) if wanted.within else ()


def _all_parts(
    first: str, second: str, pairs: Pairs, parts: Mapping[str, Mapping[str, Words]], reading: Reading, threshold: float
) -> Pairs:
    """Only pairs in which every part is alike: two questions about one long text are not the same row. A conversation that
    goes on from another has other parts."""
    import numpy as np

    free = np.isin(pairs.why, (PART, CUT)) if reading.form in TALK else np.zeros(len(pairs), bool)
    keep = np.ones(len(pairs), bool)
    for texts in parts.values() if len(parts) > 1 else ():
        alike = in_common(texts[first], pairs.left[keep], pairs.right[keep], texts[second], of_shorter=True)
        keep[keep] = (alike >= threshold) | free[keep]
    return pairs.take(keep)


def _with_swapped(overlap: Overlap, turned: Words, texts: Words) -> Overlap:
    """With the pairs that have the same words once the sides of the first split are swapped (`turned`)."""
    import numpy as np

    swapped = between([turned, texts], near=False).get((0, 1), nothing())
    swapped = swapped.take(~_of(swapped.left, swapped.right, [overlap]))
    return replace(overlap, pairs=together([overlap.pairs, replace(swapped, why=np.full(len(swapped), SWAPPED))]))


def _of(left: np.ndarray, right: np.ndarray, overlaps: Sequence[Overlap]) -> np.ndarray:
    """[pairs] whether a pair of rows is one of these overlaps'."""
    import numpy as np

    known = [(one.pairs.left.astype(np.int64) << 32) | one.pairs.right for one in overlaps]
    return np.isin((left.astype(np.int64) << 32) | right, np.concatenate(known) if known else [])


def _sides(
    order: Sequence[str], parts: Mapping[str, Mapping[str, Words]], reading: Reading, wanted: Wanted, rows: Sequence[Overlap]
) -> Iterator[Overlap]:
    """Parts that rows of two splits share, in the same column or in another, where the rows are not alike as a whole."""
    import numpy as np

    told = reading.told
    texts = [joined([parts[name][split] for name in told]) for split in order]
    sizes = [len(parts[told[0]][split]) for split in order]
    fit = np.concatenate([one.lengths >= SIDE for one in texts])
    part = np.concatenate([np.repeat(np.arange(len(told)), size) for size in sizes])
    asked = np.isin(part, [at for at, name in enumerate(told) if name in ASKED])
    for group in rows_of_same_words(texts):
        if len(group) > max(COMMON, COMMON_SHARE * sum(sizes)):
            fit[group] &= asked[group]
    starts = np.cumsum([0, *map(len, texts)])
    for (first, second), pairs in between(texts, wanted.threshold).items():
        pairs = pairs.take(fit[starts[first] + pairs.left] & fit[starts[second] + pairs.right])
        mine, theirs = pairs.left // sizes[first], pairs.right // sizes[second]
        pairs = replace(pairs, left=pairs.left % sizes[first], right=pairs.right % sizes[second])
        known = _of(pairs.left, pairs.right, [one for one in rows if (one.first, one.second) == (order[first], order[second])])
        for a, b in product(range(len(told)), repeat=2):
            some = pairs.take((mine == a) & (theirs == b) & ~known)
            if len(some):
                yield Overlap(told[a], order[first], order[second], some, "" if a == b else told[b],
                              a == b and (told[a] in ASKED or reading.form == "columns"))


def _labels(
    order: Sequence[str], rows: Mapping[str, Any], texts: Mapping[str, Words], label: str, reading: Reading, names: Sequence[str]
) -> dict[str, Any]:
    """Conflicts over all splits that have labels; giveaways in the first of them."""
    import numpy as np

    values = {split: rows[split][label][:] for split in order}
    flat = [value for split in order for value in values[split]]
    place = [(split, row) for split in order for row in range(len(values[split]))]
    conflicts = [(*place[a], *place[b]) for a, b in labels.conflicts(rows_of_same_words([texts[split] for split in order]), flat)]
    train, some = order[0], rows[order[0]]
    if len(some) > labels.SAMPLE:
        step = np.linspace(0, len(some) - 1, labels.SAMPLE).astype(np.int64)
        some = some.select(step)
    else:
        step = np.arange(len(some))
    mine = [values[train][row] for row in step.tolist()]
    usable = all(isinstance(value, (str, int, bool)) for value in set(mine)) and len(set(mine)) <= max(2, len(mine) // 4)
    if not usable:
        return {"conflicts": tuple(conflicts), "labelled": False}
    told = {value: _name(value, names, some, label, mine) for value in set(mine)}
    given, share = labels.giveaways(whole(reading, some), mine, told)
    telling = labels.columns(some, mine, (*reading.parts, label))
    again = [labels.Giveaway(one.what, one.label, one.rows, one.purity, one.coverage, int(step[one.example]), one.named)
             for one in given]
    return {"conflicts": tuple(conflicts), "giveaways": tuple(again), "given_away": share, "telling": tuple(telling),
            "labelled": True}


def _name(value: Any, names: Sequence[str], rows: Any, column: str, labels_of: Sequence[Any]) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        if names:
            return names[value] if 0 <= value < len(names) else str(value)
        if "label_name" in rows.column_names:
            return str(rows["label_name"][labels_of.index(value)])
    return str(value)


def _origins(
    order: Sequence[str], rows: Mapping[str, Any], reading: Reading, wanted: Wanted
) -> tuple[tuple[Shared, ...], tuple[Late, ...], dict[str, int], list[str]]:
    import numpy as np

    shared, late, undated, left_out = [], [], {}, []
    named = wanted.group_column
    columns = [named] if named else groups.detect({split: rows[split] for split in order}, reading.parts)
    for column in columns:
        keys = {split: groups.keys(rows[split], column) for split in order}
        left_out += [f"{column} is empty in all rows of {split}: its groups were not compared" for split in order
                     if not any(key is not None for key in keys[split])]
        for first, second in combinations(order, 2):
            shared.append(Shared(column, named is not None, first, second, groups.shared(keys[first], keys[second]),
                                 len(keys[second])))
    if wanted.date_column:
        dates = {split: groups.dates(rows[split], wanted.date_column) for split in order}
        undated = {split: int(np.isnan(values).sum()) for split, values in dates.items()}
        left_out += [f"{wanted.date_column} holds no date in any row of {split}: its dates were not compared" for split in order
                     if undated[split] == len(dates[split])]
        for first, second in combinations(order, 2):
            mine, theirs = dates[first], dates[second]
            if np.isnan(mine).all() or np.isnan(theirs).all():
                continue
            start = np.nanmin(theirs)
            known = mine[~np.isnan(mine)]
            late.append(Late(first, second, int((known >= start).sum()), len(known), int(np.nanargmax(mine)),
                             int(np.nanargmin(theirs)), groups.cut(mine, theirs)))
    return tuple(shared), tuple(late), undated, left_out


def _contained(wanted: Wanted, train: Words, vocabulary: Vocabulary) -> Iterator[Contained]:
    import numpy as np

    for name, rows in wanted.against.items():
        bench = benchmarks.texts(rows, vocabulary)
        found = [(row + start, text, score) for start, piece in blocks(train)
                 for row, text, score in [benchmarks.contained(bench.words, piece)]]
        row, text, score = (np.concatenate(column) for column in zip(*found, strict=True)) if found else (np.zeros(0, int),) * 3
        best = np.lexsort((text, -score, row, bench.row[text]))  # of one row in one row: the best part, and rather all of it
        row, text, score = row[best], text[best], score[best]
        _, once = np.unique(np.stack((bench.row[text], row)), axis=1, return_index=True)
        row, text, score = row[once], text[once], score[once]
        yield Contained(name, row, bench.row[text], score, [bench.part[at] for at in text], bench.compared(), bench.rows)
