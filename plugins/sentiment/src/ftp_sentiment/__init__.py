"""The sentiment domain: does a text praise or complain?"""

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


@plugin(gives=("labelled", "text"))
class Sentiment:
    """Tell whether a text praises or complains (your own labels with --sentiment.labels, any number of them).

    Without `--data` it trains on a sample that comes with the package: sentences about films, products, food, travel,
    services and work, a third of them hard (negation, irony, mixed feelings).
    """

    labels: tuple[str, ...] = option(
        (), "names of the classes in the order of their numbers; default: negative, positive for the sample, else what the "
        "data say")

    @hookimpl
    def load_data(self, run: Run) -> Mapping[str, Dataset]:
        from ftp.data import load

        names = self.labels or (("negative", "positive") if run.settings.data is None else ())
        return load(run, SAMPLE, form="labelled", labels=names)

    @hookimpl
    def evaluate(self, data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
        return classification(data, predictions)
