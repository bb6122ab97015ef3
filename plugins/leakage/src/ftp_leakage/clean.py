"""Clean splits: which rows go. The input is never touched.

Rows go from train rather than from validation, and from validation rather than from test; inside a
split the first of several stays. Where a date column is named, rows go on both sides of the date
that keeps most. Rows that share only a part (a prompt), conflicting labels, and words that give
labels away stay and are told, unless `AlsoRemove` says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ftp.host.quiet import without_progress_bars
from ftp_leakage.findings import Finding, Place
from ftp_leakage.labels import remove_signs
from ftp_leakage.report import Report

if TYPE_CHECKING:
    from datasets import Dataset

    from ftp.types import Row


@dataclass(frozen=True)
class AlsoRemove:
    """What goes beside rows that are alike, rows of benchmarks, of a named group and on the wrong
    side of a date.

    Args:
        shared: rows that share a prompt, a context or another part with a later split.
        conflicts: rows of one split with the same text and different labels, all of them.
        giveaways: words and signs that give labels away (not the rows).
        group: a column whose name looks like one of groups.
    """

    shared: bool = False
    conflicts: bool = False
    giveaways: bool = False
    group: str | None = None

    def options(self, names: Mapping[str, str] = {}) -> list[str]:
        """As options of `ftp data clean`.

        Args:
            names: column -> its name in the data.
        """
        options = [
            f"--{name}" for name in ("shared", "conflicts", "giveaways") if getattr(self, name)
        ]
        if self.group:
            options += ["--group-column", names.get(self.group, self.group)]
        return options


Removed = dict[str, dict[int, Finding]]
"""Split -> row -> why it goes."""


def find_removals(
    check: Callable[[Mapping[str, Dataset]], Report],
    splits: Mapping[str, Dataset],
    also: AlsoRemove = AlsoRemove(),
) -> tuple[Removed, Report]:
    """Rows to take out such that `check` finds no leaked row in what stays, by their numbers in
    `splits`; and its last report."""
    removed: Removed = {split: {} for split in splits}
    report = check(splits)
    while True:
        # the report counts rows of what was left; these are their numbers in the data
        kept = {split: kept_rows(rows, removed[split]) for split, rows in splits.items()}
        is_clean = True
        for split, row, finding in rows_to_remove(report, also):
            row_in_data = kept[split][row]
            if row_in_data in removed[split]:
                continue
            other = finding.b
            if other is not None and other[0] in kept:
                other = (other[0], kept[other[0]][other[1]])
            removed[split][row_in_data] = replace(finding, a=(split, row_in_data), b=other)
            is_clean = False
        if is_clean:
            return removed, report
        left = {}
        for split, rows in splits.items():
            left[split] = rows.select(kept_rows(rows, removed[split]))
        report = check(left)


def kept_rows(rows: Dataset, removed: Mapping[int, Finding]) -> list[int]:
    return [row for row in range(len(rows)) if row not in removed]


def strip_giveaways(
    check: Callable[[Mapping[str, Dataset]], Report], splits: Mapping[str, Dataset], parts: Sequence[str]
) -> tuple[Mapping[str, Dataset], list[str]]:
    """The splits with texts (`parts`) without the words and signs that give labels away, and these
    words and signs."""
    removed: list[str] = []
    while True:
        # without the plainest sign another may show
        signs = [giveaway.sign for giveaway in check(splits).giveaways]
        signs = [sign for sign in signs if sign not in removed]
        if not signs:
            return splits, removed
        removed += signs
        with without_progress_bars():
            splits = {split: _without_signs(rows, signs, parts) for split, rows in splits.items()}


def _without_signs(rows: Dataset, signs: Sequence[str], parts: Sequence[str]) -> Dataset:
    def strip(row: Row) -> dict[str, str]:
        texts = {}
        for part in parts:
            if isinstance(row[part], str):
                texts[part] = remove_signs(row[part], signs)
        return texts

    return rows.map(strip)


def rows_to_remove(
    report: Report, also: AlsoRemove = AlsoRemove()
) -> Iterator[tuple[str, int, Finding]]:
    """Rows that must go, with the finding that says why (`a` is the row)."""
    yield from _rows_alike(report, also)
    for finding in report.others():
        if finding.kind == "benchmark":
            yield *finding.a, finding
        elif finding.kind == "conflict" and also.conflicts and finding.b is not None:
            is_inside = finding.a[0] == finding.b[0]
            if is_inside:  # nobody knows which of the two labels is right
                yield *finding.a, finding
                yield *finding.b, replace(finding, a=finding.b, b=finding.a)
    yield from _rows_of_groups(report, also)
    yield from _rows_out_of_time(report)


def _rows_alike(report: Report, also: AlsoRemove) -> Iterator[tuple[str, int, Finding]]:
    findings = [*report.alike(every=True)]
    if also.shared:
        findings += report.apart()
    for finding in findings:
        if finding.b is None:
            continue
        # of two splits the row of the earlier one goes; inside of one the first row stays
        is_inside = finding.a[0] == finding.b[0]
        row, other = (finding.b, finding.a) if is_inside else (finding.a, finding.b)
        yield *row, replace(finding, a=row, b=other)


def _rows_of_groups(report: Report, also: AlsoRemove) -> Iterator[tuple[str, int, Finding]]:
    for shared in report.shared:
        if not shared.is_named and shared.column != also.group:
            continue
        for value, (rows, other_rows) in shared.values.items():
            kept = report.row_in_data(shared.second, other_rows[0])
            note = f"{shared.column} {value} is in {shared.second} too"
            for row in rows:
                place = report.row_in_data(shared.first, row)
                yield *place, Finding("group", place, kept, 1.0, note)


def _rows_out_of_time(report: Report) -> Iterator[tuple[str, int, Finding]]:
    for late in report.late:
        if not late.rows:
            continue
        latest = report.row_in_data(late.first, late.latest)
        earliest = report.row_in_data(late.second, late.earliest)
        too_late, too_early = late.to_remove
        for row in too_late:
            yield _removed_for_date(
                report, late.first, row, earliest, f"not before {late.second} begins"
            )
        for row in too_early:
            yield _removed_for_date(report, late.second, row, latest, f"before {late.first} ends")


def _removed_for_date(
    report: Report, split: str, row: int, other: Place, note: str
) -> tuple[str, int, Finding]:
    place = report.row_in_data(split, row)
    return *place, Finding("time", place, other, 1.0, note)


def findings_left(report: Report) -> list[Finding]:
    """Findings that cleaning leaves as they are."""
    others = [finding for finding in report.others() if finding.kind != "benchmark"]
    return [*report.apart(), *others]
