"""The tag domain: give each word of a sentence its tag."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ftp import hookimpl, option, plugin
from ftp.metrics import tagging
from ftp.types import Data, Predictions, Run, Score

if TYPE_CHECKING:
    from datasets import Dataset

SAMPLE = Path(__file__).parent / "sample"


@plugin(gives=("tagged",), general=True)
class Tag:
    """Give each word of a sentence its tag: persons, places, or whatever the tags of your own rows say.

    Without `--data` it trains on a sample that comes with the package: sentences with persons, places, organisations and
    dates. Scores are those of whole entities, as seqeval counts them, and the share of words that have their tag.
    """

    labels: tuple[str, ...] = option((), "names of the tags in the order of their numbers; default: what the data say")

    @hookimpl
    def load_data(self, run: Run) -> Mapping[str, Dataset]:
        from ftp.data import load

        return load(run, SAMPLE, form="tagged", labels=self.labels)

    @hookimpl
    def evaluate(self, data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
        return tagging(data, predictions)
