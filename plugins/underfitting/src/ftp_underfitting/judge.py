"""From numbers to one verdict: its level, its words, its evidence, and what to type next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftp import heads
from ftp.types import Comparison, Data, Evaluation, Level, Loss, Model, Predictions, Risk, Row, StartedRun
from ftp_underfitting import advice, baselines, curve, judgements, weights
from ftp_underfitting.added import NothingAdded, nothing_added
from ftp_underfitting.answers import OneAnswer, one_answer
from ftp_underfitting.baselines import Rivals
from ftp_underfitting.curve import Climb, Slope
from ftp_underfitting.gain import UNTUNED, Gain, against_guessing, against_untuned, guessing_loss
from ftp_underfitting.judgements import Judgement, suggested_rate
from ftp_underfitting.start import Start, score

if TYPE_CHECKING:
    from ftp_underfitting import Underfitting

LEVELS: tuple[Level, ...] = ("ok", "note", "warn", "stop")
"""From good to bad."""
LEADS: dict[Level, str] = {
    "ok": "the model learnt from its training rows",
    "note": "the model learnt, but perhaps less than it could",
    "warn": "the model does not learn as it should",
    "stop": "the model does not learn as it should",
}
"""How a finding begins."""


@dataclass(frozen=True)
class Measures:
    """What was measured at the end; None: not known.

    `why_no_gain`: why there is no gain. `not_finite`: updates whose loss was not finite. `rivals`:
    the baselines. `added`: nothing was, to a head that was fitted before training.
    """

    gain: Gain | None
    why_no_gain: str
    slope: Slope | None
    climb: Climb | None
    moves: weights.Moves | None
    same: OneAnswer | None
    not_finite: Sequence[int]
    rivals: Rivals | None
    added: NothingAdded | None


def judge_start(run: StartedRun, start: Start) -> list[Risk]:
    """A verdict before training where a new head is frozen; else none."""
    if not start.frozen:
        return []
    judgement = judgements.judge_frozen_head(run, start)
    return [_risk(judgement, {"frozen": list(start.frozen)})]


def judge_evaluation(
    limits: Underfitting, run: StartedRun, data: Data, history: Sequence[Evaluation], log: Sequence[Row]
) -> list[Risk]:
    """A verdict at an evaluation where training diverges; else none: the end is not known yet.

    Two evaluations in a row have to show it: where the learning rate is at its peak, one alone often climbs and falls again.
    """
    start = limits._start
    before = _loss_before(data, start)
    climb = curve.climb(history, log, before)
    if climb is None or (history and curve.climb(history[:-1], log, before) is None):
        return []
    return [_risk(judgements.judge_climb(run, climb, start), {"climb": _plain(climb)})]


def _risk(judgement: Judgement, evidence: Mapping[str, Any]) -> Risk:
    finding = f"{judgement.lead or LEADS[judgement.level]}: {judgement.text}"
    return Risk("underfitting", judgement.level, finding, evidence, tuple(judgement.commands))


def verdict(
    limits: Underfitting,
    run: StartedRun,
    data: Data,
    model: Model | None,
    loss: Loss | None,
    predictions: Mapping[str, Predictions],
    history: Sequence[Evaluation],
    log: Sequence[Row],
    start: Start | None,
    comparisons: Sequence[Comparison],
) -> Risk:
    """The verdict at the end of a run."""
    done = advice.updates_done(history, log)
    # a head that was fitted has learnt without an update, and may be behind a baseline too
    if not done and (model is None or not model.has_fitted_head):
        return Risk("underfitting", "not_run", "no update was made")
    gain, why_no_gain = _measure_gain(limits, run, data, model, loss, history, start)
    moves = _measure_moves(run, model, loss, start) if done else None
    added = None
    if done and model is not None and model.has_fitted_head:
        added = nothing_added(history, moves, run.settings.metric_for_best_model, limits.least_gain_text)
    measures = Measures(
        gain=gain,
        why_no_gain=why_no_gain,
        slope=curve.slope(log),
        climb=curve.climb(history, log, _loss_before(data, start)),
        moves=moves,
        same=one_answer(data, predictions),
        not_finite=_not_finite_steps(log),
        rivals=baselines.rivals(run, comparisons),
        added=added,
    )
    evidence = _evidence(limits, run, data, log, start, measures, done)
    spoken = _judge(limits, run, data, history, log, start, measures, done)
    if gain is None and all(judgement.level != "warn" for judgement in spoken):
        return Risk("underfitting", "not_run", why_no_gain, evidence)
    worst = max((judgement.level for judgement in spoken), key=LEVELS.index)
    texts = []
    lead = ""
    commands: dict[str, None] = {}  # a set that keeps the order
    for judgement in spoken:
        if judgement.level == worst and judgement.text:
            texts.append(judgement.text)
            lead = lead or judgement.lead
        if judgement.level in (worst, "warn"):
            commands.update(dict.fromkeys(judgement.commands))
    return _risk(Judgement(worst, "; ".join(texts), list(commands), lead), evidence)


def _judge(
    limits: Underfitting,
    run: StartedRun,
    data: Data,
    history: Sequence[Evaluation],
    log: Sequence[Row],
    start: Start | None,
    measures: Measures,
    done: int,
) -> list[Judgement]:
    """What each test says that has something to judge."""
    gain = measures.gain
    moves = measures.moves
    spoken = []
    if start is not None and start.frozen:
        spoken.append(judgements.judge_frozen_head(run, start))
    added = measures.added
    if added is not None:
        spoken.append(judgements.judge_nothing_added(run, data, added, moves, start))
    elif moves is not None and moves.still and judgements.is_kept_start(history):
        spoken.append(judgements.judge_kept_start(run, start))
    elif moves is not None and moves.still:
        spoken.append(judgements.judge_still_weights(run, moves, start))
    if measures.climb is not None:
        spoken.append(judgements.judge_climb(run, measures.climb, start))
    elif measures.not_finite:
        spoken.append(judgements.judge_not_finite(run, measures.not_finite[0], start))
    has_failed = False
    # a fitted head has learnt already: the loss before training is not that of knowing nothing
    is_known = added is not None and gain is not None and gain.baseline == UNTUNED
    if gain is not None and not is_known:
        judgement = judgements.judge_gain(limits, run, gain)
        has_failed = judgement.level == "warn"
        if judgement.level != "ok":
            rate = suggested_rate(start)
            cause, commands = "", advice.other_methods(run, data)
            if done:
                cause, commands = judgements.find_cause(run, moves, gain, log, done, rate)
            judgement = Judgement(judgement.level, judgement.text + cause, commands)
        spoken.append(judgement)
    if measures.same is not None:
        is_suspect = has_failed or gain is None
        spoken.append(judgements.judge_one_answer(limits, run, measures.same, is_suspect))
    if measures.rivals is not None:
        spoken.append(judgements.judge_rivals(limits, run, data, measures.rivals, history, done))
    # where nothing was learnt, or training diverged, more updates would not help
    if measures.slope is not None and not has_failed and measures.climb is None:
        spoken.append(judgements.judge_slope(limits, run, measures.slope, history, done))
    return spoken


# --- measures ---


def _measure_gain(
    limits: Underfitting,
    run: StartedRun,
    data: Data,
    model: Model | None,
    loss: Loss | None,
    history: Sequence[Evaluation],
    start: Start | None,
) -> tuple[Gain | None, str]:
    """Training loss against that of knowing nothing, and the reason where there is no gain."""
    if loss is not None and loss.makes_rows:
        reason = "the model makes its own training rows: their loss does not say whether it learnt"
        return None, reason
    few = f"fewer than {limits.min_rows} training rows were scored"
    if heads.get(run.task.head).picks_class_of:
        guess = guessing_loss(data)
        if guess is None:
            return None, (
                "the classes of the training rows cannot be counted (a stream), or there is only "
                "one: guessing is no measure"
            )
        gain = against_guessing(history, guess, limits.min_rows)
        return gain, f"{few} in evaluation mode: nothing to hold against guessing"
    if not advice.updates_done(history, ()):
        return None, "no update was made"
    has_start = start is not None and start.losses is not None and start.rows is not None
    if start is None or not has_start or model is None or loss is None:
        return None, "no training row was scored before training: nothing to compare with"
    assert start.rows is not None
    after = score(run, model, loss, start.rows)
    return against_untuned(start.losses, after, limits.min_rows), f"{few} before and after training"


def _loss_before(data: Data, start: Start | None) -> float | None:
    """The loss of a row before training, in nats; None where it is not known."""
    import numpy as np

    guess = guessing_loss(data)
    if guess is not None:
        return guess
    if start is not None and start.losses is not None and np.isfinite(start.losses).any():
        return float(np.nanmean(start.losses))
    return None


def _measure_moves(
    run: StartedRun, model: Model | None, loss: Loss | None, start: Start | None
) -> weights.Moves | None:
    """How far the weights moved; None where they were not looked at before training."""
    if start is None or model is None or not start.snapshots or run.settings.shard:
        return None
    extra = loss.extra if loss is not None else None
    now = weights.take_snapshots(weights.named_tensors(model.net, extra))
    return weights.compare(start.snapshots, now)


def _not_finite_steps(log: Sequence[Row]) -> list[int]:
    steps = []
    for line in log:
        if line.get("event") == "step" and line.get("not_finite"):
            steps.append(line["step"])
    return steps


# --- evidence ---


def _evidence(
    limits: Underfitting,
    run: StartedRun,
    data: Data,
    log: Sequence[Row],
    start: Start | None,
    measures: Measures,
    done: int,
) -> dict[str, Any]:
    """The numbers, rounded to four digits."""
    evidence: dict[str, Any] = {"updates": done, "learning_rate": run.settings.learning_rate}
    named = {
        "against": measures.gain,
        "slope": measures.slope,
        "climb": measures.climb,
        "weights": measures.moves,
        "answers": measures.same,
    }
    for name, measure in named.items():
        if measure is not None:
            evidence[name] = _plain(measure)
    if measures.rivals is not None:
        evidence["baselines"] = _rivals_evidence(measures.rivals)
    train = data.splits.get("train")
    if measures.gain is not None and train is not None and hasattr(train, "num_rows"):
        is_sampled = measures.gain.rows < len(train)
        evidence["against"] |= {"of": len(train), "sampled": is_sampled}
    norms: list[float] = []
    for line in log:
        norm = line.get("grad_norm")
        if isinstance(norm, (int, float)):
            norms.append(norm)
    if norms:
        numbers = {"first": norms[0], "highest": max(norms), "last": norms[-1]}
        evidence["grad_norm"] = {name: _round(norm) for name, norm in numbers.items()}
    if limits.range_test:
        evidence["range_test"] = _range_test_evidence(start)
    if start is not None and start.frozen:
        evidence["frozen"] = list(start.frozen)
    return evidence


def _rivals_evidence(rivals: Rivals) -> dict[str, Any]:
    """How far the run is ahead of each baseline, with the 95 % interval."""
    evidence: dict[str, Any] = {"split": rivals.split, "metric": rivals.metric or baselines.LOSS}
    for comparison in (*rivals.of_metric, *rivals.of_loss):
        numbers = (comparison.ahead, comparison.low, comparison.high)
        name = f"{comparison.name} ahead of {comparison.baseline}"
        evidence[name] = [_round(number) for number in numbers]
    return evidence


def _range_test_evidence(start: Start | None) -> dict[str, Any] | str:
    if start is None or not start.tested:
        return "not run: it needs one process, weights in one piece, and training rows of its own"
    if start.learning_rate is None:
        return "the loss did not fall by 2 % at any learning rate: give it more updates"
    return {"learning_rate": float(f"{start.learning_rate:.2g}")}


def _plain(measure: Gain | Slope | Climb | weights.Moves | OneAnswer) -> dict[str, Any]:
    """The fields of a measure as JSON can say them."""
    fields = {name: _round(value) for name, value in vars(measure).items()}
    if isinstance(measure, weights.Moves):
        fields["still"] = list(measure.still)
    return fields


def _round(value: Any) -> Any:
    """A number to four digits; None where it is not finite, as JSON has no word for that."""
    if isinstance(value, bool) or not isinstance(value, float):
        return value
    return float(f"{value:.4g}") if math.isfinite(value) else None
