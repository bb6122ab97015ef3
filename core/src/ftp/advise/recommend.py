"""One recommendation from looks and race: what to run, what it will score, and what these rows cannot tell.

Heavy: scores answers by the plugins of the run.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftp.advise import from_looks
from ftp.advise.candidates import entries_of, field_of
from ftp.advise.comparison import NORMAL, NOT_COMPARED, Ahead, ahead_in
from ftp.advise.first_stage import Staged, train_and_stage
from ftp.advise.forecast import elsewhere, expected_score, seconds_of_run
from ftp.advise.lanes import Lane, Raced
from ftp.advise.race import run_race
from ftp.advise.scores import LOSS, Scorer
from ftp.advise.situation import run_of
from ftp.advise.started import started
from ftp.advise.types import AnswerKind, Entry, Facts, Looks, Metric, Outcome, Recommendation, Situation, Tried
from ftp.advise.wording import MORE_ROWS, difference, duration, more_rows
from ftp.report.numbers import format_number

if TYPE_CHECKING:
    from ftp.advise.pool import Pool

Tell = Callable[[str], None]

ENOUGH = 0.2
"""Share of a run's updates from which on a network that is no better than what needs none is taken to stay so."""
WORTH_LABELS = 0.02
"""What further labels are surely worth, at least, where that is told as the answer: two points."""


def race_and_recommend(
    situation: Situation, facts: Facts, pool: Pool, looks: Looks, tell: Tell = lambda message: None
) -> Recommendation:
    """Race what may be raced within the budget of the question, and say what it comes to.

    Args:
        situation: the rows and their plugins.
        facts: of the rows.
        pool: the rows in folds.
        looks: at them.
        tell: is given a line on what is being done.
    """
    field = field_of(situation)
    unraced: tuple[str, ...] = ()
    if looks.metric.name == LOSS and field.objectives:
        # the loss of one objective says nothing beside that of another
        unraced = (f"another objective ({', '.join(field.objectives)}), named with --plugins: their losses cannot be compared",)
        field = dataclasses.replace(field, objectives={})
    entries = entries_of(situation, field)
    if not situation.question.budget_seconds or not entries:
        return _with_forecast(situation, from_looks.recommend(situation, facts, looks, entries))
    staged = Staged()
    if situation.question.unlabelled is not None:
        staged = train_and_stage(situation, entries, tell)
        entries = [*entries, *staged.entries]
    with started(situation) as run:
        scorer = Scorer(run, pool)
        raced = run_race(situation, pool, scorer, looks.metric, entries, field, tell, spent=staged.seconds)
        made = recommend(situation, facts, pool, scorer, looks, raced, entries)
        return dataclasses.replace(made, would_change=(*made.would_change, *staged.notes, *unraced))


def recommend(
    situation: Situation, facts: Facts, pool: Pool, scorer: Scorer, looks: Looks, raced: Raced, entries: Sequence[Entry]
) -> Recommendation:
    """What looks and a race come to.

    Args:
        situation: the rows and their plugins.
        facts: of the rows.
        pool: the rows in folds.
        scorer: scores answers to them.
        looks: at them.
        raced: the race.
        entries: what it began with.
    """
    finalists = _finalists(raced.lanes)
    if not finalists:
        return _without_race(situation, facts, looks, raced, entries)
    begun = frozenset(entry.name for entry in entries)
    return _Verdict(situation, pool, scorer, looks, raced, begun).recommendation(finalists)


def _finalists(lanes: Sequence[Lane]) -> list[Lane]:
    """Those of the last rung that are not surely worse, best first."""
    standing = [lane for lane in lanes if lane.last is not None and not lane.left]
    if not standing:
        return []
    last_rung = max(lane.rung for lane in standing)
    return [lane for lane in standing if lane.rung == last_rung]


