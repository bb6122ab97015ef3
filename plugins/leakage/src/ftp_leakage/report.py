"""What was found in the splits of a data set: the numbers that the verdict is made of, and every finding by its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ftp_leakage import labels
from ftp_leakage.findings import Finding, Kind, Place
from ftp_leakage.near.pairs import NOTES, SAME, Pairs

SURE = 30.0  # nats; chance all but rules such a pair out
ASKED = ("prompt", "context")  # many rows may be about one of these: it is weighed however often it is there


@dataclass(frozen=True)
class Overlap:
    """Pairs of rows of two splits that are alike in a part.

    Args:
        part: what is alike of the first row (`row`: all of it).
        first: the split of the pairs' left rows.
        second: the split of their right rows.
        other: the part of the second row, where it is another.
        weighty: rows that share it are hardly unseen, whatever else is in them.
    """

    part: str
    first: str
    second: str
    pairs: Pairs
    other: str = ""
    weighty: bool = False

    @property
    def name(self) -> str:
        """The part as evidence calls it."""
        return f"{self.part} as {self.other}" if self.other else self.part

    def rows(self) -> int:
        """Rows of the second split that are in some pair."""
        import numpy as np

        return len(np.unique(self.pairs.right))

    def exact(self) -> int:
        """Rows of the second split that are in a pair of the same words."""
        import numpy as np

        return len(np.unique(self.pairs.right[self.pairs.why == SAME]))

    def sure(self) -> int:
        """Rows of the second split in a pair that chance all but rules out (log odds of at least `SURE` nats)."""
        import numpy as np

        return len(np.unique(self.pairs.right[self.pairs.odds >= SURE]))


@dataclass(frozen=True)
class Shared:
    """Groups of one column that are in two splits.

    Args:
        named: the user named the column; else it was found.
        values: group -> its rows in the first split, and in the second.
        of: rows of the second split.
    """

    column: str
    named: bool
    first: str
    second: str
    values: Mapping[Any, tuple[list[int], list[int]]]
    of: int

    @property
    def rows(self) -> int:
        """Rows of the second split whose group is in the first as well."""
        return sum(len(second) for _, second in self.values.values())


@dataclass(frozen=True)
class Late:
    """Training rows dated at or after the first row of an evaluation split.

    Args:
        rows: how many these are.
        of: rows of the first split that have a date.
        latest: the row of the first split with the latest date.
        earliest: the row of the second with the earliest.
        go: rows of the first and of the second that are on the wrong side of the best date to cut at.
    """

    first: str
    second: str
    rows: int
    of: int
    latest: int
    earliest: int
    go: tuple[Any, Any] = ((), ())


@dataclass(frozen=True)
class Contained:
    """Benchmark rows that stand in training rows, a column each.

    Args:
        name: the benchmark's file.
        rows: [pairs] training rows.
        bench: [pairs] benchmark rows.
        score: [pairs] share of the benchmark row's words.
        part: [pairs] the part of the benchmark row that scored best (`row`: all of it).
        compared: benchmark rows long enough to be looked for.
        of: benchmark rows in all.
    """

    name: str
    rows: Any
    bench: Any
    score: Any
    part: Sequence[str]
    compared: int
    of: int

    def num_benchmark_rows(self) -> int:
        """Benchmark rows that stand in some training row."""
        import numpy as np

        return len(np.unique(self.bench))


@dataclass(frozen=True)
class Report:
    """Everything that was found.

    Args:
        rows: rows of each split in the data (None: a stream that goes on).
        looked: rows of each split that were compared.
        empty: rows of each split without text, which were compared with nothing.
        numbers: for each split the numbers that its rows have in the data that were given, where a sample was looked at.
        sampled: where a sample was looked at, in words.
        left_out: what could not be compared, and why.
    """

    splits: tuple[str, ...]
    rows: Mapping[str, int | None]
    looked: Mapping[str, int]
    empty: Mapping[str, int]
    overlaps: tuple[Overlap, ...] = ()
    sides: tuple[Overlap, ...] = ()
    inside: tuple[Overlap, ...] = ()
    giveaways: tuple[labels.Giveaway, ...] = ()
    given_away: float = 0.0
    telling: tuple[labels.Giveaway, ...] = ()
    conflicts: tuple[tuple[str, int, str, int], ...] = ()
    shared: tuple[Shared, ...] = ()
    late: tuple[Late, ...] = ()
    undated: Mapping[str, int] = field(default_factory=dict)
    contained: tuple[Contained, ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)
    labelled: bool = False
    train: str = "train"
    sampled: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def row_in_data(self, split: str, row: int) -> Place:
        """A row of the sample as a row of the data that were given."""
        numbers = self.numbers.get(split)
        return split, int(row if numbers is None else numbers[row])

    def findings(self) -> Iterator[Finding]:
        """All findings, rows alike first."""
        yield from self.alike()
        yield from self.apart()
        yield from self.others()

    def alike(self, every: bool = False) -> Iterator[Finding]:
        """Rows that are alike as a whole. Near duplicates of a row that has an exact one are left out unless `every`."""
        import numpy as np

        for overlap in (*self.overlaps, *self.inside):
            pairs = overlap.pairs
            is_exact = pairs.why == SAME
            skip = np.zeros(len(pairs), bool)
            if not every:
                skip = ~is_exact & np.isin(pairs.right, pairs.right[is_exact])
            for index, left, right in self._rows_of_pairs(overlap):
                if not skip[index]:
                    kind: Kind = "exact" if is_exact[index] else "near"
                    yield Finding(kind, left, right, float(pairs.similarity[index]), NOTES[pairs.why[index]])

    def apart(self) -> Iterator[Finding]:
        """Parts of rows that are alike while the rows are not: a group where it is the same text in the same column, or
        what was asked; else a copy of that part."""
        for overlap in self.sides:
            pairs = overlap.pairs
            for index, left, right in self._rows_of_pairs(overlap):
                is_same = pairs.why[index] == SAME
                kind: Kind = "exact" if is_same else "near"
                if not overlap.other and (is_same or overlap.part in ASKED):
                    kind = "group"
                note = f"the same {overlap.part}" if is_same else f"nearly the same {overlap.part}"
                if overlap.other:
                    note += f" as the other's {overlap.other}"
                yield Finding(kind, left, right, float(pairs.similarity[index]), note)

    def _rows_of_pairs(self, overlap: Overlap) -> Iterator[tuple[int, Place, Place]]:
        """Each pair of an overlap, by rows: its number, and its rows in the data."""
        import numpy as np

        pairs = overlap.pairs
        for index in np.lexsort((pairs.left, pairs.right)).tolist():
            left = self.row_in_data(overlap.first, pairs.left[index])
            right = self.row_in_data(overlap.second, pairs.right[index])
            yield index, left, right

    def others(self) -> Iterator[Finding]:
        """Findings that are not about rows or parts that are alike."""
        yield from self._groups()
        for split, row, other_split, other_row in self.conflicts:
            yield Finding("conflict", self.row_in_data(split, row), self.row_in_data(other_split, other_row), 1.0,
                          "the same text, two labels")
        yield from self._given_labels()
        for late in self.late:
            if late.rows:
                latest = self.row_in_data(late.first, late.latest)
                earliest = self.row_in_data(late.second, late.earliest)
                yield Finding("time", latest, earliest, 1.0,
                              f"{late.rows} of {late.of} rows of {late.first} are not before the first of {late.second}")
        yield from self._benchmark_rows()

    def _groups(self) -> Iterator[Finding]:
        for shared in self.shared:
            for value, (rows, other_rows) in shared.values.items():
                row = self.row_in_data(shared.first, rows[0])
                other_row = self.row_in_data(shared.second, other_rows[0])
                yield Finding("group", row, other_row, 1.0, f"{shared.column} {value} has {len(rows)} rows in {shared.first} "
                              f"and {len(other_rows)} in {shared.second}")

    def _given_labels(self) -> Iterator[Finding]:
        for giveaway in self.giveaways:
            is_name = "which is its name, " if giveaway.named else ""
            yield Finding("label", self.row_in_data(self.train, giveaway.example), None, giveaway.purity,
                          f"the word '{giveaway.what}', {is_name}gives away the label {giveaway.label}: "
                          f"{giveaway.purity:.1%} of {giveaway.rows} rows with it, {giveaway.coverage:.0%} of the label's rows")
        for giveaway in self.telling:
            yield Finding("label", self.row_in_data(self.train, giveaway.example), None, giveaway.purity,
                          f"the column {giveaway.what} tells the label in {giveaway.purity:.1%} of {giveaway.rows} rows")

    def _benchmark_rows(self) -> Iterator[Finding]:
        for held in self.contained:
            columns = (held.rows.tolist(), held.bench.tolist(), held.score.tolist(), held.part)
            for row, benchmark_row, score, part in zip(*columns, strict=True):
                whose = "" if part == "row" else f" {part}'s"
                yield Finding("benchmark", self.row_in_data(self.train, row), (held.name, benchmark_row), score,
                              f"{score:.0%} of the benchmark row's{whose} words stand in it")
