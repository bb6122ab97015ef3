"""Answers to questions about a text, compared as SQuAD's official scripts do it (Rajpurkar et al. 2016, section 6.1; 2018)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence

from ftp import forms
from ftp.data.chat_rows import UNANSWERABLE
from ftp.data.turns import words
from ftp.types import Data, Predictions, Score

# as in SQuAD's own scripts: English articles and ASCII punctuation
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def reading(data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
    """For each split `exact_match` and `f1` (of words), each the best over a question's answers; 1 at best (the official
    scripts print percent).

    Where some questions have no answer, also `f1_answerable` and `no_answer_accuracy` (the share of the others for which
    none was given). Answers may be stretches or generated (compared with the last turn of a conversation); rows that were
    not answered do not count. Nothing where rows say no answers.

    Args:
        data: the rows of the run, with its form and labels.
        predictions: the answers of the model, by split.
    """
    scores = []
    for split, predicted in predictions.items():
        exact: list[float] = []
        f1: list[float] = []
        is_answerable: list[bool] = []
        for prediction, texts in zip(predicted.answers, _texts_of_answers(data, predicted), strict=False):
            if not isinstance(prediction.answer, str):
                continue
            answer = _text(prediction.answer)
            right_answers = accepted([_text(text) for text in texts])
            exact.append(max(exact_match(right, answer) for right in right_answers))
            f1.append(max(word_f1(right, answer) for right in right_answers))
            is_answerable.append(right_answers != [""])
        if not f1:
            continue
        scores += [_mean("exact_match", exact, split), _mean("f1", f1, split)]

        # SQuAD 2.0 also shows the questions with and without an answer apart
        if not all(is_answerable):
            f1_answerable = [value for value, has_answer in zip(f1, is_answerable, strict=True) if has_answer]
            f1_unanswerable = [value for value, has_answer in zip(f1, is_answerable, strict=True) if not has_answer]
            scores.append(_mean("no_answer_accuracy", f1_unanswerable, split))
            if f1_answerable:
                scores.append(_mean("f1_answerable", f1_answerable, split))
    return scores


def _texts_of_answers(data: Data, predicted: Predictions) -> Sequence[Sequence[str]]:
    """The texts of the right answers to each row of a split; none where no row is answered, or rows say no answers."""
    if not predicted.answers:
        return []
    if "answers" in predicted.rows.column_names:
        return [answers["text"] for answers in predicted.rows["answers"]]
    if forms.get(data.form).column("messages") is not None:
        return [[words(messages[-1])] for messages in predicted.rows["messages"]]
    return []


def _text(answer: str) -> str:
    """An answer as text, where the words that stand for none are none."""
    return "" if answer.strip() == UNANSWERABLE else answer


def normalised(text: str) -> str:
    """Lower case, without punctuation, without the articles a, an and the, words parted by one blank."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def accepted(texts: Sequence[str]) -> list[str]:
    """The answers to compare with; an empty one where there is none (one that is punctuation or articles alone is none)."""
    return [text for text in texts if normalised(text)] or [""]


def exact_match(answer: str, text: str) -> float:
    """1 where both are the same once normalised, else 0."""
    return float(normalised(answer) == normalised(text))


def word_f1(answer: str, text: str) -> float:
    """The harmonic mean of precision and recall of the words of `text`; where either is empty, 1 if both are."""
    right_words = normalised(answer).split()
    text_words = normalised(text).split()
    if not right_words or not text_words:
        return float(right_words == text_words)
    # a word counts as often as it stands in both
    num_common = (Counter(right_words) & Counter(text_words)).total()
    return 2 * num_common / (len(right_words) + len(text_words))


def _mean(name: str, values: Sequence[float], split: str) -> Score:
    """The mean over the questions of a split as a score."""
    return Score(name, sum(values) / len(values), split=split, n=len(values))
