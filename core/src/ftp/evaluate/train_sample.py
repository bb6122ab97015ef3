"""Some training rows, scored as validation is, so that the two can be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftp.data.updates import Source
from ftp.types import Data, Loss, StartedRun

if TYPE_CHECKING:
    from datasets import Dataset

SAMPLE_AT_MOST = 512
SAMPLE_AT_LEAST = 128


def train_sample(run: StartedRun, data: Data, loss: Loss, source: Source, every_eval: int) -> tuple[Dataset, Dataset] | None:
    """A fixed sample of training rows, encoded and scored as validation is: row by row, also where training rows are laid
    together in blocks. None for a stream, and where an answer has to be generated.

    As many as validation has, 512 at most, and at most a quarter of those trained on between two evaluations (128 at least):
    scoring them then costs a twelfth of training.

    Args:
        every_eval: updates between two evaluations.
    """
    import numpy as np

    from ftp.data.encode import encode, whole_answers

    if run.settings.streaming or loss.makes_rows:
        return None
    rows = data.splits["train"]
    trained_on = every_eval * len(rows) / source.per_epoch  # rows, between two evaluations
    affordable = max(SAMPLE_AT_LEAST, int(trained_on / 4))
    size = min(len(rows), len(data.splits["validation"]), SAMPLE_AT_MOST, affordable)
    generator = np.random.default_rng(run.settings.seed)
    sample = rows.select(np.sort(generator.choice(len(rows), size, replace=False)))
    encoded = whole_answers(encode(sample, loss.encode_to_score, "train", key=loss.key), run.settings.truncated_answers)
    return (sample, encoded) if len(encoded) else None
