"""What is known of an entry in a race, and what a race came to."""

from __future__ import annotations

from dataclasses import dataclass

from ftp.advise.types import Entry, Outcome
from ftp.plugins.plan import Prepared


@dataclass(frozen=True)
class Lane:
    """An entry in the race.

    Attributes:
        entry: what is raced.
        prepared: the run that it is, its open options settled by all rows.
        updates: of that run.
        outcomes: of its pilots, the last rung's at the end.
        rung: the last that it did; -1: none.
        left: why it left the race; empty where it did not.
        is_unfinished: it went no further for want of time, not because it was worse.
    """

    entry: Entry
    prepared: Prepared
    updates: int
    outcomes: tuple[Outcome, ...] = ()
    rung: int = -1
    left: str = ""
    is_unfinished: bool = False

    @property
    def seconds(self) -> float:
        """Of all its pilots."""
        return sum(outcome.seconds for outcome in self.outcomes)

    @property
    def memory(self) -> int:
        """Bytes at the peak of any of its pilots."""
        return max((outcome.memory for outcome in self.outcomes), default=0)

    @property
    def last(self) -> Outcome | None:
        """Its last rung; None where it did none, or failed in it."""
        return self.outcomes[-1] if self.outcomes and not self.outcomes[-1].error else None

    @property
    def share(self) -> float:
        """Of a whole run's updates, in its last rung."""
        return min(1.0, self.outcomes[-1].updates / self.updates) if self.outcomes and self.updates else 1.0


@dataclass(frozen=True)
class Raced:
    """What a race came to.

    Attributes:
        lanes: all entries, the best first, those that left behind them.
        spent: seconds of all pilots.
        wanted: seconds that a first rung would take where the budget is too small for any pilot; else 0.
        notes: what there is to tell.
    """

    lanes: tuple[Lane, ...] = ()
    spent: float = 0.0
    wanted: float = 0.0
    notes: tuple[str, ...] = ()
