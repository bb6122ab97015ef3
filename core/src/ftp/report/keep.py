"""What the report needs that nothing else of a run keeps.

The shape of the data, the answers to held-out rows and the rows that went wrong: small, and of
held-out rows only. This module imports nothing heavy.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftp import forms
from ftp.data.turns import words
from ftp.heads import as_it_is
from ftp.types import Data, Prediction, Predictions

if TYPE_CHECKING:
    import numpy as np

BINS = 24
"""Bars of the histogram of lengths."""
LETTERS = 600
"""Letters kept of each part of a row that went wrong; a longer part says how much is left out."""
Hide = Callable[[Any], Any]
"""Takes out of a row's words what must not be shown: `Run.hidden`."""
Shown = Callable[[Prediction, Sequence[str]], Mapping[str, Any]]
"""A prediction and the names of the classes -> `answer` as it is kept: `HeadSpec.shown`."""


def _hide_nothing(text: Any) -> Any:
    return text


# --- the shape of the data ---


def shape(data: Data, encoded: Mapping[str, Any]) -> dict[str, Any]:
    """Describe each split.

    Args:
        encoded: the encoded rows of each split, with their `length` in tokens.

    Returns:
        For each split `rows`; `length` in tokens of what the model reads (`min`, `median`, `p95`,
        `max`, and `histogram`: `edges` and `counts`); `classes`: rows of each. A streamed split
        has only `streamed`.
    """
    lengths = _lengths(encoded)
    edges = _bin_edges(lengths.values())
    shapes: dict[str, Any] = {}
    for split, rows in data.splits.items():
        if not hasattr(rows, "num_rows"):  # a stream: its rows are not known before they are read
            shapes[split] = {"streamed": True}
            continue
        shapes[split] = {"rows": len(rows)}
        if split in lengths:
            shapes[split]["length"] = _summarise_lengths(lengths[split], edges)
        class_counts = _count_classes(data, rows)
        if class_counts:
            shapes[split]["classes"] = class_counts
    return shapes


