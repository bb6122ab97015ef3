"""What a whole run of a raced entry will score on its test rows, and what it costs here and elsewhere.

Heavy: scores answers by the plugins of the run, and lays out the network without weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ftp import forms
from ftp.advise.comparison import NORMAL, drawn_values
from ftp.advise.lanes import Lane
from ftp.advise.scores import Scorer
from ftp.advise.types import Looks, Metric, Outcome, Situation
from ftp.advise.usual import TRAINING, has_usual
from ftp.advise.wording import duration, size
from ftp.errors import PluginError, UserError
from ftp.plugins.declare import kind_of
from ftp.plugins.plan import Prepared
from ftp.runs import dry_run
from ftp.runs.dry_run import Shape

RUN_NOISE = 0.25
"""Standard deviation between runs that differ in their seed alone, of the error of the score on a hundred rows."""
LEAST_NOISE = 0.005
UNTRAINED = 0.5
"""Of what the pilots gained since the first rung, for each factor e of updates that they did not do: what these may add."""

AFTER_TRAINING = 20.0
"""Seconds of a run beside its updates: reading, baselines, a fresh process that proves the model, the report."""
MACHINES = {"an NVIDIA T4": (65e12, 16e9), "an NVIDIA A100 (80 GB)": (312e12, 80e9), "an NVIDIA H100": (990e12, 80e9)}
"""Machine -> operations a second in half precision at its peak, and bytes of memory (the makers' data sheets)."""
UTILISATION = 0.2
"""Of the peak that small runs reach."""


# --- what it will score ---


@dataclass(frozen=True)
class Expected:
    """What a run of an entry on all rows is expected to score on its test rows, with its 90 % interval."""

    score: float
    low: float
    high: float


def expected_score(situation: Situation, scorer: Scorer, looks: Looks, lane: Lane, outcome: Outcome) -> Expected:
    """The score of a whole run on its test rows: the cross-fitted one, moved along the learning curve to all rows, and by what
    training usually adds as far as pilots did not end it.

    Its spread adds up what is independent: which rows were answered, which test rows there will be, chance between runs, the
    curve, and the updates that the pilots did not do.

    Args:
        situation: the rows and their plugins.
        scorer: scores answers.
        looks: whose curve is followed.
        lane: the entry.
        outcome: of its last rung.
    """
    import numpy as np

    metric = looks.metric
    value = scorer.value(metric, outcome)
    num_rows = len(outcome.rows)
    of_rows = float(np.nanstd(drawn_values(scorer, metric, outcome, situation.question.seed)))
    if metric.goal == "max":  # a score of 1 has an error too: one row more or less
        of_rows = max(of_rows, 1 / num_rows)
    test = situation.data.splits.get("test", situation.data.splits.get("validation"))
    num_test = len(test) if test is not None else num_rows
    of_test = of_rows * math.sqrt(num_rows / max(1, num_test))
    of_run = run_error(of_rows, num_rows)
    step, of_step = _step_to_all_rows(situation, looks, outcome)
    of_updates = missing_updates_error(scorer, metric, lane)
    if lane.entry.trains and has_usual(metric, value):
        step += TRAINING.mean * (1 - lane.share)
    spread = math.sqrt(of_rows**2 + of_test**2 + of_run**2 + of_step**2 + of_updates**2)
    low = value + step - NORMAL * spread
    high = value + step + NORMAL * spread
    if metric.goal == "max" and 0 <= value <= 1:  # a share
        low, high = max(0.0, low), min(1.0, high)
    return Expected(min(high, max(low, value + step)), low, high)


def _step_to_all_rows(situation: Situation, looks: Looks, outcome: Outcome) -> tuple[float, float]:
    """What the rows add that this entry was not fitted on, by the learning curve of the looks, and its standard error."""
    missing = len(situation.data.splits["train"]) - outcome.num_train_rows
    if looks.curve is None or missing <= 0:
        return 0.0, 0.0
    gain, low, high = looks.curve.gain(outcome.num_train_rows, missing)
    return gain, (high - low) / (2 * NORMAL)


def run_error(of_rows: float, num_rows: int) -> float:
    """The standard deviation of a score between runs that differ in their seed alone.

    Args:
        of_rows: standard error of the score on these rows.
        num_rows: how many they are.
    """
    return max(LEAST_NOISE, RUN_NOISE * of_rows * math.sqrt(num_rows / 100))


def missing_updates_error(scorer: Scorer, metric: Metric, lane: Lane) -> float:
    """The standard error of what updates would add that the pilots did not do; 0 where they did all.

    Args:
        scorer: scores answers.
        metric: the score.
        lane: the entry.
    """
    if lane.share >= 1:
        return 0.0
    first = scorer.value(metric, lane.outcomes[0])
    gained = abs(scorer.value(metric, lane.outcomes[-1]) - first)
    least = LEAST_NOISE
    if lane.entry.trains and has_usual(metric, first):
        # a pilot that hardly began has shown next to nothing of what training adds
        least = TRAINING.spread * (1 - lane.share)
    return max(least, math.log(1 / lane.share) * max(LEAST_NOISE, UNTRAINED * gained))


# --- what it costs ---


def seconds_of_run(lane: Lane, outcome: Outcome) -> float:
    """Seconds of a whole run on this machine, a first stage included.

    Args:
        lane: the entry.
        outcome: of its last rung.
    """
    of_fold = outcome.seconds / max(1, len(outcome.folds))
    first = lane.entry.first
    of_first_stage = first.seconds if first is not None else 0.0
    return of_first_stage + of_fold * max(1.0, lane.updates / max(1, outcome.updates)) + AFTER_TRAINING


def elsewhere(prepared: Prepared) -> tuple[str, ...]:
    """Forecasts of a whole run for other machines from the network laid out without weights; none where that cannot be done.

    Args:
        prepared: the run.
    """
    try:
        forecast = dry_run.forecast(prepared)
    except (UserError, PluginError):
        return ()
    if forecast.shape is None or forecast.updates is None:
        return ()
    memory = sum(amount for part, amount in forecast.memory.items() if part != "process")
    operations = operations_of(forecast.prepared, forecast.shape, forecast.updates)
    lines = []
    for machine, (peak, bytes_there) in MACHINES.items():
        seconds = operations / (UTILISATION * peak) + AFTER_TRAINING
        fits = "" if memory < bytes_there else f"; its {size(bytes_there)} are too little"
        lines.append(f"{machine}: at most {duration(seconds)}, {size(memory)} of memory{fits} (forecast for the longest rows, at "
                     f"{UTILISATION:.0%} of its peak; not measured)")
    return tuple(lines)


def operations_of(prepared: Prepared, shape: Shape, updates: int) -> float:
    """Operations of a whole run whose rows are all as long as they may be.

    Args:
        prepared: the run.
        shape: of its network.
        updates: how many it does.
    """
    sequences = forms.get(prepared.task.form).sequences
    tokens = updates * prepared.settings.batch_size * sequences * shape.row_limit
    # two operations a weight and token on the way forward, two on the way back, and two more for what is trained
    frozen = shape.total - shape.trained
    return tokens * (6 * shape.trained + 4 * frozen) * _cost_of_update(prepared)


def _cost_of_update(prepared: Prepared) -> float:
    """What plugins of a run declare that an update costs beside one of the network alone: a second pass, or one of the reference.

    Which weights are trained is counted in the network itself, so that methods that decide it are left out.
    """
    cost = 1.0
    for plugin in prepared.picked:
        if kind_of(plugin.cls) == "parameterisation":
            continue
        as_it_is = [candidate for candidate in plugin.declaration.candidates if not candidate.settings]
        if as_it_is:
            cost *= as_it_is[0].cost
    return cost
