"""The kit finds what is planted: each broken plugin fails the check that is about its fault, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftp.testing import check

DOMAIN = '''
    gives = ("labelled",)
    @ftp.hookimpl
    def load_data(self, run: Run) -> dict[str, Any]:
        from datasets import Dataset
        def made(split: str, count: int) -> Any:
            return Dataset.from_dict({"text": [f"{split} row {n}" for n in range(count)], "label": [n % 2 for n in range(count)]})
        return {"train": made("train", 40), "validation": made(HELD, 20)}
    @ftp.hookimpl
    def evaluate(self, predictions: Mapping[str, Predictions]) -> list[Score]:
        found = []
        for split, one in predictions.items():
            if "label" not in one.rows.column_names:
                continue
            right = sum(a.answer == b for a, b in zip(one.answers, one.rows["label"]))
            found.append(Score("accuracy", right / (len(one.rows) + LATE), "max", split))
        return found
'''

EVENT = "@ftp.hookimpl\n    def on_event(self, event: Event) -> None: ..."

FAULTS = {
    "heavy": ("imports-light", "import datasets\n", f'"""Loads too much."""\n    {EVENT}', "datasets"),
    "unmarked": ("class-is-sound", "", '"""Forgets the mark."""\n    def evaluate(self) -> list[Score]:\n        return []',
                 "no @hookimpl"),
    "argument": ("class-is-sound", "", '"""Asks for what is not there."""\n    @ftp.hookimpl\n'
                 "    def evaluate(self, prediction: Any) -> list[Score]:\n        return []", "prediction"),
    "silent": ("says-what-it-does", "", EVENT, "docstring"),
    "untyped": ("hooks-are-typed", "", '"""Has no types."""\n    @ftp.hookimpl\n    def on_event(self, event): ...', "on_event"),
    "leaking": ("splits-are-apart", 'HELD, LATE = "train", 0\n', '"""Has the same rows twice."""' + DOMAIN, "train"),
    "unfair": ("right-answers-score-best", 'HELD, LATE = "held", 1\n', '"""Never gives a 1."""' + DOMAIN, "accuracy"),
}


def write(folder: Path, top: str, body: str) -> str:
    path = folder / "planted.py"
    path.write_text("from collections.abc import Mapping\nfrom typing import Any\n\nimport ftp\nfrom ftp.types import *\n"
                    f"{top}\n\n@ftp.plugin\nclass Planted:\n    {body}\n")
    return f"{path}:Planted"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_and_named(fault: str, tmp_path: Path) -> None:
    name, top, body, word = FAULTS[fault]
    report = check(write(tmp_path, top, body), only=[name])
    assert [one.check for one in report.failed] == [name], report
    assert word in report.failed[0].message


def test_a_sound_domain_passes_the_same_checks(tmp_path: Path) -> None:
    where = write(tmp_path, 'HELD, LATE = "held", 0\n', '"""Is as it should be."""' + DOMAIN)
    names = sorted({name for name, *_ in FAULTS.values()})
    assert not check(where, only=names).failed
