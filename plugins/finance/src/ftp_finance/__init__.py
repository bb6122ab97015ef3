"""The finance domain: is company news good or bad, questions about reports, and the texts themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ftp import hookimpl, option, plugin
from ftp.metrics import classification, reading
from ftp.types import Data, Predictions, Risk, Run, Score

if TYPE_CHECKING:
    from datasets import Dataset

SAMPLE = Path(__file__).parent / "sample"


@plugin(gives=("labelled", "question", "text"))
class Finance:
    """Financial language: tell good news from bad, answer questions about reports, or learn from the texts alone.

    Without `--data` it trains on a sample that comes with the package: dated sentences of company news (negative, neutral,
    positive) split by time, questions about short reports, and passages of text. Training rows that are later than the rows
    they are judged on are told before training.
    """

    labels: tuple[str, ...] = option((), "names of the classes in the order of their numbers; default: what the data say")
    date_column: str | None = option(
        None, "column with the date of a row; default: one named date, published, timestamp or the like, else dates in the text")
    most_rows: int = option(10_000, "rows of a split whose dates are read; of more, as many spread evenly", low=1)
    ahead_share: float = option(
        0.02, "share of pairs of a training and an evaluation row in which the training row is later that is a warning "
        "(five times that where only the text tells dates)", low=0, high=1)

    @hookimpl
    def load_data(self, run: Run) -> Mapping[str, Dataset]:
        from ftp.data import load

        form = run.task.form if (SAMPLE / run.task.form).is_dir() else "question"
        return load(run, SAMPLE / form, form=form, labels=self.labels)

    @hookimpl
    def evaluate(self, data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
        return classification(data, predictions) if data.labels else reading(data, predictions)

    @hookimpl
    def check_risks(self, run: Run, stage: str, data: Data) -> list[Risk]:
        """Before training: compare the dates of training rows with those of evaluation rows."""
        if stage != "data":
            return []
        from ftp_finance.dates import verdict

        return [verdict(run, data, self.date_column, self.most_rows, self.ahead_share)]
