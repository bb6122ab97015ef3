"""Rows, situations and outcomes that tests of `ftp advise` begin with."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ftp.advise.question import Question
from ftp.advise.situation import open_situation
from ftp.advise.types import Outcome, Situation
from ftp.types import Prediction


def write_rows(folder: Path, count: int = 60, label: Callable[[int], str] = lambda row: ("good", "bad")[row % 2]) -> Path:
    """Rows whose words say their label, unless `label` does not follow the number of the row."""
    file = folder / "rows.jsonl"
    lines = []
    for row in range(count):
        words = ("a quiet joy from first to last", "not even for free would I watch it")[row % 2]
        lines.append(json.dumps({"text": f"{words}, number {row}", "label": label(row)}))
    file.write_text("\n".join(lines))
    return file


def situation_of(tmp_path: Path, **changes: Any) -> Situation:
    options = {"plugins": ("classify",), "out": tmp_path / "advice", **changes}
    return open_situation(Question(str(write_rows(tmp_path)), **options))


def an_outcome(entry: str, right: Sequence[bool], losses: Sequence[float] | None = None, **changes: Any) -> Outcome:
    """Answers to rows of two classes in turn, right or wrong."""
    answers = []
    for row, is_right in enumerate(right):
        label = row % 2 if is_right else 1 - row % 2
        answers.append(Prediction(label, (1.0 - label, float(label))))
    own = np.where(right, 0.2, 2.0) if losses is None else np.asarray(losses)
    return dataclasses.replace(Outcome(entry, np.arange(len(right)), own, answers, {"accuracy": float(np.mean(right))},
                                       seconds=3.0, memory=10**9, num_train_rows=48, updates=10, folds=(0,)), **changes)
