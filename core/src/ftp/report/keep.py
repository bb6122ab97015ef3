"""What the report needs that nothing else of a run keeps: the shape of the data, the answers to held-out rows, the rows that
went wrong. Small, and of held-out rows only. This module imports nothing heavy.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ftp import forms
from ftp.data.turns import words
from ftp.types import Data, Predictions

BINS = 24
LETTERS = 600
"""Of each part of a row that went wrong; what is longer says how much is left out."""
Hide = Callable[[Any], Any]
"""What may be shown of words of a row: `Run.hidden`."""


def _as_it_is(said: Any) -> Any:
    return said


def shape(data: Data, encoded: Mapping[str, Any]) -> dict[str, Any]:
    """For each split: `rows`; `length` in tokens of what the model reads (`min`, `median`, `p95`, `max`, and `histogram`:
    `edges` and `counts`); `classes`: rows of each. A split that is streamed says `streamed`, and no more."""
    import numpy as np

    found: dict[str, Any] = {}
    lengths = {name: np.asarray(rows["length"][:]) for name, rows in encoded.items() if hasattr(rows, "num_rows") and len(rows)}
    longest = max((int(one.max()) for one in lengths.values()), default=1)
    edges = np.arange(0, longest + 1 + (wide := math.ceil((longest + 1) / BINS)), wide)
    for name, rows in data.splits.items():
        if not hasattr(rows, "num_rows"):
            found[name] = {"streamed": True}
            continue
        one: dict[str, Any] = {"rows": len(rows)}
        if name in lengths:
            of = lengths[name]
            one["length"] = {"min": int(of.min()), "median": float(np.median(of)), "p95": float(np.percentile(of, 95)),
                             "max": int(of.max()), "histogram": {"edges": edges, "counts": np.histogram(of, edges)[0]}}
        classes = _classes(data, rows)
        if classes:
            one["classes"] = classes
        found[name] = one
    return found


def _classes(data: Data, rows: Any) -> dict[str, int]:
    """Rows of each class, or words of each tag."""
    if not data.labels:
        return {}
    if "label" in rows.column_names:
        counts = Counter(rows["label"][:])
    elif "tags" in rows.column_names:
        counts = Counter(tag for tags in rows["tags"] for tag in tags)
    else:
        return {}
    return {name: counts.get(number, 0) for number, name in enumerate(data.labels)}


def bands(*seen: Predictions | None) -> dict[str, list[float]]:
    """For each split the bounds of its mean loss, 95 %: 1.96 standard errors of the losses of its rows (rows weigh alike)."""
    import numpy as np

    found = {}
    for one in seen:
        losses = one.losses[np.isfinite(one.losses)] if one is not None else np.zeros(0)
        if one is not None and len(losses) > 1:
            half = 1.96 * float(losses.std(ddof=1)) / math.sqrt(len(losses))
            found[f"{one.split}_loss"] = [one.loss - half, one.loss + half]
    return found


def answers(data: Data, seen: Predictions, hide: Hide = _as_it_is) -> Iterator[dict[str, Any]]:
    """One line a held-out row: its number, its loss, the model's answer and, where there are classes, the label by name and
    the probability of each class in the order of the labels."""
    labels = _labels(data, seen)
    for number, loss in enumerate(seen.losses.tolist()):
        line: dict[str, Any] = {"row": number, "loss": round(loss, 6) if math.isfinite(loss) else None}
        if seen.answers:
            given = seen.answers[number]
            line["answer"] = _named(data, given.answer) if labels else hide(given.answer)
            if labels:
                line["label"] = labels[number]
            if given.scores is not None:
                line["scores"] = [round(float(one), 5) for one in given.scores]
        yield line


def examples(data: Data, predictions: Mapping[str, Predictions], most: int, hide: Hide = _as_it_is) -> list[dict[str, Any]]:
    """Held-out rows that went wrong, of test where there is one, the worst first: where there are classes those answered
    wrong, the surest of itself first; else the rows with the highest loss. Each with its text."""
    split = next((name for name in ("test", "validation") if name in predictions), None)
    if split is None:
        return []
    seen = predictions[split]
    lines = list(answers(data, seen, hide))
    if _labels(data, seen):
        wrong = [one for one in lines if one["answer"] != one["label"]]
        worst = sorted(wrong, key=lambda one: (-max(one.get("scores") or [0.0]), one["row"]))[:most]
    else:
        worst = sorted((one for one in lines if one["loss"] is not None), key=lambda one: (-one["loss"], one["row"]))[:most]
    return [{"split": split, **_said(one), "parts": parts(seen.rows[one["row"]], hide)} for one in worst]


def _said(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line of `answers` with the probability of the answer in place of those of all classes."""
    said = {key: value for key, value in line.items() if key != "scores"}
    return {**said, "sure": max(line["scores"])} if line.get("scores") else said


def parts(row: Mapping[str, Any], hide: Hide = _as_it_is) -> list[list[str]]:
    """A row of any form as pairs of what it is and its text, in the order of its columns; numbers are left out."""
    return [[name, _cut(hide(text))] for name, value in row.items() for text in [_text(value)] if text]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        value = value.get("text", ())
    if not isinstance(value, Sequence) or not len(value):
        return ""
    if all(isinstance(one, Mapping) and "content" in one for one in value):
        return "\n".join(f"{turn.get('role', '')}: {words(turn)}" for turn in value)
    return " ".join(value) if all(isinstance(one, str) for one in value) else ""


def _cut(text: str) -> str:
    return text if len(text) <= LETTERS else f"{text[:LETTERS]} ... ({len(text) - LETTERS:,} more letters)"


def _labels(data: Data, seen: Predictions) -> list[str] | None:
    """The class of each row by name, where the model answers with classes."""
    if not data.labels or not seen.answers or "label" not in seen.rows.column_names or not forms.get(data.form).of_kind("class"):
        return None
    if not isinstance(seen.answers[0].answer, int):
        return None
    return [data.labels[number] for number in seen.rows["label"][:]]


def _named(data: Data, answer: Any) -> Any:
    return data.labels[answer] if isinstance(answer, int) and 0 <= answer < len(data.labels) else answer
