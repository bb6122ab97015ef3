"""The medical domain: which field a clinical text belongs to, questions about it, and the texts themselves."""

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
class Medical:
    """Medical language: sort texts into fields, answer questions about them, or learn from the texts alone.

    Without `--data` it trains on a sample that comes with the package: invented clinical sentences in seven fields, questions
    about short reports, and passages of text. Rows with names, numbers or addresses of people are told before training,
    and what identifies people is hidden in verdicts and reports.
    """

    labels: tuple[str, ...] = option((), "names of the classes in the order of their numbers; default: what the data say")
    regions: tuple[str, ...] = option(("GB", "US"), "countries whose phone numbers are known without a + (two letters each)")
    mask: bool = option(False, "write an x for each letter of an identifier, in all rows, before anything else reads them")
    most_rows: int = option(10_000, "rows of a split looked at for identifiers; of more, as many spread evenly", low=1)
    weak_share: float = option(
        0.01, "share of rows with a name or an address alone that is a warning (one of any other kind always is)", low=0, high=1)

    @hookimpl
    def load_data(self, run: Run) -> Mapping[str, Dataset]:
        from ftp.data import load
        from ftp_medical.sets import adapted

        form = run.task.form if (SAMPLE / run.task.form).is_dir() else "question"
        splits = load(run, SAMPLE / form, form=form, labels=self.labels, adapt=lambda rows: adapted(rows, run.task.form))
        if not self.mask:
            return splits
        from ftp_medical.identifiers import mask

        return {split: rows.map(mask, fn_kwargs={"regions": self.regions}) for split, rows in splits.items()}

    @hookimpl
    def hide(self, text: str) -> str:
        """A text of a row as it may be shown: with the kind of each identifier in its place."""
        from ftp_medical.identifiers import hidden

        return hidden(text, self.regions)

    @hookimpl
    def evaluate(self, data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
        return classification(data, predictions) if data.labels else reading(data, predictions)

    @hookimpl
    def check_risks(self, run: Run, stage: str, data: Data) -> list[Risk]:
        """Before training: look for identifiers of people in the rows of all splits."""
        if stage != "data":
            return []
        from ftp_medical.identifiers import verdict

        return [verdict(run, data, self.regions, self.most_rows, self.weak_share)]
