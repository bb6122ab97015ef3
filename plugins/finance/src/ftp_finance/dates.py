"""Look-ahead: training rows that are later than the rows they are judged on, by a date column or by dates in the text.

Who trains on 2009 and is judged on 2008 knows how 2008 went on. The measure is the chance that, of one training and one
evaluation row drawn at random, the training row is later (the Mann-Whitney statistic over its largest value): 0 for a split by
time, 0.5 for a split by lot.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

from ftp import UserError, nearest
from ftp.data.look import some, text_of
from ftp.types import Data, Risk, Run

NAMES = re.compile(
    r"^(date|day|datetime|timestamp|time|year|period|published|published_(at|on|date)|publication_date|release_date|report_date"
    r"|filing_date|filed|created_at|as_of)$", re.IGNORECASE)
"""Columns that tell when a row is from."""
FEWEST = 10
"""Dated rows of train and of an evaluation split, at least."""
SHOWN = 5

_MONTHS = {name: number for number, names in enumerate(
    ("january jan", "february feb", "march mar", "april apr", "may", "june jun", "july jul", "august aug", "september sep sept",
     "october oct", "november nov", "december dec"), 1) for name in names.split()}
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


def read(value: Any) -> date | None:
    """The date in a cell: a date, a text in any usual spelling, or a year; None for anything else."""
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value != value or value != int(value):
            return None
        value = str(int(value))
    if not isinstance(value, str) or not (text := value.strip()):
        return None
    if re.fullmatch(_YEAR, text):
        return date(int(text), 1, 1)
    from dateutil import parser

    try:
        return parser.parse(text, default=datetime(1, 1, 1)).date() if re.search(r"\d", text) else None
    except (ValueError, OverflowError):
        return None


def column_of(data: Data, named: str | None) -> str | None:
    """The column that dates rows: the one that was named, else the first of a telling name that all splits have."""
    shared = set.intersection(*(set(rows.column_names or ()) for rows in data.splits.values()))
    if named is not None and named not in shared:
        raise UserError(f"--finance.date_column {named}: not a column of all splits",
                        nearest(named, shared) or f"they have: {', '.join(sorted(shared))}")
    return named or next((name for name in sorted(shared) if NAMES.match(name)), None)


def dated(rows: Any, column: str | None, most: int) -> list[tuple[date, int]]:
    """The dates of rows with the numbers of the rows, in order; of a text the latest date that it gives."""
    found = []
    for number, row in some(rows, most):
        when = read(row[column]) if column else max(mentioned(text_of(row)), default=None)
        if when is not None:
            found.append((when, number))
    return sorted(found)


def verdict(run: Run, data: Data, named: str | None, most: int, share: float) -> Risk:
    """How often a training row is later than an evaluation row, of all pairs of dated rows."""
    held = [split for split in data.splits if split not in ("train", "general")]
    if "train" not in data.splits or not held:
        return Risk("look-ahead", "not_run", "there are no two splits to compare")
    column = column_of(data, named)
    told = f"by the column '{column}'" if column else "by dates in the text"
    train = dated(data.splits["train"], column, most)
    others = {split: dated(data.splits[split], column, most) for split in held}
    counts = {"train": len(train), **{split: len(found) for split, found in others.items()}}
    enough = {split: found for split, found in others.items() if len(found) >= FEWEST}
    if len(train) < FEWEST or not enough:
        return Risk("look-ahead", "not_run", f"too few rows have a date ({told}: "
                    f"{', '.join(f'{count} of {split}' for split, count in counts.items())})", {"dated_rows": counts})
    days = [when for when, _ in train]
    later, shares, after, examples = 0, dict[str, float](), dict[str, int](), dict[str, list[str]]()
    for split, found in enough.items():
        pairs = sum(len(days) - bisect_right(days, when) for when, _ in found)
        shares[split] = round(pairs / (len(days) * len(found)), 4)
        first, row = found[0]
        after[split] = sum(when > first for when in days)
        later += after[split]
        examples[split] = [f"train row {number} ({when}) is later than {split} row {row} ({first})"
                           for when, number in reversed(train[-SHOWN:]) if when > first]
    evidence = {
        "dates": column or "in the text", "dated_rows": counts, "share_of_pairs_with_a_later_training_row": shares,
        "training_rows_after_the_first_evaluation_row": after, "range": {
            split: [str(found[0][0]), str(found[-1][0])] for split, found in {"train": train, **enough}.items()},
        "examples": {split: lines for split, lines in examples.items() if lines}}
    worst = max(shares, key=lambda split: shares[split])
    limit = share if column else min(1.0, 5 * share)
    pair = f"{shares[worst]:.1%} of pairs of a training and a {worst} row ({told})"
    if shares[worst] > limit:
        every = sorted([*days, *(when for found in enough.values() for when, _ in found)])
        advice = [run.command("--split", worst, of="data preview")]
        if column:
            advice.insert(0, run.command("--date-column", column, "--out", "cut-by-time", of="data clean"))
        return Risk("look-ahead", "warn", f"the training row is later in {pair}: the model is trained on what came after the "
                    f"rows it is judged on. Cut by time: four fifths of dated rows are from before {every[4 * len(every) // 5]}",
                    evidence, tuple(advice))
    if later:
        return Risk("look-ahead", "note", f"the training row is later in {pair}", evidence)
    return Risk("look-ahead", "ok", f"no dated training row is later than an evaluation row ({told}; "
                f"{len(train)} training rows)", evidence)

