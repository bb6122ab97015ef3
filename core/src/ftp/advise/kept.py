"""Outcomes of pilots on disk, under a key of all that decides them, so that an interrupted race goes on where it stopped.

Imports nothing heavy.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftp.advise.pilot import Job
from ftp.advise.types import Outcome
from ftp.contract import VERSION
from ftp.data.fingerprint import fingerprint
from ftp.folder.writing import plain, write_text
from ftp.plugins.plan import Prepared
from ftp.types import Prediction

if TYPE_CHECKING:
    from datasets import Dataset

PILOTS = "pilots"
"""The folder of outcomes in that of an advice."""
WIDTH = 24
"""Letters of a key that names a file."""


def key_of(job: Job, prepared: Prepared) -> str:
    """A hash of what decides the outcome of a job: its rows, its options, its amount, and the versions of core and plugins."""
    versions = sorted(f"{plugin.name} {plugin.found.package}" for plugin in prepared.picked)
    rows = {split: fingerprint(rows) for split, rows in job.data.splits.items()}
    said = {"core": VERSION, "versions": versions, "recipe": prepared.anywhere().recipe(), "rows": rows, "fold": job.fold,
            "updates": job.updates, "batch_size": job.batch_size}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:WIDTH]


def rows_key(rows: Dataset, metric: str) -> str:
    """A hash of the rows of a race and of the score that counts."""
    return hashlib.sha256(f"{fingerprint(rows)} {metric}".encode()).hexdigest()[:WIDTH]


def save(outcome: Outcome, file: Path) -> None:
    """Write an outcome down."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # losses that are not there become null: JSON knows no NaN
    answers = [[prediction.answer, prediction.scores] for prediction in outcome.answers]
    said = {
        "entry": outcome.entry, "rows": outcome.rows.tolist(), "losses": outcome.losses.tolist(), "answers": answers,
        "scores": dict(outcome.scores), "seconds": outcome.seconds, "memory": outcome.memory,
        "num_train_rows": outcome.num_train_rows, "updates": outcome.updates, "folds": list(outcome.folds),
        "error": outcome.error,
    }  # fmt: skip
    write_text(file, json.dumps(plain(said), allow_nan=False))


def load(file: Path) -> Outcome | None:
    """An outcome that was written down; None where there is none, or half of one."""
    import numpy as np

    try:
        said: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        losses = [math.nan if loss is None else loss for loss in said["losses"]]
        answers = []
        for answer, scores in said["answers"]:
            answers.append(Prediction(answer, None if scores is None else tuple(scores)))
        own_scores = {name: math.nan if value is None else value for name, value in said["scores"].items()}
        return Outcome(said["entry"], np.asarray(said["rows"], dtype=np.int64), np.asarray(losses, dtype=np.float64), answers,
                       own_scores, said["seconds"], said["memory"], said["num_train_rows"], said["updates"],
                       tuple(said["folds"]), said["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
