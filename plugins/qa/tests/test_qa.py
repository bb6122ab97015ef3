"""The qa domain: its sample, its scores, its options, and a run from rows to answers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import ftp
from ftp.data.read import read
from ftp.types import Data, Task
from ftp_qa import SAMPLE, Qa
from ftp_testing.models import tiny
from ftp_testing.samples import column_of, scores_of


@pytest.fixture(scope="module")
def sample() -> dict[str, Any]:
    return dict(read(SAMPLE))


def test_contexts_of_the_sample_are_in_one_split_only(sample: dict[str, Any]) -> None:
    contexts = {split: set(rows["context"]) for split, rows in sample.items()}
    assert list(contexts) == ["train", "validation", "test"]
    assert not contexts["train"] & (contexts["validation"] | contexts["test"])
    assert not contexts["validation"] & contexts["test"]
    asked = list(zip(column_of(sample, "context"), column_of(sample, "question"), strict=True))
    assert len(asked) == len(set(asked)) == 98


def test_answers_of_the_sample_stand_where_they_say(sample: dict[str, Any]) -> None:
    for rows in sample.values():
        lacking = 0
        for row in rows:
            answers = row["answers"]
            lacking += not answers["text"]
            for text, start in zip(answers["text"], answers["answer_start"], strict=True):
                assert row["context"][start : start + len(text)] == text
        assert 0 < lacking < len(rows) / 2


def test_perfect_answers_score_one_and_none_score_little(sample: dict[str, Any]) -> None:
    data = Data(sample, "question")
    first = [row["answers"]["text"][0] if row["answers"]["text"] else "" for row in sample["test"]]
    assert scores_of(Qa(), data, first) == {
        "exact_match": 1.0, "f1": 1.0, "no_answer_accuracy": 1.0, "f1_answerable": 1.0}
    share = first.count("") / len(first)
    assert scores_of(Qa(), data, [""] * len(first)) == {
        "exact_match": share, "f1": share, "no_answer_accuracy": 1.0, "f1_answerable": 0.0}


def test_its_options_reach_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    from ftp.losses import span
    from ftp.types import Loss

    options_of_reader: dict[str, Any] = {}
    reader = SimpleNamespace(answer="answer", merge="merge")
    monkeypatch.setattr(span, "reader", lambda run, data, model, **options: options_of_reader.update(options) or reader)

    class Plain(Loss):
        answer = None

    def wrapped(head: Any) -> Loss:
        hook = Qa(max_answer_length=4, no_answer_threshold=1.5).make_loss(
            SimpleNamespace(task=Task("question", head)), None, None)  # type: ignore[arg-type]
        next(hook)
        with pytest.raises(StopIteration) as done:
            hook.send(Plain())
        return done.value.value

    assert wrapped("tokens").answer is None and not options_of_reader
    assert (wrapped("span").answer, options_of_reader) == ("answer", {"max_answer_length": 4, "threshold": 1.5})


@pytest.mark.slow
def test_a_run_answers_with_stretches_of_the_text(tmp_path: Path) -> None:
    model = tiny("bert", tmp_path / "model")
    ftp.run(["full", "qa"], model=str(model), out=tmp_path / "run", max_steps=2, max_train_rows=24, baselines=False,
            verify=False, report=False, device="cpu", cache_dir=tmp_path / "cache")
    context = "The night train leaves at ten."
    answer = ftp.load(tmp_path / "run").predict([{"question": "When does it leave?", "context": context}])[0]["answer"]
    assert isinstance(answer, str) and answer in context
