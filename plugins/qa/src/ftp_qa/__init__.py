"""The qa domain: find the answer to a question in a text."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ftp import heads, hookimpl, option, plugin
from ftp.metrics import reading
from ftp.types import Data, Loss, Model, Predictions, Run, Score

if TYPE_CHECKING:
    from datasets import Dataset

SAMPLE = Path(__file__).parent / "sample"


@plugin(gives=("question",), general=True)
class Qa:
    """Find the answer to a question in a text, or say that it has none (rows in SQuAD's form).

    Without `--data` it trains on a sample that comes with the package: short texts of everyday life with about four
    questions each, one in five without an answer. Scores are SQuAD's exact match and F1.
    """

    max_answer_length: int = option(30, "tokens in an answer at most", low=1)
    no_answer_threshold: float = option(
        0.0, "how much likelier than the best stretch no answer must be, in logits; larger: answers more often")

    @hookimpl
    def load_data(self, run: Run) -> Mapping[str, Dataset]:
        from ftp.data import load

        return load(run, SAMPLE, form="question")

    @hookimpl(wrapper=True)
    def make_loss(self, run: Run, data: Data, model: Model) -> Generator[None, Loss, Loss]:
        loss = yield
        if not heads.get(run.task.head).finds_span:
            return loss
        from ftp.losses import span, wrapped

        reader = span.reader(run, data, model, max_answer_length=self.max_answer_length, threshold=self.no_answer_threshold)
        return wrapped(loss, answer=reader.answer, merge=reader.merge)

    @hookimpl
    def evaluate(self, data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
        return reading(data, predictions)
