"""Look-ahead: training rows that are later than the rows they are judged on, by a date column or by dates in the text.

Who trains on 2009 and is judged on 2008 knows how 2008 went on. The measure is the chance that, of one training and one
evaluation row drawn at random, the training row is later (the Mann-Whitney statistic over its largest value): 0 for a split by
time, 0.5 for a split by lot.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, NamedTuple

from ftp import UserError, nearest
from ftp.data.look import some, text_of
from ftp.types import Data, Risk, Run

if TYPE_CHECKING:
    from datasets import Dataset

NAMES = re.compile(
    r"^(date|day|datetime|timestamp|time|year|period|published|published_(at|on|date)|publication_date|release_date|report_date"
    r"|filing_date|filed|created_at|as_of)$", re.IGNORECASE)
"""Columns that tell when a row is from."""
FEWEST = 10
"""Dated rows of train and of an evaluation split, at least."""
SHOWN = 5

_MONTHS: dict[str, int] = {}
for _number, _spellings in enumerate((
    "january jan", "february feb", "march mar", "april apr", "may", "june jun", "july jul", "august aug", "september sep sept",
    "october oct", "november nov", "december dec",
), start=1):
    _MONTHS |= dict.fromkeys(_spellings.split(), _number)
_MONTH = rf"(?P<month>{'|'.join(sorted(_MONTHS, key=len, reverse=True))})\.?"
_YEAR = r"(?P<year>(?:19|20)\d\d)"
MENTIONS = tuple(re.compile(pattern, re.IGNORECASE) for pattern in (
    rf"\b{_YEAR}-(?P<number>\d\d)-(?P<day>\d\d)\b",
    rf"\b{_YEAR}(?P<number>0[1-9]|1[0-2])(?P<day>[0-2]\d|3[01])\b",
    rf"\b(?P<day>\d{{1,2}})(?:st|nd|rd|th)? +(?:of +)?{_MONTH},? +{_YEAR}\b",
    rf"\b{_MONTH} +(?P<day>\d{{1,2}})(?:st|nd|rd|th)?,? +{_YEAR}\b",
    rf"\b{_MONTH},? +{_YEAR}\b",
))
"""Dates in a text, from the year and month on; a year alone is too often a plan or a number."""


class DatedRow(NamedTuple):
    """A row with its date, by which rows are ordered."""

    day: date
    row_index: int


@dataclass(frozen=True)
class Comparison:
    """A split beside train. `share`: of the pairs of a training and an evaluation row those whose training row is later.
    `rows_after_first`: training rows that are later than the first evaluation row."""

    share: float
    rows_after_first: int
    examples: list[str]


def mentioned(text: str) -> Iterator[date]:
    """The dates that a text gives; the first of the month where it gives no day."""
    taken: list[tuple[int, int]] = []  # a month and a year within a whole date are no date of their own
    for pattern in MENTIONS:
        for match in pattern.finditer(text):
            if any(start < match.end() and match.start() < end for start, end in taken):
                continue
            taken.append(match.span())
            parts = match.groupdict()
            month = int(parts["number"]) if parts.get("number") else _MONTHS[parts["month"].lower()]
            try:
                yield date(int(parts["year"]), month, int(parts.get("day") or 1))
            except ValueError:  # a 31st of June is no date
                continue


def read(value: object) -> date | None:
    """The date in a cell: a date, a text in any usual spelling, or a year; None for anything else."""
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    # 2019, 20190304 or 2019.0, as tables hold years and dates
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value) or value != int(value):
            return None
        value = str(int(value))
    if not isinstance(value, str):
        return None
    text = value.strip()
    if re.fullmatch(_YEAR, text):
        return date(int(text), 1, 1)
    if not re.search(r"\d", text):  # "may" alone is a word
        return None
    from dateutil import parser

    try:
        parsed: datetime = parser.parse(text, default=datetime(1, 1, 1))
    except (ValueError, OverflowError):
        return None
    return parsed.date()


def column_of(data: Data, name: str | None) -> str | None:
    """The column that dates rows: the one that was named, else the first of a telling name that all splits have."""
    # rows of splits with other columns could not be compared
    columns = [set(rows.column_names or ()) for rows in data.splits.values()]
    shared = set.intersection(*columns)
    if name is not None and name not in shared:
        raise UserError(f"--finance.date_column {name}: not a column of all splits",
                        nearest(name, shared) or f"they have: {', '.join(sorted(shared))}")
    return name or next(filter(NAMES.match, sorted(shared)), None)


def dated_rows(rows: Dataset, column: str | None, most: int) -> list[DatedRow]:
    """The rows that have a date, in its order; of a text the latest date that it gives."""
    dated = []
    for row_index, row in some(rows, most):
        day = read(row[column]) if column else max(mentioned(text_of(row)), default=None)
        if day is not None:
            dated.append(DatedRow(day, row_index))
    return sorted(dated)


def compare(train: Sequence[DatedRow], split: str, held_out: Sequence[DatedRow]) -> Comparison:
    """Count the training rows that are later than evaluation rows; both in the order of their dates."""
    days = [row.day for row in train]
    # both lists are in order, so that a binary search counts the later ones
    later_pairs = sum(len(days) - bisect_right(days, row.day) for row in held_out)
    first = held_out[0]
    examples = []
    for row in reversed(train[-SHOWN:]):
        if row.day > first.day:
            examples.append(f"train row {row.row_index} ({row.day}) is later than {split} row {first.row_index} ({first.day})")
    return Comparison(share=round(later_pairs / (len(days) * len(held_out)), 4),
                      rows_after_first=len(days) - bisect_right(days, first.day), examples=examples)


def verdict(run: Run, data: Data, date_column: str | None, most: int, share: float) -> Risk:
    """How often a training row is later than an evaluation row, of all pairs of dated rows.

    Args:
        most: rows of a split that are read.
        share: of pairs with a later training row, above which it is a warning.
    """
    held_out = [split for split in data.splits if split not in ("train", "general")]
    if "train" not in data.splits or not held_out:
        return Risk("look-ahead", "not_run", "there are no two splits to compare")
    column = column_of(data, date_column)
    source = f"by the column '{column}'" if column else "by dates in the text"
    dated = {split: dated_rows(data.splits[split], column, most) for split in ("train", *held_out)}
    counts = {split: len(rows) for split, rows in dated.items()}
    compared = [split for split in held_out if counts[split] >= FEWEST]
    if counts["train"] < FEWEST or not compared:
        listed = ", ".join(f"{count} of {split}" for split, count in counts.items())
        return Risk("look-ahead", "not_run", f"too few rows have a date ({source}: {listed})", {"dated_rows": counts})
    comparisons = {split: compare(dated["train"], split, dated[split]) for split in compared}
    shares = {split: comparison.share for split, comparison in comparisons.items()}
    rows_after = {split: comparison.rows_after_first for split, comparison in comparisons.items()}
    evidence = {
        "dates": column or "in the text",
        "dated_rows": counts,
        "share_of_pairs_with_a_later_training_row": shares,
        "training_rows_after_the_first_evaluation_row": rows_after,
        "range": {split: [str(dated[split][0].day), str(dated[split][-1].day)] for split in ("train", *compared)},
        "examples": {split: comparison.examples for split, comparison in comparisons.items() if comparison.examples},
    }
    worst = max(compared, key=lambda split: shares[split])
    pairs = f"{shares[worst]:.1%} of pairs of a training and a {worst} row ({source})"
    # a text may tell of a date long before or after its own
    limit = share if column else min(1.0, 5 * share)
    if shares[worst] > limit:
        days = sorted(row.day for split in ("train", *compared) for row in dated[split])
        advice = [run.command("--split", worst, of="data preview")]
        if column:
            advice.insert(0, run.command("--date-column", column, "--out", "cut-by-time", of="data clean"))
        return Risk("look-ahead", "warn", f"the training row is later in {pairs}: the model is trained on what came after the "
                    f"rows it is judged on. Cut by time: four fifths of dated rows are from before {days[4 * len(days) // 5]}",
                    evidence, tuple(advice))
    if any(rows_after.values()):
        return Risk("look-ahead", "note", f"the training row is later in {pairs}", evidence)
    return Risk("look-ahead", "ok", f"no dated training row is later than an evaluation row ({source}; "
                f"{counts['train']} training rows)", evidence)
