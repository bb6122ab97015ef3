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

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def reading(data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
    """For each split `exact_match` and `f1` (of words), each the best over a question's answers; 1 at best (the official
    scripts print percent).

    Where some questions have no answer, also `f1_answerable` and `no_answer_accuracy` (the share of the others for which
    none was given). Answers may be stretches or generated (compared with the last turn of a conversation); rows that were
    not answered do not count. Nothing where rows say no answers.
    """
    scores = []
    for split, one in predictions.items():
        wanted = _wanted(data, one) if one.answers else []
        pairs = [(accepted([_text(text) for text in texts]), _text(answer.answer))
                 for answer, texts in zip(one.answers, wanted, strict=False) if isinstance(answer.answer, str)]
        if not pairs:
            continue
        exact = [max(exact_match(answer, text) for answer in answers) for answers, text in pairs]
        f1 = [max(word_f1(answer, text) for answer in answers) for answers, text in pairs]
        scores += [Score("exact_match", _mean(exact), "max", split, len(pairs)), Score("f1", _mean(f1), "max", split, len(pairs))]
        lacking = [answers == [""] for answers, _ in pairs]
        if any(lacking):
            has = [value for value, lacks in zip(f1, lacking, strict=True) if not lacks]
            none = [value for value, lacks in zip(f1, lacking, strict=True) if lacks]
            scores.append(Score("no_answer_accuracy", _mean(none), "max", split, len(none)))
            if has:
                scores.append(Score("f1_answerable", _mean(has), "max", split, len(has)))
    return scores


def _wanted(data: Data, one: Predictions) -> Sequence[Sequence[str]]:
    """The answers to each row of a split."""
    if "answers" in one.rows.column_names:
        return [answers["text"] for answers in one.rows["answers"]]
    if forms.get(data.form).column("messages") is not None:
        return [[words(messages[-1])] for messages in one.rows["messages"]]
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
    wanted, given = normalised(answer).split(), normalised(text).split()
    if not wanted or not given:
        return float(wanted == given)
    common = sum((Counter(wanted) & Counter(given)).values())
    return 2 * common / (len(wanted) + len(given))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
