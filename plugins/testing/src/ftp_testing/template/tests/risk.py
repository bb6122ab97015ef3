"""What only the author of plugin-name knows: when it warns."""

from types import SimpleNamespace
from typing import Any

from datasets import Dataset

from ftp.types import Data, Risk
from ftp_plugin_name import PluginName

RUN: Any = SimpleNamespace(command=lambda *words: " ".join(map(str, words)))


def verdict(labels: list[int]) -> Risk:
    """What the check says of training rows with these classes."""
    rows = Dataset.from_dict({"text": ["a text"] * len(labels), "label": labels})
    [risk] = PluginName(share=0.8).check_risks(RUN, "data", Data({"train": rows}, "labelled", ("no", "yes")))
    return risk


def test_one_class_nearly_everywhere_is_a_warning_with_advice() -> None:
    risk = verdict([0] * 9 + [1])
    assert risk.level == "warn" and "90%" in risk.finding and risk.advice
    assert verdict([0] * 7 + [1] * 3).level == "ok"


def test_without_labels_nothing_was_compared() -> None:
    rows = Dataset.from_dict({"text": ["a text"]})
    [risk] = PluginName().check_risks(RUN, "data", Data({"train": rows}, "text"))
    assert risk.level == "not_run"