def _lengths(encoded: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """For each split that is not streamed, the length of each encoded row: [rows] int."""
    import numpy as np

    lengths = {}
    for split, rows in encoded.items():
        if hasattr(rows, "num_rows") and len(rows):
            lengths[split] = np.asarray(rows["length"][:])
    return lengths


def _bin_edges(lengths: Iterable[np.ndarray]) -> np.ndarray:
    """Edges of bins of one width that all splits share, so that their lines can be compared."""
    import numpy as np

    longest = max((int(split_lengths.max()) for split_lengths in lengths), default=1)
    width = math.ceil((longest + 1) / BINS)
    return np.arange(0, longest + 1 + width, width)


def _summarise_lengths(lengths: np.ndarray, edges: np.ndarray) -> dict[str, Any]:
    import numpy as np

    counts, _ = np.histogram(lengths, edges)
    return {
        "min": int(lengths.min()),
        "median": float(np.median(lengths)),
        "p95": float(np.percentile(lengths, 95)),
        "max": int(lengths.max()),
        "histogram": {"edges": edges, "counts": counts},
    }


def _count_classes(data: Data, rows: Any) -> dict[str, int]:
    """Rows of each class, or words of each tag; empty where rows have neither."""
    if not data.labels:
        return {}
    counts: Counter[int] = Counter()
    if "label" in rows.column_names:
        counts.update(rows["label"][:])
    elif "tags" in rows.column_names:
        for tags in rows["tags"]:
            counts.update(tags)
    else:
        return {}
    return {label: counts.get(index, 0) for index, label in enumerate(data.labels)}


# --- held-out rows ---


def bands(*predictions: Predictions | None) -> dict[str, list[float]]:
    """For each split the 95 % bounds of its mean loss in nats; rows weigh alike."""
    import numpy as np

    bounds = {}
    for split_predictions in predictions:
        if split_predictions is None:
            continue
        losses = split_predictions.losses
        losses = losses[np.isfinite(losses)]
        if len(losses) > 1:
            # 1.96 standard errors: the normal approximation of the mean
            half_width = 1.96 * float(losses.std(ddof=1)) / math.sqrt(len(losses))
            mean = split_predictions.loss
            bounds[f"{split_predictions.split}_loss"] = [mean - half_width, mean + half_width]
    return bounds


def answers(
    data: Data, predictions: Predictions, hide: Hide = _hide_nothing, shown: Shown = as_it_is
) -> Iterator[dict[str, Any]]:
    """Give a line for each held-out row: its index, its loss and the model's answer.

    Where there are classes, also the label by name and the probability of each class in the order
    of the labels.

    Args:
        shown: what is kept of an answer that is no class (`HeadSpec.shown`).
    """
    labels = _row_labels(data, predictions)
    for row_index, loss in enumerate(predictions.losses.tolist()):
        # JSON has no NaN, which is the loss of a row without a trained term
        rounded_loss = round(loss, 6) if math.isfinite(loss) else None
        line: dict[str, Any] = {"row": row_index, "loss": rounded_loss}
        if predictions.answers:
            prediction = predictions.answers[row_index]
            if labels:
                line["answer"] = _class_name(data, prediction.answer)
                line["label"] = labels[row_index]
            else:
                line["answer"] = hide(shown(prediction, data.labels)["answer"])
            if prediction.scores is not None:
                line["scores"] = [round(float(score), 5) for score in prediction.scores]
        yield line


def examples(
    data: Data,
    predictions: Mapping[str, Predictions],
    most: int,
    hide: Hide = _hide_nothing,
    shown: Shown = as_it_is,
) -> list[dict[str, Any]]:
    """Pick held-out rows that went wrong, worst first, each with its text.

    They are of test where there is one. Where there are classes they are those answered wrong, the
    surest of itself first; else the rows with the highest loss.

    Args:
        most: how many to give at most.
    """
    split = next((name for name in ("test", "validation") if name in predictions), None)
    if split is None:
        return []
    split_predictions = predictions[split]
    lines = list(answers(data, split_predictions, hide, shown))
    if _row_labels(data, split_predictions):
        wrong = [line for line in lines if line["answer"] != line["label"]]
        worst = sorted(wrong, key=lambda line: (-_confidence(line), line["row"]))
    else:
        scored = [line for line in lines if line["loss"] is not None]
        worst = sorted(scored, key=lambda line: (-line["loss"], line["row"]))
    picked = []
    for line in worst[:most]:
        row_parts = parts(split_predictions.rows[line["row"]], hide)
        picked.append({"split": split, **_without_scores(line), "parts": row_parts})
    return picked


def _confidence(line: Mapping[str, Any]) -> float:
    """The probability of the answer of a line; 0 where it has none."""
    return float(max(line.get("scores") or [0.0]))


def _without_scores(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line with the probability of its answer in place of those of all classes."""
    short_line = {key: value for key, value in line.items() if key != "scores"}
    if line.get("scores"):
        short_line["sure"] = _confidence(line)
    return short_line


def parts(row: Mapping[str, Any], hide: Hide = _hide_nothing) -> list[list[str]]:
    """The texts of a row of any form, each with its column's name, in their order.

    Numbers are left out.
    """
    named_texts = []
    for column, value in row.items():
        text = _text(value)
        if text:
            named_texts.append([column, _cut(hide(text))])
    return named_texts


def _text(value: Any) -> str:
    """The text of a value: a string, words, turns or an answer of SQuAD; empty for any other."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        value = value.get("text", ())
    if not isinstance(value, Sequence) or not len(value):
        return ""
    if all(isinstance(turn, Mapping) and "content" in turn for turn in value):
        return "\n".join(f"{turn.get('role', '')}: {words(turn)}" for turn in value)
    if all(isinstance(word, str) for word in value):
        return " ".join(value)
    return ""


def _cut(text: str) -> str:
    if len(text) <= LETTERS:
        return text
    return f"{text[:LETTERS]} ... ({len(text) - LETTERS:,} more letters)"


def _row_labels(data: Data, predictions: Predictions) -> list[str] | None:
    """The class of each row by name; None where the model does not answer with classes."""
    if not data.labels or not predictions.answers:
        return None
    has_classes = bool(forms.get(data.form).of_kind("class"))
    if not has_classes or "label" not in predictions.rows.column_names:
        return None
    first: Prediction = predictions.answers[0]
    if not isinstance(first.answer, int):
        return None
    return [data.labels[class_index] for class_index in predictions.rows["label"][:]]


def _class_name(data: Data, answer: Any) -> Any:
    if isinstance(answer, int) and 0 <= answer < len(data.labels):
        return data.labels[answer]
    return answer
