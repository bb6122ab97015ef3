"""What was found in the splits of a data set: the numbers that the verdict is made of, and every finding by its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ftp_leakage import labels
from ftp_leakage.findings import Finding, Kind
from ftp_leakage.near.pairs import NOTES, SAME, Pairs

SURE = 30.0


ASKED = ("prompt", "context")  # many rows may be about one of these: it is weighed however often it is there


@dataclass(frozen=True)
class Overlap:
    """Pairs of rows of two splits that are alike in `part` (`row`: as a whole). `other`: the part of the second row, where
    it is another. `weighty`: rows that share it are hardly unseen, whatever else is in them."""

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
    """Groups of one column that are in two splits: `rows` of the second split belong to one."""

    column: str
    named: bool
    first: str
    second: str
    values: Mapping[Any, tuple[list[int], list[int]]]
    of: int

    @property
    def rows(self) -> int:
        return sum(len(second) for _, second in self.values.values())


@dataclass(frozen=True)
class Late:
    """Training rows dated at or after the first row of an evaluation split. `rows` of `of` dated ones; `latest`,
    `earliest`: rows. `go`: rows of the first and of the second that are on the wrong side of the best date to cut at."""

    first: str
    second: str
    rows: int
    of: int
    latest: int
    earliest: int
    go: tuple[Any, Any] = ((), ())


@dataclass(frozen=True)
class Contained:
    """Benchmark rows found in training rows: [found] training row, benchmark row, score, and the part that scored best."""

    name: str
    rows: Any
    bench: Any
    score: Any
    part: Sequence[str]
    compared: int
    of: int

    def found(self) -> int:
        import numpy as np

        return len(np.unique(self.bench))


@dataclass(frozen=True)
class Report:
    """Everything that was found. `rows`: rows in the data (None: a stream that goes on). `looked`: rows compared.
    `numbers`: for each split the numbers that its rows have in the data that were given, where a sample was looked at.
    `empty`: rows without text, which were compared with nothing. `told`: where a sample was looked at. `left_out`: what could
    not be compared, and why."""

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
    told: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def place(self, split: str, row: int) -> tuple[str, int]:
        """A row of the sample as a row of the data that were given."""
        numbers = self.numbers.get(split)
        return split, int(row if numbers is None else numbers[row])

    def alike(self, every: bool = False) -> Iterator[Finding]:
        """Rows that are alike as a whole. Near duplicates of a row that has an exact one are left out unless `every`."""
        import numpy as np

        for overlap in (*self.overlaps, *self.inside):
            pairs = overlap.pairs
            exact = pairs.why == SAME
            skip = np.zeros(len(pairs), bool) if every else ~exact & np.isin(pairs.right, pairs.right[exact])
            for at, a, b in self._places(overlap):
                if not skip[at]:
                    kind: Kind = "exact" if exact[at] else "near"
                    yield Finding(kind, a, b, float(pairs.similarity[at]), NOTES[pairs.why[at]])

    def apart(self) -> Iterator[Finding]:
        """Parts of rows that are alike while the rows are not: a group where it is the same text in the same column, or
        what was asked; else a copy of that part."""
        for overlap in self.sides:
            pairs = overlap.pairs
            for at, a, b in self._places(overlap):
                same = pairs.why[at] == SAME
                alike: Kind = "exact" if same else "near"
                kind = "group" if not overlap.other and (same or overlap.part in ASKED) else alike
                note = f"{'' if same else 'nearly '}the same {overlap.part}"
                yield Finding(kind, a, b, float(pairs.similarity[at]),
                              f"{note} as the other's {overlap.other}" if overlap.other else note)

    def _places(self, overlap: Overlap) -> Iterator[tuple[int, tuple[str, int], tuple[str, int]]]:
        """Each pair of an overlap, by rows, with the places of its rows."""
        import numpy as np

        pairs = overlap.pairs
        for at in np.lexsort((pairs.left, pairs.right)).tolist():
            yield at, self.place(overlap.first, pairs.left[at]), self.place(overlap.second, pairs.right[at])

    def findings(self) -> Iterator[Finding]:
        """All findings, rows alike first."""
        yield from self.alike()
        yield from self.apart()
        yield from self.others()

    def others(self) -> Iterator[Finding]:
        """Findings that are not about rows or parts that are alike."""
        for one in self.shared:
            for value, (mine, theirs) in one.values.items():
                yield Finding("group", self.place(one.first, mine[0]), self.place(one.second, theirs[0]), 1.0,
                              f"{one.column} {value} has {len(mine)} rows in {one.first} and {len(theirs)} in {one.second}")
        for split, row, other, second in self.conflicts:
            yield Finding("conflict", self.place(split, row), self.place(other, second), 1.0, "the same text, two labels")
        for give in self.giveaways:
            named = "which is its name, " if give.named else ""
            yield Finding("label", self.place(self.train, give.example), None, give.purity,
                          f"the word '{give.what}', {named}gives away the label {give.label}: "
                          f"{give.purity:.1%} of {give.rows} rows with it, {give.coverage:.0%} of the label's rows")
        for give in self.telling:
            yield Finding("label", self.place(self.train, give.example), None, give.purity,
                          f"the column {give.what} tells the label in {give.purity:.1%} of {give.rows} rows")
        for late in self.late:
            if late.rows:
                yield Finding("time", self.place(late.first, late.latest), self.place(late.second, late.earliest), 1.0,
                              f"{late.rows} of {late.of} rows of {late.first} are not before the first of {late.second}")
        for held in self.contained:
            for row, bench, score, named in zip(held.rows.tolist(), held.bench.tolist(), held.score.tolist(), held.part,
                                               strict=True):
                whose = "" if named == "row" else f" {named}'s"
                yield Finding("benchmark", self.place(self.train, row), (held.name, bench), score,
                              f"{score:.0%} of the benchmark row's{whose} words stand in it")
