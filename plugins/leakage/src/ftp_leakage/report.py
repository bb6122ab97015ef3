"""What a check of splits finds: the numbers that the verdict is made of, and every finding by its
rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ftp_leakage import labels
from ftp_leakage.findings import Finding, Kind, Place
from ftp_leakage.near.pairs import NOTES, SAME, Pairs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SURE = 30.0  # nats; chance is all but ruled out for such a pair
ASKED = ("prompt", "context")  # many rows may be about one of these: it counts however common it is


@dataclass(frozen=True)
class Overlap:
    """Pairs of rows of two splits that are alike in a part.

    Args:
        part: what is alike of the first row (`row`: all of it).
        first: the split of the pairs' left rows.
        second: the split of their right rows.
        other: the part of the second row, where it is another.
        is_weighty: rows that share it are hardly unseen, whatever else is in them.
    """

    part: str
    first: str
    second: str
    pairs: Pairs
    other: str = ""
    is_weighty: bool = False

    @property
    def name(self) -> str:
        """The part as evidence calls it."""
        return f"{self.part} as {self.other}" if self.other else self.part

    def num_rows(self) -> int:
        """Rows of the second split that are in some pair."""
        import numpy as np

        return len(np.unique(self.pairs.right))

    def num_exact(self) -> int:
        """Rows of the second split that are in a pair of the same words."""
        import numpy as np

        return len(np.unique(self.pairs.right[self.pairs.why == SAME]))

    def num_sure(self) -> int:
        """Rows of the second split in a pair whose log odds against chance are at least `SURE`."""
        import numpy as np

        return len(np.unique(self.pairs.right[self.pairs.odds >= SURE]))


@dataclass(frozen=True)
class Shared:
    """Groups of one column that are in two splits.

    Args:
        is_named: the user named the column; else its name looks like one.
        values: group -> its rows in the first split, and in the second.
        num_rows: rows of the second split.
    """

    column: str
    is_named: bool
    first: str
    second: str
    values: Mapping[str, tuple[list[int], list[int]]]
    num_rows: int

    @property
    def num_shared(self) -> int:
        """Rows of the second split whose group is in the first as well."""
        return sum(len(second) for _, second in self.values.values())


@dataclass(frozen=True)
class Late:
    """Training rows dated at or after the first row of an evaluation split.

    Args:
        rows: how many these are.
        num_dated: rows of the first split that have a date.
        latest: the row of the first split with the latest date.
        earliest: the row of the second with the earliest.
        to_remove: rows of the first and of the second that are on the wrong side of the best date
            to cut at.
    """

    first: str
    second: str
    rows: int
    num_dated: int
    latest: int
    earliest: int
    to_remove: tuple[Sequence[int] | NDArray[np.int64], Sequence[int] | NDArray[np.int64]] = ((), ())


@dataclass(frozen=True)
class Contained:
    """Benchmark rows that stand in training rows, a column each.

    Args:
        name: the benchmark's file.
        rows: [pairs] training rows.
        benchmark_rows: [pairs] benchmark rows.
        score: [pairs] share of the benchmark row's words.
        part: [pairs] the part of the benchmark row that scored best (`row`: all of it).
        num_compared: benchmark rows long enough to be looked for.
        num_rows: benchmark rows in all.
    """

    name: str
    rows: NDArray[np.int64]
    benchmark_rows: NDArray[np.int64]
    score: NDArray[np.float64]
    part: Sequence[str]
    num_compared: int
    num_rows: int

    def num_contained(self) -> int:
        """Benchmark rows that stand in some training row."""
        import numpy as np

        return len(np.unique(self.benchmark_rows))


@dataclass(frozen=True)
class Report:
    """Everything that was found.

    Args:
        rows: rows of each split in the data (None: a stream that goes on).
        looked: rows of each split that were compared.
        empty: rows of each split without text, which were compared with nothing.
        sides: parts of rows that are alike while the rows are not.
        inside: rows alike inside of one split.
        given_away: share of the first split's rows that have a giveaway.
        telling: columns that tell the label.
        conflicts: split, row, other split, other row of the same text with another label.
        undated: rows of each split without a readable date.
        numbers: split -> the numbers that its rows have in the data, where a sample was looked at.
        has_classes: the first split has labels that are classes.
        train: the split that the others are held against.
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
    numbers: Mapping[str, NDArray[np.int64] | None] = field(default_factory=dict)
    has_classes: bool = False
    train: str = "train"
    sampled: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def row_in_data(self, split: str, row: int) -> Place:
        """A row of the sample as a row of the data."""
        numbers = self.numbers.get(split)
        return split, int(row if numbers is None else numbers[row])

    def findings(self) -> Iterator[Finding]:
        """All findings, rows alike first."""
        yield from self.alike()
        yield from self.apart()
        yield from self.others()

    def alike(self, every: bool = False) -> Iterator[Finding]:
        """Rows that are alike as a whole.

        Args:
            every: also the near duplicates of a row that has an exact one.
        """
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
                    yield Finding(
                        kind, left, right, float(pairs.similarity[index]), NOTES[pairs.why[index]]
                    )

    def apart(self) -> Iterator[Finding]:
        """Parts of rows that are alike while the rows are not: a group where it is the same text in
        the same column, or what was asked; else a copy of that part."""
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
            place = self.row_in_data(split, row)
            other_place = self.row_in_data(other_split, other_row)
            yield Finding("conflict", place, other_place, 1.0, "the same text, two labels")
        yield from self._given_labels()
        yield from self._late_rows()
        yield from self._benchmark_rows()

    def _groups(self) -> Iterator[Finding]:
        for shared in self.shared:
            for value, (rows, other_rows) in shared.values.items():
                row = self.row_in_data(shared.first, rows[0])
                other_row = self.row_in_data(shared.second, other_rows[0])
                note = (
                    f"{shared.column} {value} has {len(rows)} rows in {shared.first} "
                    f"and {len(other_rows)} in {shared.second}"
                )
                yield Finding("group", row, other_row, 1.0, note)

    def _given_labels(self) -> Iterator[Finding]:
        for giveaway in self.giveaways:
            example = self.row_in_data(self.train, giveaway.example)
            is_name = "which is its name, " if giveaway.is_name else ""
            note = (
                f"the word '{giveaway.sign}', {is_name}gives away the label {giveaway.label}: "
                f"{giveaway.purity:.1%} of {giveaway.rows} rows with it, "
                f"{giveaway.coverage:.0%} of the label's rows"
            )
            yield Finding("label", example, None, giveaway.purity, note)
        for column in self.telling:
            example = self.row_in_data(self.train, column.example)
            note = (
                f"the column {column.sign} tells the label in {column.purity:.1%} "
                f"of {column.rows} rows"
            )
            yield Finding("label", example, None, column.purity, note)

    def _late_rows(self) -> Iterator[Finding]:
        for late in self.late:
            if not late.rows:
                continue
            latest = self.row_in_data(late.first, late.latest)
            earliest = self.row_in_data(late.second, late.earliest)
            note = (
                f"{late.rows} of {late.num_dated} rows of {late.first} are at or after the first "
                f"of {late.second}"
            )
            yield Finding("time", latest, earliest, 1.0, note)

    def _benchmark_rows(self) -> Iterator[Finding]:
        for contained in self.contained:
            columns = (
                contained.rows.tolist(),
                contained.benchmark_rows.tolist(),
                contained.score.tolist(),
                contained.part,
            )
            for row, benchmark_row, score, part in zip(*columns, strict=True):
                place = self.row_in_data(self.train, row)
                whose = "" if part == "row" else f" {part}'s"
                note = f"{score:.0%} of the benchmark row's{whose} words stand in it"
                yield Finding("benchmark", place, (contained.name, benchmark_row), score, note)
