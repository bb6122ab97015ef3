"""Which of the raced entries is taken: the cheapest that is expected to be as good as any.

Heavy: scores answers by the plugins of the run.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ftp.advise.comparison import NORMAL, NOT_COMPARED, Ahead, ahead_in, drawn_values
from ftp.advise.forecast import missing_updates_error, run_error
from ftp.advise.from_looks import are_labels_worth_more
from ftp.advise.lanes import Lane
from ftp.advise.scores import Scorer
from ftp.advise.types import AnswerKind, Looks, Metric, Outcome
from ftp.advise.usual import TRAINING, Usual, expected_gain, has_usual, usual_difference

WORTH_COST = 0.005
"""What a dearer entry is expected to add, at least, where it is taken: half a point."""
ENOUGH = 0.2
"""Share of a run's updates from which on a network that is no better than what needs none is taken to stay so."""


@dataclass(frozen=True)
class Comparer:
    """Compares entries in the score that counts.

    Attributes:
        scorer: scores answers.
        metric: the score.
        seed: of the draws.
    """

    scorer: Scorer
    metric: Metric
    seed: int

    def ahead(self, own: Outcome | None, other: Outcome | None) -> Ahead:
        """How far an outcome is ahead of another."""
        if own is None or other is None:
            return NOT_COMPARED
        return ahead_in(self.scorer, self.metric, own, other, self.seed)

    def lane_ahead(self, own: Lane, other: Lane) -> Ahead:
        """How far an entry is ahead of another, at the last rung that both did."""
        return self.ahead(*_at_common_rung(own, other))

    def is_ahead(self, own: Lane, other: Lane) -> bool:
        """Whether an entry is expected to be ahead of another by so much that it is worth its cost."""
        own_outcome, other_outcome = _at_common_rung(own, other)
        return self._is_worth(own_outcome, other_outcome, usual_difference(own.entry, other.entry), (own, other))

    def gain(self, own: Lane, other: Lane) -> float:
        """How far an entry is expected to be ahead of another in whole runs; what the rows show, where nothing is usual."""
        own_outcome, other_outcome = _at_common_rung(own, other)
        return self._gain(own_outcome, other_outcome, usual_difference(own.entry, other.entry), (own, other))

    def is_ahead_of_look(self, own: Lane, look: Outcome) -> bool:
        """Whether a tuned network is expected to be ahead of what needs no training by so much that it is worth its cost."""
        usual = TRAINING if own.entry.trains else Usual(0.0, TRAINING.spread)
        return self._is_worth(own.last, look, usual, (own,))

    def _is_worth(self, own: Outcome | None, other: Outcome | None, usual: Usual, lanes: Sequence[Lane]) -> bool:
        ahead = self.ahead(own, other)
        if not self._has_usual(own):
            # one standard error (Breiman et al. 1984, Classification and Regression Trees, section 3.4.3)
            error = (ahead.high - ahead.low) / (2 * NORMAL)
            return not (math.isfinite(error) and ahead.value <= error)
        return self._gain(own, other, usual, lanes) > WORTH_COST

    def _gain(self, own: Outcome | None, other: Outcome | None, usual: Usual, lanes: Sequence[Lane]) -> float:
        ahead = self.ahead(own, other)
        if not self._has_usual(own):
            return ahead.value
        variance = 0.0
        for lane in lanes:
            variance += missing_updates_error(self.scorer, self.metric, lane) ** 2
            # the same method on the same rows does a little better or worse with another seed
            variance += self._run_error(lane) ** 2
        return expected_gain(ahead, usual, math.sqrt(variance))

    def _run_error(self, lane: Lane) -> float:
        import numpy as np

        if lane.last is None or not lane.entry.trains:
            return 0.0
        of_rows = float(np.nanstd(drawn_values(self.scorer, self.metric, lane.last, self.seed)))
        return run_error(of_rows, len(lane.last.rows))

    def _has_usual(self, outcome: Outcome | None) -> bool:
        value = None if outcome is None else self.scorer.value(self.metric, outcome)
        return has_usual(self.metric, value)


@dataclass(frozen=True)
class Decision:
    """What a race comes to.

    Attributes:
        kind: of the answer.
        chosen: whose numbers are shown.
        is_run: `chosen` is what to run; else nothing is to be.
        as_good: the others that `chosen` is not surely better than, at the last rung that both did.
        cheaper: of those, the cheapest that costs less than `chosen`, which is expected to be worth more.
        tuned: the trained network that is compared with the best look.
        beside_look: how far it is ahead of that.
    """

    kind: AnswerKind
    chosen: Lane
    is_run: bool
    as_good: tuple[Lane, ...]
    cheaper: Lane | None
    tuned: Lane
    beside_look: Ahead


