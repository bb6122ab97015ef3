"""The domain plugin-name: rows, and what a good answer is. No torch is needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftp import hookimpl, option, plugin
from ftp.metrics import classification
from ftp.types import Data, Predictions, Run, Score

SAMPLE = Path(__file__).parent / "sample"  # train.csv and validation.csv


@plugin(
    # The forms of these rows, the richest first; core makes poorer ones of them (conversations, for example).
    gives=("labelled", "text"),
)
class PluginName:
    """Tell which office of a town a message is for: roads, waste or parks."""

    # A field is an option: --plugin-name.wrong_office 2 on the command line.
    wrong_office: float = option(12.0, "minutes that a message at the wrong office costs", low=0)

    @hookimpl
    def load_data(self, run: Run) -> Mapping[str, Any]:
        """What --data names, else the sample. Core cuts a validation split from train where there is none."""
        from ftp.data import load

        return load(run, SAMPLE, form="labelled")

    @hookimpl
    def evaluate(self, data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
        """The usual scores of classes, and one that only this domain knows. The model has answered."""
        scores = classification(data, predictions)
        for score in list(scores):
            if score.name == "accuracy":
                minutes = self.wrong_office * (1 - score.value)
                scores.append(Score("minutes_lost", minutes, "min", score.split))
        return scores
