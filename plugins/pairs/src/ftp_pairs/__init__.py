"""The pairs domain: say how two texts belong together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ftp import UserError, forms, hookimpl, option, plugin
from ftp.metrics import classification
from ftp.types import Data, Predictions, Run, Score

if TYPE_CHECKING:
    from datasets import Dataset

SAMPLE = Path(__file__).parent / "sample"


@plugin(gives=("labelled",))
class Pairs:
    """Say how two texts belong together: paraphrase, entailment, duplicate question, or your own labels.

    Without `--data` it trains on a sample that comes with the package: pairs of sentences that say the same or something
    different, the latter in much the same words.
    """

    labels: tuple[str, ...] = option((), "names of the classes in the order of their numbers; default: what the data say")

    @hookimpl
    def load_data(self, run: Run) -> Mapping[str, Dataset]:
        from ftp.data import load

        splits = load(run, SAMPLE, form="labelled", labels=self.labels)
        is_of_pairs = forms.get(run.task.form).column("text_pair") is not None
        lacking = [split for split, rows in splits.items() if is_of_pairs and "text_pair" not in rows.column_names]
        if lacking:
            raise UserError(f"pairs: no column 'text_pair' in {', '.join(lacking)}",
                            "name the columns of both texts, or take the domain classify for single ones",
                            "--columns text=NAME,text_pair=NAME")
        return splits

    @hookimpl
    def evaluate(self, data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
        return classification(data, predictions)
