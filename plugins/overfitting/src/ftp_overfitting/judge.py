"""From numbers to one verdict: its level, its words, its evidence, and what to type next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from ftp import Problem, UserError, heads
from ftp.types import Data, Evaluation, Level, Risk, Row, Run
from ftp_overfitting import advice
from ftp_overfitting.judgements import Judgement, judge_gap, judge_memory, judge_trend, judge_verbatim
from ftp_overfitting.measures import (
    Gap,
    RowLosses,
    StartLoss,
    Trend,
    mean,
    measure_gap,
    measure_trend,
    row_losses,
    spend_alpha,
    standard_error,
    start_loss,
)
from ftp_overfitting.memory import Membership, Verbatim, membership

if TYPE_CHECKING:
    from ftp_overfitting import Overfitting

LEVELS: tuple[Level, ...] = ("ok", "note", "warn", "stop")
"""From good to bad."""
LEADS: dict[Level, str] = {
    "ok": "no sign that the model only learns its training rows by heart",
    "note": "first signs that the model learns its training rows by heart",
    "warn": "the model learns its training rows by heart, and does worse on rows that it has not "
    "seen",
    "stop": "the model learns its training rows by heart, and does far worse on rows that it has "
    "not seen",
}
"""How a finding begins."""
NUM_TESTS = 3
"""Trend, gap and memory share the chance of a false alarm."""
COMPARED_ROWS = 200
"""Rows at the start of both splits by which the same rows are recognised."""


@dataclass(frozen=True)
class Measures:
    """What was measured at the last evaluation. `trend`: None for the first evaluation."""

    trend: Trend | None
    gap: Gap
    membership: Membership


def not_run(reason: str, **evidence: object) -> Risk:
    """The verdict where nothing was compared."""
    return Risk("overfitting", "not_run", reason, evidence)


def check_limits(limits: Overfitting) -> None:
    """Refuse limits that contradict one another.

    Raises:
        UserError: a milder level begins where a harder one has begun already.
    """
    pairs = (
        ("rise", limits.rise, "stop_rise", limits.stop_rise),
        ("note_lost", limits.note_lost, "warn_lost", limits.warn_lost),
    )
    problems = []
    for mild_name, mild, hard_name, hard in pairs:
        if mild > hard:
            problems.append(
                Problem(
                    f"--overfitting.{mild_name} {mild:g} is above "
                    f"--overfitting.{hard_name} {hard:g}",
                    "a note comes before a warning, and a warning before a stop",
                )
            )
    if problems:
        raise UserError(problems)


def verdict(
    limits: Overfitting,
    run: Run,
    data: Data,
    history: Sequence[Evaluation],
    log: Sequence[Row],
    repeated: Verbatim | str | None = None,
) -> Risk:
    """The verdict on the evaluations so far.

    Args:
        repeated: text that the model repeated, or why it was not asked; None: not wanted.
    """
    evaluations = row_losses(history)
    reason = _why_not_run(limits, run, data, history, evaluations)
    if reason is not None:
        return reason
    start = start_loss(data, log)
    measures = _measure(limits, evaluations, start.nats)
    evidence = _evidence(evaluations, data, start, measures)
    judgements = _judge_measures(limits, run, measures, history)
    if isinstance(repeated, Verbatim):
        evidence["verbatim"] = {**vars(repeated), "p": _round(repeated.p)}
        judgements.append(judge_verbatim(limits, repeated))
    elif repeated is not None:
        evidence["verbatim"] = f"not run: {repeated}"

    worst = _worst(judgements)
    # a bad gap shows at once, but that there is no trend takes a second evaluation to know
    if worst == "ok" and measures.trend is None:
        last = evaluations[-1]
        return not_run(
            "one evaluation tells no trend; at that one the held-out loss was "
            f"{last.held_mean:.3f}, the training loss {last.train_mean:.3f}",
            **evidence,
        )
    # only the worst is said: a reader of a warning needs no list of what is well
    text = "; ".join(each.text for each in judgements if each.level == worst and each.text)
    num_rows = getattr(data.splits.get("train"), "num_rows", None)
    if worst in ("warn", "stop") and num_rows and run.settings.max_train_rows is None:
        text += f"; more training rows than these {num_rows:,} would help"
    commands: list[str] = []
    if worst != "ok":
        trend = measures.trend
        # where the trend is at fault, its best evaluation is the one to go back to
        if trend is not None and trend.rise > 0 and judgements[0].level != "ok":
            began = trend.best_step
        else:
            began = _first_step_as_bad(limits, run, evaluations, start.nats, worst)
            text += f"; first seen after update {began}"
        evidence["began"] = began
        commands = [*advice.stop_sooner(run, began), *advice.restrict(run)]
    return Risk("overfitting", worst, f"{LEADS[worst]}: {text}", evidence, tuple(commands))


def _worst(judgements: Sequence[Judgement]) -> Level:
    return max((judgement.level for judgement in judgements), key=LEVELS.index)


def _measure(
    limits: Overfitting, evaluations: Sequence[RowLosses], start: float | None
) -> Measures:
    last = evaluations[-1]
    alpha = limits.alpha / NUM_TESTS
    level = spend_alpha(alpha, len(evaluations) - 1)
    return Measures(
        trend=measure_trend(evaluations, start, alpha),
        gap=measure_gap(last, start, level),
        membership=membership(last.train, last.held, level),
    )


def _judge_measures(
    limits: Overfitting, run: Run, measures: Measures, history: Sequence[Evaluation]
) -> list[Judgement]:
    """The judgement on each measure, the one on the trend first, where there is one."""
    head = heads.get(run.task.head)
    unit = f" {head.loss_unit}" if head.loss_unit else ""
    judgements = []
    if measures.trend is not None:
        judgements.append(judge_trend(limits, measures.trend, history, unit))
    judgements.append(judge_gap(limits, measures.gap, unit))
    # a text that is known by heart is a leak; of classes the same losses are an everyday gap
    if head.is_over_vocabulary:
        judgements.append(judge_memory(limits, measures.membership))
    return judgements


def _first_step_as_bad(
    limits: Overfitting,
    run: Run,
    evaluations: Sequence[RowLosses],
    start: float | None,
    worst: Level,
) -> int:
    """The update of the first evaluation at which gap or memory were as bad as at the last one."""
    for index, evaluation in enumerate(evaluations[:-1]):
        if min(evaluation.num_rows.values()) < limits.min_rows:
            continue  # chance decides there
        level = spend_alpha(limits.alpha / NUM_TESTS, index)
        measures = Measures(
            trend=None,
            gap=measure_gap(evaluation, start, level),
            membership=membership(evaluation.train, evaluation.held, level),
        )
        level_here = _worst(_judge_measures(limits, run, measures, ()))
        if LEVELS.index(level_here) >= LEVELS.index(worst):
            return evaluation.step
    return evaluations[-1].step


# --- nothing to compare ---


def _why_not_run(
    limits: Overfitting,
    run: Run,
    data: Data,
    history: Sequence[Evaluation],
    evaluations: Sequence[RowLosses],
) -> Risk | None:
    """The verdict where nothing can be compared; None where something can."""
    if not history:
        return not_run("held-out rows were never scored: there is nothing to compare")
    if not evaluations:
        reason = "none was scored in evaluation mode"
        if run.settings.streaming:
            reason = "the training rows are a stream"
        return not_run(f"there is no loss of training rows to compare with: {reason}")
    num_rows = evaluations[-1].num_rows
    if min(num_rows.values()) < limits.min_rows:
        few = " and ".join(f"{count} rows of {split}" for split, count in num_rows.items())
        return not_run(
            f"only {few} were scored; below {limits.min_rows} (--overfitting.min_rows) chance "
            "decides",
            rows=num_rows,
        )
    if _has_same_splits(data):
        return not_run(
            "validation has the same rows as train: no gap between them means anything",
            rows=num_rows,
        )
    return None


def _has_same_splits(data: Data) -> bool:
    """Whether train and validation have the same rows in the same order."""
    train = data.splits.get("train")
    held = data.splits.get("validation")
    if train is None or held is None or not hasattr(train, "num_rows") or len(train) != len(held):
        return False
    pairs = islice(zip(train, held, strict=True), COMPARED_ROWS)
    return all(train_row == held_row for train_row, held_row in pairs)


# --- evidence ---


def _evidence(
    evaluations: Sequence[RowLosses], data: Data, start: StartLoss, measures: Measures
) -> dict[str, object]:
    """The numbers, rounded to four digits. `of`: rows of each split; `rows`: those scored."""
    num_rows = evaluations[-1].num_rows
    split_sizes = {}
    for name, split in (("train", "train"), ("held out", "validation")):
        if hasattr(data.splits.get(split), "num_rows"):
            split_sizes[name] = len(data.splits[split])
    bands = {}
    for evaluation in evaluations:
        middle = mean(evaluation.held)
        half_width = 1.96 * standard_error(evaluation.held)  # 95 %, normal approximation
        bands[evaluation.step] = [_round(middle - half_width), _round(middle + half_width)]
    evidence: dict[str, object] = {
        "held_out_loss": {each.step: _round(each.held_mean) for each in evaluations},
        "train_loss": {each.step: _round(each.train_mean) for each in evaluations},
        "band": bands,
        "rows": num_rows,
        "of": split_sizes,
        "sampled": any(num_rows[name] < size for name, size in split_sizes.items()),
    }
    if start.nats is not None:
        evidence["start"] = {"loss": _round(start.nats), "from": start.source}
    if measures.trend is not None:
        evidence["trend"] = _rounded_fields(measures.trend)
    evidence["gap"] = _rounded_fields(measures.gap)
    evidence["membership"] = _rounded_fields(measures.membership)
    return evidence


def _rounded_fields(measure: Trend | Gap | Membership) -> dict[str, object]:
    return {name: _round(value) for name, value in vars(measure).items()}


def _round(value: object) -> object:
    """A number to four digits; None where it is not finite, as JSON has no word for that."""
    if isinstance(value, bool) or not isinstance(value, float):
        return value
    return round(value, 4) if math.isfinite(value) else None
