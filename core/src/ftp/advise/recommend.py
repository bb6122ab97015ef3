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
from ftp.advise.comparison import Ahead
from ftp.advise.decide import Comparer, Decision, decide
from ftp.advise.first_stage import Staged, train_and_stage
from ftp.advise.forecast import elsewhere, expected_score, seconds_of_run
from ftp.advise.lanes import Lane, Raced
from ftp.advise.race import run_race
from ftp.advise.scores import LOSS, Scorer
from ftp.advise.situation import run_of
from ftp.advise.started import started
from ftp.advise.types import Entry, Facts, Looks, Metric, Outcome, Recommendation, Situation, Tried
from ftp.advise.usual import ALIKE, TRAINING, has_usual
from ftp.advise.wording import difference, duration, more_rows, points
from ftp.report.numbers import format_number

if TYPE_CHECKING:
    from ftp.advise.pool import Pool

Tell = Callable[[str], None]


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
        # a method and the same after a first stage go side by side, so that a short budget compares some of both
        entries = sorted([*entries, *staged.entries], key=lambda entry: entry.cost)
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
    comparer = Comparer(scorer, looks.metric, situation.question.seed)
    begun = frozenset(entry.name for entry in entries)
    untried = _untried(raced.lanes, begun)
    decision = decide(comparer, raced.lanes, looks, is_all_tried=not untried)
    if decision is None:
        return _without_race(situation, facts, looks, raced, entries)
    return _Words(situation, comparer, looks, raced, decision, untried).recommendation()


def _untried(lanes: Sequence[Lane], begun: frozenset[str]) -> tuple[str, ...]:
    """The entries that the race began with and had no time for."""
    untried = []
    for lane in lanes:
        if lane.entry.name in begun and not lane.outcomes and not lane.left:
            untried.append(f"'{lane.entry.name}'")
    return tuple(untried)