def _without_race(
    situation: Situation, facts: Facts, looks: Looks, raced: Raced, entries: Sequence[Entry]
) -> Recommendation:
    """What the looks say, and why nothing was raced."""
    of_looks = from_looks.recommend(situation, facts, looks, entries)
    failed = [f"{lane.entry.name}: {lane.left}" for lane in raced.lanes if lane.left]
    would_change = [line for line in of_looks.would_change if "--budget" not in line]
    if raced.wanted:
        budget = situation.question.budget_seconds
        would_change.insert(0, f"a larger budget: {duration(budget)} is too little for the first pilots, which take about "
                            f"{duration(raced.wanted)}: --budget {math.ceil(2 * raced.wanted)}s")
    if failed:
        would_change.insert(0, "candidates that run: all of them failed")
    of_looks = dataclasses.replace(of_looks, why=(*of_looks.why, *failed), would_change=tuple(would_change))
    return _with_forecast(situation, of_looks)


def _with_forecast(situation: Situation, of_looks: Recommendation) -> Recommendation:
    """What the run would take on other machines, which needs no pilot of it."""
    if of_looks.entry is None:
        return of_looks
    return dataclasses.replace(of_looks, elsewhere=elsewhere(run_of(situation, of_looks.entry)))


@dataclass(frozen=True)
class _Verdict:
    """Decides between finalists and looks. `begun`: the names of the entries that the race began with."""

    situation: Situation
    pool: Pool
    scorer: Scorer
    looks: Looks
    raced: Raced
    begun: frozenset[str]

    @property
    def metric(self) -> Metric:
        return self.looks.metric

    def recommendation(self, finalists: Sequence[Lane]) -> Recommendation:
        """The one of the finalists that is recommended, or nothing to train."""
        best = finalists[0]
        chosen = self._cheapest_as_good(finalists)
        # those that were set aside are compared at the last rung that both did
        rest = [lane for lane in self.raced.lanes if lane is not chosen and not lane.left and lane.last is not None]
        outcome = chosen.last
        assert outcome is not None
        as_good = [lane for lane in rest if not self._ahead(*_at_common_rung(chosen, lane)).is_surely_better]
        is_clear = not as_good and not self._untried()
        kind: AnswerKind = "train" if is_clear else "no difference"
        answer = self._in_words(kind, chosen, best, as_good, has_others=bool(rest))

        # a network is only worth its training where it is better than what needs none
        look = self.looks.entries.get(self.looks.best)
        tuned = self._best_tuned(chosen)
        ahead = self._ahead(tuned.last if tuned is not None else outcome, look)
        is_look_as_good = not ahead.is_surely_better and not self._ahead(outcome, look).is_surely_better
        # what cannot be compared says nothing
        is_look_as_good = is_look_as_good and math.isfinite(ahead.value)
        entry: Entry | None = chosen.entry
        simplest = self.looks.entries.get(self.looks.simplest)
        if simplest is not None and not self._is_better_than_simplest(outcome, simplest):
            kind = "nothing to learn"
            answer = (f"Nothing was learnt from these rows: neither a simple model nor a tuned network ({chosen.entry.name}) is "
                      f"better than '{self.looks.simplest}' beyond chance. Look at the labels before you train anything.")
            entry = None
        elif look is not None and is_look_as_good and (tuned is None or tuned.share >= ENOUGH):
            kind = "train nothing"
            untrained = next((lane for lane in finalists if not lane.entry.trains), None)
            frozen = untrained or next((lane for lane in self.raced.lanes if not lane.entry.trains and lane.last), None)
            entry = frozen.entry if frozen is not None and not frozen.left else None
            chosen = frozen if entry is not None and frozen is not None else chosen
            answer = f"Do not fine-tune: '{self.looks.best}' is as good as anything these rows could show"
            if tuned is not None and math.isfinite(ahead.value):
                margin = difference(self.metric, ahead.value, ahead.low, ahead.high)
                answer += f"; {tuned.entry.name} is ahead by {margin}"
            answer += "."
            if entry is not None:
                answer += f" {entry.name} makes a model of it without training the network."
        elif kind == "no difference" and self._are_labels_worth_more():
            kind = "more labels"
            answer = f"{self._labels_in_words()}: no method was shown to add as much. Until then: {answer}"
        outcome = chosen.last
        assert outcome is not None
        expected = expected_score(self.situation, self.scorer, self.looks, chosen, outcome)
        return Recommendation(
            kind, answer, self.metric, entry, expected.score, expected.low, expected.high, seconds_of_run(chosen, outcome),
            chosen.memory or None, elsewhere(chosen.prepared),
            tuple(self._why(chosen, tuned or chosen, look, ahead)), tuple(self._tried(chosen)),
            tuple(self._would_change(chosen, kind)))

    # --- which ---

    def _cheapest_as_good(self, finalists: Sequence[Lane]) -> Lane:
        """The cheapest of those that the best is not ahead of by more than one standard error (the one-standard-error rule,
        Breiman et al. 1984, Classification and Regression Trees, section 3.4.3)."""
        best = finalists[0]
        as_good = []
        for lane in finalists:
            ahead = self._ahead(best.last, lane.last)
            error = (ahead.high - ahead.low) / (2 * NORMAL)
            if lane is best or (math.isfinite(error) and ahead.value <= error):
                as_good.append(lane)
        # what begins with a first stage costs that stage as well
        return min(as_good, key=lambda lane: (lane.entry.first is not None, lane.entry.cost * lane.updates, lane is not best))

    def _ahead(self, own: Outcome | None, other: Outcome | None) -> Ahead:
        if own is None or other is None:
            return NOT_COMPARED
        return ahead_in(self.scorer, self.metric, own, other, self.situation.question.seed)

    def _is_better_than_simplest(self, outcome: Outcome, simplest: Outcome) -> bool:
        """Whether this entry or a look has learnt something."""
        if self._ahead(outcome, simplest).is_surely_better:
            return True
        return self.looks.ahead is not None and self.looks.ahead[1] > 0

    def _best_tuned(self, chosen: Lane) -> Lane | None:
        """What is recommended where it trains a network, else the best of the others that do and did not leave."""
        if chosen.entry.trains:
            return chosen
        tuned = [lane for lane in self.raced.lanes if lane.entry.trains and lane.last is not None]
        return next((lane for lane in tuned if not lane.left), None)

    def _are_labels_worth_more(self) -> bool:
        curve = self.looks.curve
        if curve is None or self.metric.goal != "max":
            return False
        return curve.gain(curve.points[-1].rows, MORE_ROWS)[1] > WORTH_LABELS

    def _untried(self) -> list[str]:
        """The entries that the race began with and had no time for."""
        untried = []
        for lane in self.raced.lanes:
            if lane.entry.name in self.begun and not lane.outcomes and not lane.left:
                untried.append(f"'{lane.entry.name}'")
        return untried

    # --- in words ---

    def _in_words(self, kind: AnswerKind, chosen: Lane, best: Lane, as_good: Sequence[Lane], *, has_others: bool) -> str:
        """The answer where something is recommended.

        Args:
            as_good: those that it is not surely better than.
            has_others: others stayed in the race.
        """
        metric = self.metric
        assert chosen.last is not None
        value = format_number(self.scorer.value(metric, chosen.last))
        shown = f"{metric.name} {value} on rows that it was not fitted on"
        if kind == "train" and has_others:
            return f"Train '{chosen.entry.name}' ({shown}): it is better than the others beyond chance."
        if kind == "train":
            return f"Train '{chosen.entry.name}' ({shown}): the others left the race."
        if not as_good:
            return f"Take '{chosen.entry.name}' ({shown}): there was no time to try {', '.join(self._untried())}."
        names = ", ".join(f"'{lane.entry.name}'" for lane in as_good)
        words = f"No difference that your rows could show between '{chosen.entry.name}' and {names}: take '{chosen.entry.name}'"
        return f"{words}, the cheapest ({shown})." if chosen is not best else f"{words} ({shown})."

    def _why(self, chosen: Lane, compared: Lane, look: Outcome | None, ahead: Ahead) -> list[str]:
        """Reasons. `compared`: which entry `ahead` is of, beside the best look."""
        lines = []
        if chosen.entry.why:
            lines.append(f"{chosen.entry.name}: {chosen.entry.why}")
        if look is not None and math.isfinite(ahead.value):
            words = difference(self.metric, ahead.value, ahead.low, ahead.high)
            lines.append(f"{compared.entry.name} beside '{self.looks.best}', on the same {ahead.rows} rows: {words} of "
                         f"{self.metric.name}")
        if chosen.share < 1:
            lines.append(f"its pilots did {chosen.share:.0%} of a run's updates: the interval allows for the rest")
        if self.looks.curve is not None:
            lines.append(self._labels_in_words() + f", by the curve of '{self.looks.best}'")
        return lines

    def _labels_in_words(self) -> str:
        curve = self.looks.curve
        if curve is None:
            return ""
        return more_rows(self.metric, curve, curve.points[-1].rows)

    def _would_change(self, chosen: Lane, kind: AnswerKind) -> list[str]:
        lines = []
        unfinished = [lane for lane in self.raced.lanes if lane.is_unfinished and not lane.left]
        if unfinished:
            names = ", ".join(f"'{lane.entry.name}'" for lane in unfinished)
            budget = math.ceil(2 * max(self.raced.spent, self.situation.question.budget_seconds))
            lines.append(f"more time: {names} went no further for want of it (--budget {budget}s)")
        if kind in ("no difference", "train nothing", "more labels"):
            lines.append("more labels, which would show smaller differences")
        if kind == "nothing to learn":
            lines.append("labels that say something about the text, or columns that were meant otherwise (--columns)")
        if not self.situation.question.models:
            lines.append("another model: --model NAME, several times")
        lines += self.raced.notes
        return lines

    def _tried(self, chosen: Lane) -> list[Tried]:
        """The race and the looks as lines of a table, the best first."""
        lines = []
        for lane in self.raced.lanes:
            if not lane.outcomes:
                lines.append(Tried(lane.entry.name, left=lane.left or "not tried: no time for it"))
                continue
            value = None if lane.last is None else self.scorer.value(self.metric, lane.last)
            behind = self._behind(chosen, lane)
            left = lane.left
            if not left and lane.is_unfinished and lane is not chosen:
                left = "set aside for want of time, not because it was worse"
            lines.append(Tried(lane.entry.name, value, *behind, rows=lane.outcomes[-1].num_train_rows, seconds=lane.seconds,
                               left=left))
        for name, outcome in self.looks.entries.items():
            ahead = self._ahead(chosen.last, outcome)
            lines.append(Tried(name, outcome.scores.get(self.metric.name), *_of(ahead), rows=outcome.num_train_rows,
                               seconds=outcome.seconds))
        return sorted(lines, key=lambda line: _place(line, chosen.entry.name))

    def _behind(self, chosen: Lane, lane: Lane) -> tuple[float | None, float | None, float | None]:
        """How far an entry is behind what is recommended, at the last rung that both did."""
        if lane is chosen:
            return None, None, None
        return _of(self._ahead(*_at_common_rung(chosen, lane)))


def _place(line: Tried, first: str) -> float:
    """Where a line of the table stands: what is recommended, then by how far behind it is, then what was not compared."""
    if line.name == first:
        return -math.inf
    return math.inf if line.behind is None else line.behind


def _at_common_rung(lane: Lane, other: Lane) -> tuple[Outcome | None, Outcome | None]:
    """The outcomes of two entries at the last rung that both did; None where one of them failed in it."""
    rung = min(lane.rung, other.rung)
    outcomes = []
    for own in (lane, other):
        # an extra joins late: its first outcome is of the second rung
        first = own.rung + 1 - len(own.outcomes)
        place = rung - first
        outcome = own.outcomes[place] if 0 <= place < len(own.outcomes) else own.last
        outcomes.append(outcome if outcome is None or not outcome.error else None)
    return outcomes[0], outcomes[1]


def _of(ahead: Ahead) -> tuple[float | None, float | None, float | None]:
    if not math.isfinite(ahead.value):
        return None, None, None
    return ahead.value, ahead.low, ahead.high
