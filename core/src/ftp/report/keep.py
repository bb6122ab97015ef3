"""What the report needs that nothing else of a run keeps.

The shape of the data, the answers to held-out rows and the rows that went wrong: small, and of
held-out rows only. This module imports nothing heavy.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from ftp import forms
from ftp.data.turns import words
from ftp.folder.json_files import Example, Lengths, PredictionLine, SplitShape
from ftp.heads import as_it_is
from ftp.types import Data, Prediction, Predictions, Row

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

BINS = 24
"""Bars of the histogram of lengths."""
LETTERS = 600
"""Letters kept of each part of a row that went wrong; a longer part says how much is left out."""
Shown = Callable[[Prediction, Sequence[str]], Mapping[str, object]]
"""A prediction and the names of the classes -> `answer` as it is kept: `HeadSpec.shown`."""
Words = TypeVar("Words")


class Hide(Protocol):
    """Takes out of a row's words, or of lists and tables of them, what must not be shown: `Run.hidden`."""

    def __call__(self, words: Words, /) -> Words: ...


def _hide_nothing(words: Words, /) -> Words:
    return words


# --- the shape of the data ---


def shape(data: Data, encoded: Mapping[str, Dataset]) -> dict[str, SplitShape]:
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
    shapes: dict[str, SplitShape] = {}
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


def _lengths(encoded: Mapping[str, Dataset]) -> dict[str, np.ndarray]:
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


def _summarise_lengths(lengths: np.ndarray, edges: np.ndarray) -> Lengths:
    import numpy as np

    counts, _ = np.histogram(lengths, edges)
    return {
        "min": int(lengths.min()),
        "median": float(np.median(lengths)),
        "p95": float(np.percentile(lengths, 95)),
        "max": int(lengths.max()),
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def _count_classes(data: Data, rows: Dataset) -> dict[str, int]:
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
) -> Iterator[PredictionLine]:
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
        line: PredictionLine = {"row": row_index, "loss": rounded_loss}
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
) -> list[Example]:
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
        worst = sorted(scored, key=lambda line: (-(line["loss"] or 0.0), line["row"]))
    picked = []
    for line in worst[:most]:
        row_parts = parts(split_predictions.rows[line["row"]], hide)
        picked.append(_example(split, line, row_parts))
    return picked


def _confidence(line: PredictionLine) -> float:
    """The probability of the answer of a line; 0 where it has none."""
    return float(max(line.get("scores") or [0.0]))


def _example(split: str, line: PredictionLine, row_parts: Sequence[Sequence[str]]) -> Example:
    """A line with its texts, and the probability of its answer in place of those of all classes."""
    example = Example(split=split, row=line["row"], loss=line["loss"])
    if "answer" in line:
        example["answer"] = line["answer"]
    if "label" in line:
        example["label"] = line["label"]
    if line.get("scores"):
        example["sure"] = _confidence(line)
    example["parts"] = row_parts
    return example


def parts(row: Row, hide: Hide = _hide_nothing) -> list[list[str]]:
    """The texts of a row of any form, each with its column's name, in their order.

    Numbers are left out.
    """
    named_texts = []
    for column, value in row.items():
        text = _text(value)
        if text:
            named_texts.append([column, _cut(hide(text))])
    return named_texts


def _text(value: object) -> str:
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


def _class_name(data: Data, answer: object) -> object:
    if isinstance(answer, int) and 0 <= answer < len(data.labels):
        return data.labels[answer]
    return answer