def decide(comparer: Comparer, lanes: Sequence[Lane], looks: Looks, *, is_all_tried: bool) -> Decision | None:
    """What lanes and looks come to; None where no lane is left.

    Args:
        comparer: compares entries.
        lanes: all of the race, the best first, those that left behind them.
        looks: at the rows.
        is_all_tried: there was time for a pilot of each entry that the race began with.
    """
    measured = [lane for lane in lanes if lane.last is not None]
    standing = [lane for lane in measured if not lane.left]
    if not standing:
        return None
    chosen = cheapest_as_good(comparer, standing)
    rest = [lane for lane in standing if lane is not chosen]
    as_good = [lane for lane in rest if not comparer.lane_ahead(chosen, lane).is_surely_better]
    cheaper = min((lane for lane in as_good if _cost(lane) < _cost(chosen)), key=_cost, default=None)
    tuned = _best_tuned(chosen, lanes) or chosen
    look = looks.entries.get(looks.best)
    decision = Decision(_kind(as_good, cheaper, looks, is_all_tried=is_all_tried), chosen, True,
                        tuple(as_good), cheaper, tuned, comparer.ahead(tuned.last, look))
    if _is_nothing_right(comparer, standing, looks):
        # pilots that hardly began say nothing of whole runs
        is_early = max(lane.share for lane in standing) < ENOUGH
        return dataclasses.replace(decision, kind="not known" if is_early else "nothing to learn", is_run=is_early)
    simplest = looks.entries.get(looks.simplest)
    if simplest is not None and not _has_learnt(comparer, chosen, simplest, looks):
        return dataclasses.replace(decision, kind="nothing to learn", is_run=False)
    if look is not None and _is_look_as_good(comparer, decision, look):
        frozen = next((lane for lane in standing if not lane.entry.trains), None)
        return dataclasses.replace(decision, kind="train nothing", chosen=frozen or chosen, is_run=frozen is not None)
    return decision


def cheapest_as_good(comparer: Comparer, standing: Sequence[Lane]) -> Lane:
    """The cheapest of the lanes that the one of which most is expected is not worth its cost beside.

    Args:
        comparer: compares entries.
        standing: lanes with an outcome, the best first.
    """
    best = standing[0]
    for lane in standing[1:]:
        if comparer.gain(lane, best) > 0:
            best = lane
    as_good = [lane for lane in standing if lane is best or not comparer.is_ahead(best, lane)]
    return min(as_good, key=lambda lane: (_cost(lane), lane is not best))


def _cost(lane: Lane) -> tuple[bool, float]:
    """What a run of an entry costs; what begins with a first stage costs that stage as well."""
    return lane.entry.first is not None, lane.entry.cost * lane.updates


def _kind(as_good: Sequence[Lane], cheaper: Lane | None, looks: Looks, *, is_all_tried: bool) -> AnswerKind:
    """The kind of answer where something is to be trained."""
    if cheaper is not None:
        return "likely"
    if not as_good and is_all_tried:
        return "train"
    return "more labels" if are_labels_worth_more(looks) else "no difference"


def _is_nothing_right(comparer: Comparer, standing: Sequence[Lane], looks: Looks) -> bool:
    """Whether no entry and no look scores above 0, in a score in which higher is better."""
    outcomes = [*looks.entries.values(), *(lane.last for lane in standing if lane.last is not None)]
    values = [comparer.scorer.value(comparer.metric, outcome) for outcome in outcomes]
    return comparer.metric.goal == "max" and all(value == 0 for value in values)


def _has_learnt(comparer: Comparer, chosen: Lane, simplest: Outcome, looks: Looks) -> bool:
    """Whether this entry or a look has learnt something."""
    if comparer.ahead(chosen.last, simplest).is_surely_better:
        return True
    return looks.ahead is not None and looks.ahead[1] > 0


def _is_look_as_good(comparer: Comparer, decision: Decision, look: Outcome) -> bool:
    """Whether a network is not worth its training beside what needs none."""
    # what cannot be compared says nothing, and a pilot that hardly began does neither
    is_measured = math.isfinite(decision.beside_look.value)
    if not is_measured or (decision.tuned.entry.trains and decision.tuned.share < ENOUGH):
        return False
    if decision.chosen.entry.trains:
        return not comparer.is_ahead_of_look(decision.chosen, look)
    return not comparer.is_ahead_of_look(decision.tuned, look)


def _best_tuned(chosen: Lane, lanes: Sequence[Lane]) -> Lane | None:
    """What is chosen where it trains a network, else the best of the others that do and did not leave."""
    if chosen.entry.trains:
        return chosen
    standing = [lane for lane in lanes if lane.last is not None and not lane.left]
    return next((lane for lane in standing if lane.entry.trains), None)


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
