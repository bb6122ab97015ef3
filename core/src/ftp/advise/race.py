"""Pilots of all entries on few updates, then of fewer entries on more: successive halving with paired comparisons.

    first rung      a twelfth of a run's updates, on one fold, or on as many as have a hundred rows
    later rungs     a quarter, then all updates
    last rung       all updates on further folds, where two are left that the rows so far cannot tell apart

An entry leaves where it is surely worse than the leader, on the row losses and on the user's score. Of those that are not, the
study says which are promising; the others go on as well where there is time for all of them. The time of the next rung is
forecast from what was measured, so that the budget holds. Seconds are counted as the outcomes have them, so that a race that goes
on where it stopped decides as an unbroken one does.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ftp.advise import kept
from ftp.advise.candidates import Field, beside
from ftp.advise.comparison import Ahead, ahead_in
from ftp.advise.lanes import Lane, Raced
from ftp.advise.pilot import Job
from ftp.advise.pool import Pool
from ftp.advise.scores import LOSS, Scorer
from ftp.advise.situation import run_of, started_options
from ftp.advise.study import open_study
from ftp.advise.types import Entry, Metric, Outcome, Situation
from ftp.advise.worker import Worker
from ftp.runs import dry_run, following

if TYPE_CHECKING:
    from ftp.types import Data

Tell = Callable[[str], None]

SHARES = (1 / 12, 1 / 4, 1.0)
"""Of the updates of a whole run, by rung."""
FEWEST_UPDATES = 8
FEWEST_ROWS = 200
"""Rows that a pilot is fitted on at least, where there are so many: its head begins as a linear model of them."""
HELD_ROWS = 100
"""Answered rows that a rung should have."""
MOST_FOLDS = (2, 3, 3)
"""Folds of a rung at most."""
START_SECONDS = 8.0
"""Of a first pilot before its first update, at least: the helper imports torch."""


def run_race(
    situation: Situation, pool: Pool, scorer: Scorer, metric: Metric, entries: Sequence[Entry], extras: Field,
    tell: Tell = lambda message: None, *, spent: float = 0.0,
) -> Raced:
    """Race entries on the rows of a pool until the answer is sure, or the budget of the question is used up.

    Args:
        situation: the rows and their plugins.
        pool: the same rows in folds.
        scorer: scores answers.
        metric: the score that counts.
        entries: those that begin, the cheapest first.
        extras: that join beside the leader.
        tell: is given a line on what is being done.
        spent: seconds of the budget that are used up already.
    """
    race = _Race(situation, pool, scorer, metric, extras, tell, spent)
    with Worker(situation.question.out / kept.PILOTS) as worker:
        return race.run(entries, worker)


@dataclass
class _Race:
    """A race that goes on. `spent`: seconds of all pilots so far."""

    situation: Situation
    pool: Pool
    scorer: Scorer
    metric: Metric
    extras: Field
    tell: Tell
    spent: float = 0.0
    lanes: dict[str, Lane] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def budget_left(self) -> float:
        return self.situation.question.budget_seconds - self.spent

    def run(self, entries: Sequence[Entry], worker: Worker) -> Raced:
        """Rung after rung."""
        question = self.situation.question
        key = kept.rows_key(self.pool.rows, self.metric.name)
        self.study, note = open_study(question.out, key, self.metric, question.seed)
        if note:
            self.notes.append(note)
        for entry in entries:
            self._add(entry)
        wanted = sum(self._forecast(lane, 0) for lane in self.lanes.values())
        going_on = list(self.lanes)
        for rung in range(len(SHARES) + 1):
            measured = self._do_rung(going_on, rung, worker)
            if not measured:
                break
            going_on = self._after_rung(measured, rung)
            if not going_on or (rung >= len(SHARES) - 1 and len(going_on) < 2):
                break
        lanes = sorted(self.lanes.values(), key=self._place)
        for lane in lanes:
            self.study.close(lane.entry.name, None if lane.left else self._value(lane), lane.left)
        if any(lane.last is not None for lane in lanes):
            wanted = 0.0
        return Raced(tuple(lanes), self.spent, max(wanted, 2 * self.spent) if wanted else 0.0, tuple(self.notes))

    # --- a rung ---

    def _add(self, entry: Entry) -> None:
        """Let an entry take part."""
        task = self.situation.prepared.task
        rows = following.training_rows(self.situation.data, task)
        prepared = following.follow(run_of(self.situation, entry), rows)
        updates = dry_run.updates(prepared, rows.count)
        if updates is None:  # a plugin says which rows make an update, or their tokens do
            batch = prepared.settings.batch_size
            updates = math.ceil(math.ceil((rows.count or len(self.pool.rows)) / batch) * prepared.settings.epochs)
        self.lanes[entry.name] = Lane(entry, prepared, updates)

    def _do_rung(self, names: Sequence[str], rung: int, worker: Worker) -> list[str]:
        """The pilots of a rung, as far as the budget goes; gives the entries that have an outcome."""
        measured = []
        for name in names:
            lane = self.lanes[name]
            is_over = rung >= len(SHARES)  # a second round of all updates: only the folds that are new
            folds = self._folds(rung)
            if is_over:
                folds = [fold for fold in range(self.pool.num_folds) if fold not in lane.outcomes[-1].folds]
            if not folds:
                continue
            seconds = self._forecast(lane, rung)
            if seconds > self.budget_left:
                self.lanes[name] = dataclasses.replace(lane, is_unfinished=True)
                self.tell(f"{name}: its next pilot would take about {seconds:.0f} s, {max(0.0, self.budget_left):.0f} s are left")
                continue
            outcome = self._pilots(lane, folds, rung, worker)
            if outcome is None:
                self.lanes[name] = dataclasses.replace(lane, is_unfinished=True)
                self.tell(f"{name}: its pilot took longer than there was time for, and was ended")
                continue
            if is_over and not outcome.error:
                outcome = self._joined([lane.outcomes[-1], outcome])
                lane = dataclasses.replace(lane, outcomes=lane.outcomes[:-1])
            lane = dataclasses.replace(lane, outcomes=(*lane.outcomes, outcome), rung=rung)
            if outcome.error:
                lane = dataclasses.replace(lane, left=f"it failed: {outcome.error}")
                self.tell(f"{name} failed, the race goes on without it: {outcome.error}")
            else:
                value = self.scorer.value(self.metric, outcome)
                self.study.report(name, rung, value)
                self.tell(f"{name}: {self.metric.name} {value:.3f} on {len(outcome.rows)} rows after {outcome.updates} updates, "
                          f"{outcome.seconds:.0f} s")
                measured.append(name)
            self.lanes[name] = lane
        return measured

    def _folds(self, rung: int) -> list[int]:
        """The folds that a rung answers: as many as have enough rows."""
        rows_of_fold = max(1, len(self.pool.rows) // self.pool.num_folds)
        most = MOST_FOLDS[min(rung, len(MOST_FOLDS) - 1)]
        return list(range(min(most, self.pool.num_folds, math.ceil(HELD_ROWS / rows_of_fold))))

    def _pilots(self, lane: Lane, folds: Sequence[int], rung: int, worker: Worker) -> Outcome | None:
        """The pilots of an entry on some folds, as one outcome; that of the first that fails; None where one was ended for want
        of time, which is no failure of the entry."""
        outcomes = []
        for fold in folds:
            job = self._job(lane, fold, rung)
            file = self.situation.question.out / kept.PILOTS / f"{kept.key_of(job, lane.prepared)}.json"
            outcome = kept.load(file)
            if outcome is None:
                # a pilot that hangs may not use up all of the time
                limit = max(START_SECONDS, self.budget_left)
                outcome = worker.do(job, limit)
                if outcome.error and outcome.seconds >= limit:
                    self.spent += outcome.seconds
                    return None
                kept.save(outcome, file)
            self.spent += outcome.seconds
            outcomes.append(dataclasses.replace(outcome, entry=lane.entry.name))
            if outcome.error:
                return outcomes[-1]
        return self._joined(outcomes)

    def _job(self, lane: Lane, fold: int, rung: int) -> Job:
        """What a pilot of an entry is to do."""
        question = self.situation.question
        updates = self._updates(lane, rung)
        data = self._data(lane, fold, rung)
        # rows are given: where they came from is of no account
        options = {name: value for name, value in started_options(question).items() if name not in ("data", "columns")}
        options |= lane.entry.options
        if lane.entry.model is not None:
            options["model"] = lane.entry.model
        if self.situation.prepared.settings.form is not None:
            options["form"] = self.situation.prepared.settings.form
        # what follows from the data follows from all rows, not from those of a pilot
        settings = lane.prepared.settings
        options["load_best_model_at_end"] = settings.load_best_model_at_end
        options["early_stopping_patience"] = settings.early_stopping_patience
        if settings.metric_for_best_model is not None:
            options["metric_for_best_model"] = settings.metric_for_best_model
        return Job(lane.entry.name, lane.entry.plugins, question.plugins_from, options, data, self.pool.held(fold), fold,
                   updates, lane.prepared.settings.batch_size)

    def _updates(self, lane: Lane, rung: int) -> int:
        share = SHARES[min(rung, len(SHARES) - 1)]
        return min(lane.updates, max(FEWEST_UPDATES, round(lane.updates * share)))

    def _data(self, lane: Lane, fold: int, rung: int) -> Data:
        """The rows of a pilot: no more than its updates take, but enough for its head to begin with."""
        if rung >= len(SHARES) - 1:
            return self.pool.as_run(fold)
        wanted = max(FEWEST_ROWS, self._updates(lane, rung) * lane.prepared.settings.batch_size)
        return self.pool.as_run(fold, wanted)

    def _joined(self, outcomes: Sequence[Outcome]) -> Outcome:
        """The outcomes of an entry on several folds as one."""
        import numpy as np

        first = outcomes[0]
        answers = []
        folds: list[int] = []
        for outcome in outcomes:
            answers += list(outcome.answers)
            folds += outcome.folds
        scores = {}
        for name in first.scores:
            scores[name] = float(np.mean([outcome.scores.get(name, math.nan) for outcome in outcomes]))
        return Outcome(
            first.entry, np.concatenate([outcome.rows for outcome in outcomes]),
            np.concatenate([outcome.losses for outcome in outcomes]), answers, scores,
            sum(outcome.seconds for outcome in outcomes), max(outcome.memory for outcome in outcomes), first.num_train_rows,
            first.updates, tuple(folds))

    # --- time ---

    def _forecast(self, lane: Lane, rung: int) -> float:
        """Seconds of a rung of an entry: by its own last rung, else by what others took, else what any takes at least."""
        updates = self._updates(lane, rung)
        num_folds = len(self._folds(rung))
        if rung >= len(SHARES):
            num_folds = self.pool.num_folds - len(self._folds(rung))
        if lane.outcomes:
            last = lane.outcomes[-1]
            return last.seconds / max(1, len(last.folds)) * max(1.0, updates / max(1, last.updates)) * num_folds
        of_others = []
        for other in self.lanes.values():
            if other.outcomes and not other.outcomes[0].error:
                first = other.outcomes[0]
                by_cost = first.seconds / max(1, len(first.folds)) / max(1, first.updates) / other.entry.cost
                of_others.append(by_cost * updates * lane.entry.cost)
        if of_others:
            return max(of_others) * num_folds
        return START_SECONDS * num_folds

    # --- standing ---

    def _value(self, lane: Lane) -> float | None:
        """The score of an entry in its last rung."""
        if lane.last is None:
            return None
        value = self.scorer.value(self.metric, lane.last)
        return value if math.isfinite(value) else None

    def _place(self, lane: Lane) -> tuple[bool, int, float]:
        """Where an entry stands: those that left last, those of later rungs first, then by score."""
        value = self._value(lane)
        if value is None:
            return True, -lane.rung, math.inf
        return bool(lane.left), -lane.rung, -self.metric.ahead(value, 0.0)

    def _after_rung(self, measured: Sequence[str], rung: int) -> list[str]:
        """Who goes on: those that are not surely worse than the leader, the promising ones first; and extras beside it."""
        standing = sorted(measured, key=lambda name: self._place(self.lanes[name]))
        leader = self.lanes[standing[0]]
        staying = [leader.entry.name]
        for name in standing[1:]:
            behind = self.behind(leader, self.lanes[name])
            if behind:
                self.lanes[name] = dataclasses.replace(self.lanes[name], left=behind)
                self.tell(f"{name} leaves: {behind}")
            else:
                staying.append(name)
        if rung == 0:
            for entry in beside(self.situation, self.extras, self._trained_leader(standing)):
                self._add(entry)
                staying.append(entry.name)
        promising = self.study.promising(rung, [name for name in staying if self.lanes[name].outcomes])
        behind_them = [name for name in staying if name not in promising]
        return self._with_time(promising, behind_them, rung + 1)

    def _with_time(self, promising: Sequence[str], others: Sequence[str], rung: int) -> list[str]:
        """Those that the next rung has time for: the leader, the promising ones, then the others, cheap ones first.

        A leader that there is no time for gives way to the next: none of them is surely worse.
        """
        time_left = self.budget_left
        going_on: list[str] = []
        for name in [*promising, *sorted(others, key=lambda name: self._forecast(self.lanes[name], rung))]:
            seconds = self._forecast(self.lanes[name], rung)
            if seconds <= time_left:
                going_on.append(name)
                time_left -= seconds
            else:
                self.lanes[name] = dataclasses.replace(self.lanes[name], is_unfinished=True)
        return going_on

    def _trained_leader(self, standing: Iterable[str]) -> Entry:
        """The best entry that trains a network, as extras change how it is trained; else the best."""
        names = list(standing)
        trained = [name for name in names if self.lanes[name].entry.trains]
        return self.lanes[(trained or names)[0]].entry

    def behind(self, leader: Lane, other: Lane) -> str:
        """Why an entry is surely worse than the leader, in words; empty where it is not."""
        if leader.last is None or other.last is None:
            return ""
        seed = self.situation.question.seed
        in_score = ahead_in(self.scorer, self.metric, leader.last, other.last, seed)
        if not in_score.is_surely_better:
            return ""
        words = f"{self.metric.name} {_interval(in_score)} behind {leader.entry.name}"
        if self.metric.name == LOSS or _objective(leader) != _objective(other):
            return words
        in_loss = ahead_in(self.scorer, Metric(LOSS, "min"), leader.last, other.last, seed)
        return f"{words}, loss {_interval(in_loss)}" if in_loss.is_surely_better else ""


def _objective(lane: Lane) -> tuple[str, ...]:
    """The plugins whose losses can be compared with one another."""
    wants = [plugin.name for plugin in lane.prepared.picked if plugin.declaration.wants]
    return tuple(wants)


def _interval(ahead: Ahead) -> str:
    return f"{ahead.value:.3f} ({ahead.low:.3f} to {ahead.high:.3f})"
