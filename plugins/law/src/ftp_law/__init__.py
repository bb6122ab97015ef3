"""The law domain: what kind of clause is it, questions about cases and rules, and the texts themselves."""

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
class Law:
    """Legal language: tell kinds of clauses apart, answer questions about cases and rules, or learn from the texts alone.

    Without `--data` it trains on a sample that comes with the package: invented contract clauses of eight kinds, questions
    about short cases, and passages of text. A case or statute that is cited in two splits is told before training.
    """

    labels: tuple[str, ...] = option((), "names of the classes in the order of their numbers; default: what the data say")
    most_rows: int = option(10_000, "rows of a split whose citations are read; of more, as many spread evenly", low=1)
    shared_share: float = option(
        0.05, "share of evaluation rows that cite a case of a training row that is a warning (five times that for sections of a "
        "statute, which many texts have in common)", low=0, high=1)

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
        """Before training: look for cases and sections of statutes that are cited in train and in an evaluation split."""
        if stage != "data":
            return []
        from ftp_law.citations import verdict

        return [verdict(run, data, self.most_rows, self.shared_share)]
