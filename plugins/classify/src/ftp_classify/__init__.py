"""The classify domain: sort texts into classes, whatever they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ftp import hookimpl, option, plugin
from ftp.metrics import classification
from ftp.types import Data, Predictions, Run, Score

if TYPE_CHECKING:
    from datasets import Dataset

SAMPLE = Path(__file__).parent / "sample"


@plugin(gives=("labelled",), general=True)
class Classify:
    """Sort texts into classes: any file with a text and a label.

    Without `--data` it trains on a sample that comes with the package: messages to a shop's support, in five classes
    (account, delivery, payment, product, returns).
    """

    labels: tuple[str, ...] = option((), "names of the classes in the order of their numbers; default: what the data say")

    @hookimpl
    def load_data(self, run: Run) -> Mapping[str, Dataset]:
        from ftp.data import load

        return load(run, SAMPLE, form="labelled", labels=self.labels)

    @hookimpl
    def evaluate(self, data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
        return classification(data, predictions)
