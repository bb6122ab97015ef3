"""Classes of rows: how often the model is right, and how evenly over the classes."""

from __future__ import annotations

from collections.abc import Mapping

from ftp import forms
from ftp.data.turns import words
from ftp.types import Data, Predictions, Score


def classification(data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
    """For each split `accuracy`, `macro_f1` (mean over all classes, one that is never met or named counts 0) and `mcc`
    (Matthews correlation), all 1 at best, by scikit-learn.

    Where the model answers in words (`sft` on labels said in words), `exact_match`: the share of answers that are the
    label's name, case and white space aside, of the rows that were answered. Nothing where there is nothing to compare.
    """
    form = forms.get(data.form)
    if form.column("messages") is not None:
        return [score for split, one in predictions.items() for score in _said(split, one)]
    if not form.of_kind("class") or not data.labels:
        return []
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    classes, scores = list(range(len(data.labels))), list[Score]()
    for split, one in predictions.items():
        if not one.answers or "label" not in one.rows.column_names or not isinstance(one.answers[0].answer, int):
            continue
        truth, given = one.rows["label"][:], [answer.answer for answer in one.answers]
        f1 = f1_score(truth, given, labels=classes, average="macro", zero_division=0)
        scores += [Score("accuracy", float(accuracy_score(truth, given)), "max", split),
                   Score("macro_f1", float(f1), "max", split),
                   Score("mcc", float(matthews_corrcoef(truth, given)), "max", split)]
    return scores


def _said(split: str, one: Predictions) -> list[Score]:
    """Generated names of labels against the last turn of each conversation."""
    right = [_plain(answer.answer) == _plain(words(messages[-1]))
             for answer, messages in zip(one.answers, one.rows["messages"], strict=False) if isinstance(answer.answer, str)]
    return [Score("exact_match", sum(right) / len(right), "max", split, len(right))] if right else []


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
