"""What only the author of plugin-name knows: what a wrong answer costs."""

import csv

import numpy as np
from datasets import Dataset

from ftp.types import Data, Prediction, Predictions
from ftp_plugin_name import SAMPLE, PluginName


def test_a_wrong_office_costs_minutes() -> None:
    rows = Dataset.from_dict({"text": ["A pothole.", "A full bin."], "label": [0, 1]})
    data = Data({"validation": rows}, "labelled", ("roads", "waste"))
    answers = [Prediction(0), Prediction(0)]  # the second is wrong
    predictions = Predictions("validation", rows, answers, 0.0, np.zeros(2))
    scores = PluginName(wrong_office=10.0).evaluate(data, {"validation": predictions})
    values = {score.name: score.value for score in scores}
    assert values["accuracy"] == 0.5 and values["minutes_lost"] == 5.0


def test_no_text_of_the_sample_is_in_both_splits() -> None:
    texts = {}
    for split in ("train", "validation"):
        with (SAMPLE / f"{split}.csv").open(encoding="utf-8", newline="") as file:
            texts[split] = {row["text"] for row in csv.DictReader(file)}
    assert texts["train"] and texts["validation"] and not texts["train"] & texts["validation"]
