"""What can be had without training a network: the baselines of the head, cross-fitted, the best of them at growing sizes.

Heavy: reads rows through the network where a model is at hand.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping

from ftp import heads
from ftp.advise.comparison import ahead_in
from ftp.advise.growing import cross_fitted, curve_of
from ftp.advise.lookers import looker_for
from ftp.advise.pool import Pool
from ftp.advise.scores import Scorer, metric_of
from ftp.advise.started import started
from ftp.advise.types import Looks, Metric, Outcome, Situation
from ftp.errors import PluginError, UserError
from ftp.types import Loss, Model, Score, StartedRun

Tell = Callable[[str], None]


def take(situation: Situation, pool: Pool, tell: Tell = lambda message: None) -> Looks:
    """All looks at the rows of a situation.

    Args:
        situation: the rows and their plugins.
        pool: the same rows in folds.
        tell: is given a line on what is being done.
    """
    began = time.perf_counter()
    with started(situation) as run:
        model, loss = _model_of(run, situation, tell)
        looker = looker_for(run, pool, model, loss)
        scorer = Scorer(run, pool, model)
        entries: dict[str, Outcome] = {}
        metric: Metric | None = None
        for name in looker.names():
            tell(f"{name}, cross-fitted")
            outcome = cross_fitted(looker, name, looker.folds)
            if outcome is None:
                continue
            scores = scorer.scores(outcome)
            if metric is None:
                # answers of pilots are compared without their networks
                is_raced = situation.question.budget_seconds > 0
                metric = metric_of(situation, _of_answers_alone(situation, pool, outcome) if is_raced else scores)
            entries[name] = dataclasses.replace(outcome, scores={own.name: own.value for own in scores})
        metric = metric or metric_of(situation, [])
        has_own_baselines = heads.get(situation.prepared.task.head).baselines is not None
        # a network whose head is new answers by chance: nobody is to keep it as it is
        if not has_own_baselines and model is not None and model.fresh:
            entries = {}
        best = _best(metric, entries)
        simplest = _simplest(pool, entries)
        curve = None
        ahead = None
        if best and simplest and best != simplest:
            compared = ahead_in(scorer, metric, entries[best], entries[simplest], situation.question.seed)
            ahead = (compared.value, compared.low, compared.high) if compared.rows else None
        # without baselines of its own a head has the untuned network alone, which no rows make better
        if best and best != simplest and has_own_baselines:
            tell(f"{best}, at growing numbers of rows")
            curve = curve_of(looker, scorer, metric, best, situation)
    return Looks(metric, entries, best, simplest, ahead, curve, time.perf_counter() - began)


def _model_of(run: StartedRun, situation: Situation, tell: Tell) -> tuple[Model | None, Loss | None]:
    """The network as it is, and how it reads rows; None where no model is at hand, which is told."""
    tell("loading the model")
    try:
        model: Model = run.hooks.one("build_model", run=run, data=situation.data)
        model.net.to(run.accelerator.device)
        loss: Loss = run.hooks.one("make_loss", run=run, data=situation.data, model=model)
    except UserError as error:
        run.tell(f"no look through a network: {error.problems[0].what}")
        return None, None
    if loss.extra is not None:
        loss.extra.to(run.accelerator.device)
    return model, loss


def _of_answers_alone(situation: Situation, pool: Pool, outcome: Outcome) -> list[Score]:
    """The scores that answers have without a network; none where a plugin asks for more (the tokenizer, for example)."""
    # a run of its own: a plugin that has made its loss takes all answers for those of its network
    with started(situation) as run:
        try:
            return Scorer(run, pool).scores(outcome)
        except (PluginError, UserError):
            return []


def _best(metric: Metric, entries: Mapping[str, Outcome]) -> str:
    """The best look, the simpler of two that are equal."""
    best = ""
    for name, outcome in entries.items():
        value = outcome.scores.get(metric.name)
        if value is None or value != value:
            continue
        if not best or metric.ahead(value, entries[best].scores[metric.name]) > 0:
            best = name
    return best


def _simplest(pool: Pool, entries: Mapping[str, Outcome]) -> str:
    """The first look, where it gives all rows of a fold the same answer: a head names its simplest baseline first."""
    first = next(iter(entries), "")
    if not first or len(entries) < 2:
        return ""
    outcome = entries[first]
    answer_of_fold: dict[int, object] = {}
    for fold, prediction in zip(pool.fold_of_row[outcome.rows].tolist(), outcome.answers, strict=True):
        if answer_of_fold.setdefault(fold, prediction.answer) != prediction.answer:
            return ""
    return first
