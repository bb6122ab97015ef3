"""The qa domain: its sample, its scores, its options, and a run from rows to answers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import ftp
from ftp.data.read import read
from ftp.types import Data, Prediction, Predictions, Task
from ftp_qa import SAMPLE, Qa
from ftp_testing.models import tiny


@pytest.fixture(scope="module")
def sample() -> dict[str, Any]:
    return dict(read(SAMPLE))


def scores(rows: Any, answers: list[Any]) -> dict[str, float]:
    given = Predictions("test", rows, [Prediction(one) for one in answers], 0.0, np.zeros(len(rows)))
    return {one.name: one.value for one in Qa().evaluate(Data({"test": rows}, "question"), {"test": given})}


def test_contexts_of_the_sample_are_in_one_split_only(sample: dict[str, Any]) -> None:
    contexts = {split: set(rows["context"]) for split, rows in sample.items()}
    assert list(contexts) == ["train", "validation", "test"]
    assert not contexts["train"] & (contexts["validation"] | contexts["test"])
    assert not contexts["validation"] & contexts["test"]
    asked = [(row["context"], row["question"]) for rows in sample.values() for row in rows]
    assert len(asked) == len(set(asked)) == 98


def test_answers_of_the_sample_stand_where_they_say(sample: dict[str, Any]) -> None:
    for rows in sample.values():
        lacking = 0
        for row in rows:
            found = row["answers"]
            lacking += not found["text"]
            for text, start in zip(found["text"], found["answer_start"], strict=True):
                assert row["context"][start : start + len(text)] == text
        assert 0 < lacking < len(rows) / 2


def test_perfect_answers_score_one_and_none_score_little(sample: dict[str, Any]) -> None:
    rows = sample["test"]
    first = [row["answers"]["text"][0] if row["answers"]["text"] else "" for row in rows]
    assert scores(rows, first) == {"exact_match": 1.0, "f1": 1.0, "no_answer_accuracy": 1.0, "f1_answerable": 1.0}
    share = sum(not one for one in first) / len(first)
    assert scores(rows, [""] * len(rows)) == {
        "exact_match": share, "f1": share, "no_answer_accuracy": 1.0, "f1_answerable": 0.0}


def test_its_options_reach_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    from ftp.losses import span
    from ftp.types import Loss

    given: dict[str, Any] = {}
    reader = SimpleNamespace(answer="answer", merge="merge")
    monkeypatch.setattr(span, "reader", lambda run, data, model, **options: given.update(options) or reader)

    class Plain(Loss):
        answer = None

    def wrapped(head: Any) -> Loss:
        hook = Qa(max_answer_length=4, no_answer_threshold=1.5).make_loss(
            SimpleNamespace(task=Task("question", head)), None, None)  # type: ignore[arg-type]
        next(hook)
        with pytest.raises(StopIteration) as done:
            hook.send(Plain())
        return done.value.value

    assert wrapped("tokens").answer is None and not given
    assert (wrapped("span").answer, given) == ("answer", {"max_answer_length": 4, "threshold": 1.5})


@pytest.mark.slow
def test_a_run_answers_with_stretches_of_the_text(tmp_path: Path) -> None:
    model = tiny("bert", tmp_path / "model")
    ftp.run(["full", "qa"], model=str(model), out=tmp_path / "run", max_steps=2, max_train_rows=24, baselines=False,
            verify=False, report=False, device="cpu", cache_dir=tmp_path / "cache")
    context = "The night train leaves at ten."
    answer = ftp.load(tmp_path / "run").predict([{"question": "When does it leave?", "context": context}])[0]["answer"]
    assert isinstance(answer, str) and answer in context
