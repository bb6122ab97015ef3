"""The plugin `rerank`: a cross-encoder, which reads two texts side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ftp import UserError, forms, hookimpl, option, plugin
from ftp.types import Data, Loss, Model, Predictions, Run, Score

if TYPE_CHECKING:
    from datasets import Dataset


@plugin(
    kind="objective",
    wants=("pairs", "triplets", "scored_pairs"),
    gives=("pairs", "triplets", "scored_pairs"),
    head="score",
    suggests={"learning_rate": 2e-5},
)
class Rerank:
    """Train a score of how well two texts belong together, read side by side (monoBERT, Nogueira and Cho 2019, arXiv:1901.04085).

    It is to put what vectors have found (`embed`) into a better order. Rows of pairs and triplets are learnt beside pairs that do
    not belong together: the row's own negative, and positives of other rows. `CrossEncoder(folder)` loads the result.
    """

    negatives: int = option(4, "positives of other rows that each anchor is held against (forms pairs and triplets)", low=0)
    highest: float = option(1.0, "the score of rows that stands for 1, such as 5 (form scored_pairs)", low=0.001)

    @hookimpl
    def load_data(self, run: Run) -> Mapping[str, Dataset]:
        """What --data names, else the sample of `embed`."""
        from ftp.data import load
        from ftp_embed import SAMPLE

        return load(run, SAMPLE / run.task.form, form=run.task.form)

    @hookimpl
    def make_loss(self, run: Run, data: Data, model: Model) -> Loss:
        from ftp_rerank import loss

        self._check(run.task.form, data)
        return loss.make(run, model, self.negatives, self.highest)

    def _check(self, form: str, data: Data) -> None:
        """Raise `UserError` for scores that are no share of the highest, and for rows without anything that is wrong."""
        columns = forms.get(form).required
        for split, rows in data.splits.items():
            if "score" in columns and hasattr(rows, "num_rows"):
                outside = [score for score in rows["score"][:] if not 0 <= score <= self.highest]
                if outside:
                    raise UserError(f"rerank: {split} has {len(outside)} scores outside 0 to {self.highest:g} ({outside[0]:g})",
                                    "name the highest score there is", f"--rerank.highest {max(outside):g}")
        if not self.negatives and not {"score", "negative"} & set(columns):
            raise UserError("--rerank.negatives 0: rows of pairs say only what belongs together", "at least 1, or triplets")

    @hookimpl
    def evaluate(self, data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
        from ftp_rerank import evaluation

        return evaluation.measure(data, predictions)
