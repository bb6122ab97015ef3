"""Options that follow from the data, given their values once the rows are known; a run that goes on keeps those of its folder."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftp import forms, heads
from ftp.errors import UserError
from ftp.evaluate.metric_names import check_metric
from ftp.folder import paths
from ftp.folder.files import Folder
from ftp.options import convert
from ftp.plugins.plan import Prepared, replace_settings
from ftp.runs import recipes
from ftp.settings import FOLLOWING
from ftp.train import amount, checkpoint
from ftp.train.amount import Followed, TrainingRows
from ftp.types import Data, Loss, Model, StartedRun, Task


def training_rows(data: Data, task: Task) -> TrainingRows:
    """What the rule reads of the rows of a run."""
    head = heads.get(task.head)
    train = data.splits.get("train")
    if train is None or not hasattr(train, "num_rows"):
        return TrainingRows(None, have_short_answers=head.follows_rows)
    counts: Counter[int] = Counter()
    columns = forms.get(data.form).of_kind("class")
    if head.picks_class_of == "row" and columns and columns[0].name in train.column_names:
        counts.update(train[columns[0].name][:])
    validation = data.splits.get("validation")
    num_held = len(validation) if validation is not None else None
    return TrainingRows(len(train), sorted(counts.values()), len(data.labels), head.follows_rows, num_held)


def follow(prepared: Prepared, rows: TrainingRows) -> Prepared:
    """The run with a value for each option that was left open, and the reason for it."""
    values = dict(prepared.values)
    reasons: dict[str, str] = {}

    def fill(name: str, followed: Followed[Any]) -> None:
        if values[name] is None:
            values[name] = followed.value
            reasons[name] = followed.reason

    fill("batch_size", amount.batch_size(rows))
    fill("epochs", amount.epochs(rows, None if values["batch_tokens"] else values["batch_size"]))
    if values["max_steps"] is not None and "epochs" in reasons:
        reasons["epochs"] = "not read, as --max-steps is given"
    if _is_none_by_word(prepared, "early_stopping_patience"):
        values["early_stopping_patience"] = 0
    fill("load_best_model_at_end", amount.picks_best(rows, _asks_for_best(values)))
    fill("early_stopping_patience", amount.patience(rows, values["load_best_model_at_end"]))
    if not _is_none_by_word(prepared, "metric_for_best_model"):
        fill("metric_for_best_model", amount.best_metric(rows))
    origin = dict(prepared.origin)
    for name, reason in reasons.items():
        origin[name] = f"follows from the data: {reason}"
    settled = replace_settings(prepared, **{name: values[name] for name in FOLLOWING})
    return dataclasses.replace(settled, origin=origin, reasons=reasons)


def _asks_for_best(values: Mapping[str, Any]) -> bool:
    """Whether somebody said by what evaluations are compared, or how long a better one is waited for."""
    return values["metric_for_best_model"] is not None or bool(values["early_stopping_patience"])


def _is_none_by_word(prepared: Prepared, name: str) -> bool:
    """Whether somebody gave an option as `none`, so that no rule is asked for."""
    return prepared.values[name] is None and prepared.origin[name] != "default"


def as_in_folder(prepared: Prepared, out: Path) -> Prepared:
    """The run with the values that the run in a folder has of options that are left open here: they were settled when it began.

    A run of an older version has no patience: it goes on as it began.
    """
    try:
        kept = Folder(out).read_recipe()
        rules = Folder(out).read_facts().get("rules", {})
    except UserError:  # what is wrong with it is told where the run is taken up
        return prepared
    table = {item.key: item for item in prepared.options}
    known: dict[str, object] = {}
    reasons = {}
    for name in FOLLOWING:
        if kept.get(name) is None:
            continue
        value, problem = convert(table[name], kept[name])
        if problem is not None:
            continue
        if prepared.values[name] is None:
            known[name] = value
        if name in rules and value == {**prepared.values, **known}[name]:
            reasons[name] = rules[name]
    return dataclasses.replace(replace_settings(prepared, **known), reasons=reasons)


def settle(run: StartedRun, prepared: Prepared, data: Data, resumed: bool) -> tuple[StartedRun, Prepared]:
    """The run with all options settled, told where a rule gave them: all that comes after sees plain numbers. A run with
    checkpoints goes on as it began."""
    if not resumed or not checkpoint.any_in(run.out / paths.CHECKPOINTS):
        prepared = follow(prepared, training_rows(data, run.task))
        is_trained = prepared.settings.max_steps != 0
        if is_trained and heads.get(run.task.head).follows_rows and prepared.reasons:
            run.tell(in_words(prepared))
    return dataclasses.replace(run, settings=prepared.settings), prepared


def in_words(settled: Prepared) -> str:
    """The values that a rule gave, each with its reason."""
    parts = []
    for name, reason in settled.reasons.items():
        value = settled.values[name]
        is_read = name != "epochs" or settled.values["max_steps"] is None
        if value is not None and is_read:
            shown = f"{value:g}" if isinstance(value, float) else value
            parts.append(f"--{name.replace('_', '-')} {shown} ({reason})")
    return "how much is trained follows from the data: " + ", ".join(parts)


def write_down(folder: Folder | None, prepared: Prepared) -> None:
    """Put the settled options into the recipe of a run that begins, so that it is repeated and resumed with the same numbers."""
    if folder is None or not prepared.reasons or checkpoint.any_in(folder.path / paths.CHECKPOINTS):
        return
    recipe = prepared.anywhere().recipe()
    folder.write_recipe(recipe)
    recipes.begin(folder, recipe)
    folder.write_facts(rules=dict(prepared.reasons))


def keep_known_metric(
    run: StartedRun, prepared: Prepared, data: Data, model: Model, loss: Loss
) -> tuple[StartedRun, Prepared]:
    """The run with the loss to pick the best, where no plugin gives the score that the rule would take.

    Raises:
        UserError: no plugin gives the score that somebody asked for.
    """
    if not check_metric(run, data, model, loss, is_rule="metric_for_best_model" in prepared.reasons):
        prepared = without_metric(prepared)
    return dataclasses.replace(run, settings=prepared.settings), prepared


def without_metric(prepared: Prepared) -> Prepared:
    """The run with the loss to pick the best, where no plugin gives the score that the rule would take."""
    reasons: Mapping[str, str] = {name: why for name, why in prepared.reasons.items() if name != "metric_for_best_model"}
    origin = {**prepared.origin, "metric_for_best_model": "default"}
    return dataclasses.replace(replace_settings(prepared, metric_for_best_model=None), origin=origin, reasons=reasons)
