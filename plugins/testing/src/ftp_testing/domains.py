"""A domain's rows, and answers to them that are all right or all wrong. Imports neither torch nor numpy."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from ftp import forms
from ftp.data.loading import settle
from ftp.data.turns import words
from ftp.errors import UserError
from ftp.options import options_of
from ftp.settings import Settings
from ftp.types import Data, Prediction, Predictions, Row, Run, Score, Task
from ftp_testing.outcome import Fault, NotApplicable
from ftp_testing.rows import splits
from ftp_testing.subject import Subject

if TYPE_CHECKING:
    from datasets import Dataset

WRONG = "zzz"
"""A text that is no answer to anything."""


def answer_hook(subject: Subject, hook: str, **arguments: object) -> object:
    """What the plugin itself answers to a hook, with its default options."""
    import inspect

    plugin = subject.cls(**{item.name: item.default for item in options_of(subject.cls, subject.name)})
    function = getattr(plugin, hook)
    return function(**{name: arguments[name] for name in inspect.signature(function).parameters})


def a_run(form: str, data: str | None = None, head: str | None = None, **settings: Any) -> Run:
    """The facts of a run for a domain to read: nothing heavy in it."""
    chosen = dataclasses.replace(Settings(), data=data, device="cpu", **settings)
    return Run(chosen, Task(form, head or forms.get(form).default_head), cast(Any, SimpleNamespace(picked=(), plugins={})))


def given(subject: Subject) -> tuple[str, ...]:
    """The forms that a domain says it gives."""
    return subject.picked.declaration.gives


def source(subject: Subject, form: str) -> str | None:
    """What to name in `--data`: nothing for a domain that has rows of its own, else rows of the kit in a folder."""
    try:
        answer_hook(subject, "load_data", run=a_run(form))
    except UserError as error:
        if "no sample" not in str(error) and "no data" not in str(error):
            raise
        # a domain without a sample (files) reads rows of the kit
        folder = subject.folder / "data" / form
        if not folder.is_dir():
            folder.mkdir(parents=True)
            for split, rows in splits(form).items():
                (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(folder)
    return None


def rows(subject: Subject, form: str, own: bool = False) -> Data:
    """The domain's rows in a form, as a run settles them. `own`: only what the domain gives, no validation cut from train."""
    settled = subject.memory.domain_rows
    if (form, own) not in settled:
        run = a_run(form, source(subject, own_form(subject, form)))
        splits = answer_hook(subject, "load_data", run=run)
        if not isinstance(splits, Mapping) or not splits:
            raise Fault(f"load_data gives {type(splits).__name__} for the form {form}", "a mapping: split name -> datasets.Dataset")
        settled[form, own] = Data(dict(splits), form) if own else settle(splits, run)[0]
    return settled[form, own]


def own_form(subject: Subject, form: str) -> str:
    """The form of those that a domain gives from which rows of `form` can be made."""
    for own in given(subject):
        if form in forms.reachable([own]):
            return own
    return form


def predictions(data: Data, right: bool, order: Sequence[int] | None = None) -> dict[str, Predictions]:
    """Answers to all rows of each split, all right or all wrong; `order`: rows in another order (cut to the split)."""
    import numpy as np

    loss = 0.01 if right else 9.0  # nats
    by_split = {}
    for split, rows in data.splits.items():
        if order is not None:
            rows = rows.select([row_index for row_index in order if row_index < len(rows)])
        answers = [answered(row, data, right) for row in rows.to_list()]
        by_split[split] = Predictions(split, rows, answers, loss, np.full(len(rows), loss))
    return by_split


def answered(row: Row, data: Data, right: bool) -> Prediction:
    """One answer to a row, as the form gives it for checks, or as core's losses answer the kinds of its columns."""
    spec = forms.get(data.form)
    if spec.answered is not None:
        return spec.answered(row, data.labels, right)
    answers: Mapping[forms.ColumnKind, Callable[[Any, Data, bool], Prediction]] = {
        "class": _class, "classes": _classes, "tags": _tags, "number": _number, "answers": _stretch,
    }  # fmt: skip
    for column in spec.columns:
        if column.is_answer and column.kind in answers:
            return answers[column.kind](row[column.name], data, right)
    if spec.has_messages and spec.is_whole:
        return Prediction(words(row[spec.required[0]][-1]) if right else WRONG)
    return Prediction(None)


def _class(label: int, data: Data, right: bool) -> Prediction:
    answer = int(label) if right else (int(label) + 1) % len(data.labels)
    return Prediction(answer, _certain([answer], data))


def _classes(labels: Sequence[int], data: Data, right: bool) -> Prediction:
    answer = [number for number in range(len(data.labels)) if (number in labels) == right]
    return Prediction(answer, _certain(answer, data))


def _certain(answer: Sequence[int], data: Data) -> tuple[float, ...]:
    """Probability 1 for the classes of an answer, 0 for the others."""
    return tuple(float(number in answer) for number in range(len(data.labels)))


def _tags(tags: Sequence[int], data: Data, right: bool) -> Prediction:
    shift = 0 if right else 1
    return Prediction([data.labels[(number + shift) % len(data.labels)] for number in tags])


def _number(number: float, data: Data, right: bool) -> Prediction:
    # far off, and in another order
    return Prediction(float(number) if right else 100.0 - float(number))


def _stretch(answers: Row, data: Data, right: bool) -> Prediction:
    texts = answers["text"] or [""]
    return Prediction(texts[0] if right else WRONG)


def scores(subject: Subject, data: Data, answers: Mapping[str, Predictions]) -> dict[tuple[str, str], Score]:
    """What the domain's `evaluate` gives, by name and split."""
    scores = answer_hook(subject, "evaluate", run=a_run(data.form), data=data, predictions=answers, model=None)
    if not isinstance(scores, (list, tuple)) or not all(isinstance(score, Score) for score in scores):
        raise Fault("evaluate does not give a list of ftp.types.Score", "return [Score(name, value, \"max\", split), ...]")
    counts = Counter((score.name, score.split) for score in scores)
    twice = sorted(f"{name} of {split}" for (name, split), count in counts.items() if count > 1)
    if twice:
        raise Fault(f"evaluate gives a score twice: {', '.join(twice)}", "one score of a name for each split")
    return {(score.name, score.split): score for score in scores}


def scored(subject: Subject) -> list[tuple[Data, dict[tuple[str, str], Score]]]:
    """For each form that the domain gives and scores: its rows, and the scores of answers that are all right."""
    if not hasattr(subject.cls, "evaluate"):
        raise NotApplicable("it brings no scores (evaluate)")
    # a domain of questions is asked as conversations too, and scores those answers
    reachable = sorted(forms.reachable(given(subject)))
    talks = [form for form in reachable if forms.get(form).has_messages and forms.get(form).is_whole]
    scored_forms = []
    for form in dict.fromkeys([*given(subject), *talks]):
        data = rows(subject, form)
        right = scores(subject, data, predictions(data, True))
        if right:
            scored_forms.append((data, right))
    if not scored_forms:
        raise Fault("evaluate gives no score for any form that the domain gives, when every answer is right",
                    "give scores by split; core's own are in ftp.metrics")
    return scored_forms


def stored(rows: Dataset, split: str) -> Dataset:
    """Rows of a split that can be counted."""
    if not hasattr(rows, "num_rows"):
        raise NotApplicable(f"{split} is a stream")
    return rows