def _without_race(
    situation: Situation, facts: Facts, looks: Looks, raced: Raced, entries: Sequence[Entry]
) -> Recommendation:
    """What the looks say, and why nothing was raced."""
    # a budget was given, so that asking for one is no advice
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
class _Words:
    """A decision in words and numbers. `untried`: entries that there was no time for."""

    situation: Situation
    comparer: Comparer
    looks: Looks
    raced: Raced
    decision: Decision
    untried: tuple[str, ...]

    @property
    def metric(self) -> Metric:
        return self.looks.metric

    def recommendation(self) -> Recommendation:
        """What to run, what it is expected to score, and why."""
        decision = self.decision
        chosen = decision.chosen
        outcome = _last(chosen)
        made = Recommendation(
            decision.kind, self._answer(), self.metric, chosen.entry if decision.is_run else None,
            seconds=seconds_of_run(chosen, outcome), memory=chosen.memory or None, elsewhere=elsewhere(chosen.prepared),
            why=tuple(self._why()), tried=tuple(self._tried()), would_change=tuple(self._would_change()))
        if decision.kind == "not known":  # no score was seen that a run could be held to
            return made
        expected = expected_score(self.situation, self.comparer.scorer, self.looks, chosen, outcome)
        return dataclasses.replace(made, score=expected.score, low=expected.low, high=expected.high)

    # --- the answer ---

    def _answer(self) -> str:
        kind = self.decision.kind
        name = self.decision.chosen.entry.name
        if kind == "not known":
            return (f"Nothing was learnt yet: every {self.metric.name} is 0, after {self.decision.chosen.share:.0%} of a run's "
                    f"updates. The recipe is '{name}', the cheapest run that could be; pilots with more time can tell.")
        if kind == "nothing to learn" and not self.looks.simplest:
            return (f"Nothing was learnt from these rows: every {self.metric.name} is 0, that of '{name}' too. Look at the rows "
                    "before you train anything.")
        if kind == "nothing to learn":
            return (f"Nothing was learnt from these rows: neither a simple model nor a tuned network ({name}) is better than "
                    f"'{self.looks.simplest}' beyond chance. Look at the labels before you train anything.")
        if kind == "train nothing":
            return self._train_nothing()
        if kind == "likely":
            return self._likely()
        if kind == "train":
            return self._train()
        answer = self._no_difference()
        if kind == "more labels":
            return f"{self._labels_in_words()}: no method was shown to add as much. Until then: {answer}"
        return answer

    def _shown(self) -> str:
        """The score of what is recommended, as pilots have it."""
        value = format_number(self.comparer.scorer.value(self.metric, _last(self.decision.chosen)))
        return f"{self.metric.name} {value} on rows that it was not fitted on"

    def _train(self) -> str:
        chosen = self.decision.chosen
        has_others = any(lane is not chosen and not lane.left and lane.last is not None for lane in self.raced.lanes)
        why = "it is better than the others beyond chance" if has_others else "the others left the race"
        return f"Train '{chosen.entry.name}' ({self._shown()}): {why}."

    def _train_nothing(self) -> str:
        decision = self.decision
        ahead = decision.beside_look
        answer = f"Do not fine-tune: '{self.looks.best}' is as good as anything these rows could show"
        if decision.tuned.entry.trains and math.isfinite(ahead.value):
            margin = difference(self.metric, ahead.value, ahead.low, ahead.high)
            answer += f"; {decision.tuned.entry.name} is ahead by {margin}"
        answer += "."
        if decision.is_run:
            answer += f" {decision.chosen.entry.name} makes a model of it without training the network."
        return answer

    def _likely(self) -> str:
        chosen = self.decision.chosen
        cheaper = self.decision.cheaper
        assert cheaper is not None
        gain = self.comparer.gain(chosen, cheaper)
        if not has_usual(self.metric, gain):
            return (f"Take '{chosen.entry.name}' ({self._shown()}): it is ahead of the cheaper '{cheaper.entry.name}', which "
                    "your rows cannot show beyond chance.")
        return (f"Take '{chosen.entry.name}' ({self._shown()}): by your rows and by what is usual it is {points(gain)} points "
                f"ahead of the cheaper '{cheaper.entry.name}', which your rows alone cannot show beyond chance.")

    def _no_difference(self) -> str:
        chosen = self.decision.chosen
        if not self.decision.as_good:
            return f"Take '{chosen.entry.name}' ({self._shown()}): there was no time to try {', '.join(self.untried)}."
        names = ", ".join(f"'{lane.entry.name}'" for lane in self.decision.as_good)
        return (f"No difference that your rows could show between '{chosen.entry.name}' and {names}: take "
                f"'{chosen.entry.name}', the cheapest ({self._shown()}).")

    # --- reasons ---

    def _why(self) -> list[str]:
        """Reasons."""
        decision = self.decision
        chosen = decision.chosen
        ahead = decision.beside_look
        lines = []
        if chosen.entry.why:
            lines.append(f"{chosen.entry.name}: {chosen.entry.why}")
        if math.isfinite(ahead.value):
            words = difference(self.metric, ahead.value, ahead.low, ahead.high)
            lines.append(f"{decision.tuned.entry.name} beside '{self.looks.best}', on the same {ahead.rows} rows: {words} of "
                         f"{self.metric.name}")
        if decision.kind == "likely" and has_usual(self.metric, self.comparer.scorer.value(self.metric, _last(chosen))):
            lines.append(f"usual, by our measurements: a trained network is {points(TRAINING.mean)} points ahead of a linear "
                         f"model of its features (sd {100 * TRAINING.spread:.0f} over sets), ways of training it are alike "
                         f"(sd {100 * ALIKE.spread:.1f})")
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

    def _would_change(self) -> list[str]:
        kind = self.decision.kind
        lines = []
        unfinished = [lane for lane in self.raced.lanes if lane.is_unfinished]
        unfinished = [lane for lane in unfinished if not lane.left]
        if unfinished:
            names = ", ".join(f"'{lane.entry.name}'" for lane in unfinished)
            # twice of what was used up is enough for those that the next rung had no time for
            budget = math.ceil(2 * max(self.raced.spent, self.situation.question.budget_seconds))
            lines.append(f"more time: {names} went no further for want of it (--budget {budget}s)")
        if kind in ("likely", "no difference", "train nothing", "more labels"):
            lines.append("more labels, which would show smaller differences")
        if kind == "nothing to learn":
            lines.append("labels that say something about the text, or columns that were meant otherwise (--columns)")
        if not self.situation.question.models:
            lines.append("another model: --model NAME, several times")
        lines += self.raced.notes
        return lines

    def _tried(self) -> list[Tried]:
        """The race and the looks as lines of a table, the best first."""
        chosen = self.decision.chosen
        lines = []
        for lane in self.raced.lanes:
            if not lane.outcomes:
                lines.append(Tried(lane.entry.name, left=lane.left or "not tried: no time for it"))
                continue
            value = None if lane.last is None else self.comparer.scorer.value(self.metric, lane.last)
            behind = self._behind(lane)
            left = lane.left
            if not left and lane.is_unfinished and lane is not chosen:
                left = "set aside for want of time, not because it was worse"
            lines.append(Tried(lane.entry.name, value, *behind, rows=lane.outcomes[-1].num_train_rows, seconds=lane.seconds,
                               left=left))
        for name, outcome in self.looks.entries.items():
            ahead = self.comparer.ahead(chosen.last, outcome)
            lines.append(Tried(name, outcome.scores.get(self.metric.name), *_of(ahead), rows=outcome.num_train_rows,
                               seconds=outcome.seconds))
        return sorted(lines, key=lambda line: _place(line, chosen.entry.name))

    def _behind(self, lane: Lane) -> tuple[float | None, float | None, float | None]:
        """How far an entry is behind what is recommended, at the last rung that both did."""
        if lane is self.decision.chosen:
            return None, None, None
        return _of(self.comparer.lane_ahead(self.decision.chosen, lane))


def _last(lane: Lane) -> Outcome:
    """The last rung of a lane that was decided on, which has one."""
    assert lane.last is not None
    return lane.last


def _place(line: Tried, first: str) -> float:
    """Where a line of the table stands: what is recommended, then by how far behind it is, then what was not compared."""
    if line.name == first:
        return -math.inf
    return math.inf if line.behind is None else line.behind


def _of(ahead: Ahead) -> tuple[float | None, float | None, float | None]:
    if not math.isfinite(ahead.value):
        return None, None, None
    return ahead.value, ahead.low, ahead.high
