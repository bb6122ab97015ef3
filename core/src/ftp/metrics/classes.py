"""Classes of rows: how often the model is right, and how evenly over the classes."""

from __future__ import annotations

from collections.abc import Mapping

from ftp import forms
from ftp.data.turns import words
from ftp.metrics.answered import with_answers
from ftp.types import Data, Predictions, Score


def classification(data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
    """For each split `accuracy`, `macro_f1` (mean over all classes, one that is never met or named counts 0) and `mcc`
    (Matthews correlation), all 1 at best, by scikit-learn.

    Where the model answers in words (`sft` on labels said in words), `exact_match`: the share of answers that are the
    label's name, case and white space aside, of the rows that were answered. Nothing where there is nothing to compare.

    Args:
        data: the rows of the run, with its form and labels.
        predictions: the answers of the model, by split.
    """
    form = forms.get(data.form)
    if form.column("messages") is not None:
        return _exact_match(predictions)
    if not form.of_kind("class") or not data.labels:
        return []
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    classes = list(range(len(data.labels)))
    scores = []
    for split, truth, answers in with_answers(predictions, "label"):
        if not isinstance(answers[0], int):
            continue
        # over all classes of the task, not only those that these rows have
        macro_f1 = f1_score(truth, answers, labels=classes, average="macro", zero_division=0)
        scores += [
            Score("accuracy", float(accuracy_score(truth, answers)), split=split),
            Score("macro_f1", float(macro_f1), split=split),
            Score("mcc", float(matthews_corrcoef(truth, answers)), split=split),
        ]
    return scores


def _exact_match(predictions: Mapping[str, Predictions]) -> list[Score]:
    """Generated names of labels against the last turn of each conversation."""
    scores = []
    for split, predicted in predictions.items():
        num_answered = num_right = 0
        for prediction, messages in zip(predicted.answers, predicted.rows["messages"], strict=False):
            if isinstance(prediction.answer, str):
                num_answered += 1
                num_right += _plain(prediction.answer) == _plain(words(messages[-1]))
        if num_answered:
            scores.append(Score("exact_match", num_right / num_answered, split=split, n=num_answered))
    return scores


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
