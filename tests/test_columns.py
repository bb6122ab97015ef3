"""A file that a run can train on is scored and answered as the same rows, under whichever known names its columns stand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ftp import forms, heads
from ftp.cli.evaluate import held_out
from ftp.cli.main import call
from ftp.cli.predict import _file, _without
from ftp.data import load
from ftp.data.asked import readable_rows
from ftp.errors import UserError
from ftp.runs.predictor import Predictor
from ftp.settings import Settings
from ftp.types import Data, Run, Task
from ftp_testing.built import built
from ftp_testing.rows import labels_of, rows_of_file

Row = dict[str, Any]


def cases() -> Iterator[tuple[str, str, int]]:
    """Each form, each form that its rows can be read as, and how many of the common other names there are to try."""
    for source, spec in forms.all_forms().items():
        most = max((len(forms.other_names(column.name)) for column in spec.columns), default=0)
        for target in forms.reachable([source]):
            for number in range(most + 1):
                yield source, target, number


def spelt(row: Row, form: str, number: int) -> Row:
    """The row with the columns of its form under their n-th names; 0: ours."""
    names = {}
    for column in forms.get(form).columns:
        others = (column.name, *forms.other_names(column.name))
        names[column.name] = others[min(number, len(others) - 1)]
    return {names[name]: value for name, value in row.items()}


def question_of(row: Row, form: str) -> Any:
    """What a model is asked by a row."""
    spec = forms.get(form)
    if spec.has_messages:
        from ftp.losses.generation import question

        return question({name: value for name, value in row.items() if name not in spec.answers})
    return {column.name: row.get(column.name) for column in spec.asked_columns}


@pytest.mark.parametrize(("source", "target", "number"), sorted(cases()))
def test_rows_are_the_same_wherever_they_are_read(tmp_path: Path, source: str, target: str, number: int) -> None:
    # answers that are rated bad are not imitated, but their prompts may be asked
    full = [row for row in rows_of_file(source, 6) if row.get("label") is not False]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(spelt(row, source, number)) + "\n" for row in full), encoding="utf-8")
    hooks = SimpleNamespace(picked=(), plugins={}, seen_by=lambda domain, run: run)
    run: Any = Run(Settings(data=str(path), validation_share=0.5), Task(target, "labels"), hooks)  # type: ignore[arg-type]
    trained = list(load(run, form=source)["train"])

    head = SimpleNamespace(head="labels")
    predictor: Any = SimpleNamespace(run=run, data=Data({}, target, labels_of(target)), model=head)
    data, _ = held_out(predictor, str(path), "", "")
    scored = list(data.splits["test"])
    rows = list(_file(path, predictor, "", None))
    asked = readable_rows([_without(row, forms.get(target).answers) for row in rows], target)

    assert len(trained) == len(scored) == len(asked)
    for row, row_to_score, row_to_ask in zip(trained, scored, asked, strict=True):
        assert question_of(row_to_score, target) == question_of(row, target)
        assert question_of(row_to_ask, target) == question_of(row, target)


ROWS = {
    "labelled": {"label": ["same", "other"]}, "graded": {"score": [1.5, 2.0]}, "multilabelled": {"labels": [["a"], ["a", "b"]]},
    "scored_pairs": {"score": [0.5, 1.0]},
}
"""What stands beside the texts of two rows of each form with two texts."""


OF_TWO_TEXTS = (("pairs", "labelled"), ("regress", "graded"), ("multilabel", "multilabelled"), ("rerank", "scored_pairs"))
"""Plugins that read two texts, and the form of their rows."""


@pytest.fixture(params=OF_TWO_TEXTS)
def finished(request: pytest.FixtureRequest, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A network, as new as it is, with the loss of a plugin that reads two texts, in place of a finished run; and its form."""
    name, form = request.param
    path = tmp_path / "train.jsonl"
    rows = [{"text": f"a room {i}", "text_pair": f"a film {i}", **{c: v[i % 2] for c, v in ROWS[form].items()}} for i in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {"form": form} if name == "rerank" else {}
    run, data, model, loss = built(["full", name], model=str(tiny_bert), data=str(path), **options)
    model.net.eval()
    predictor = Predictor(run, Data({}, form, data.labels), model, loss)
    monkeypatch.setattr("ftp.runs.predictor.load", lambda folder, *allowed: predictor)
    return predictor, form


def answers_in(folder: Path, name: str, rows: list[Row], *words: str) -> list[Any]:
    """What `ftp predict` answers to the rows of a file."""
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    target = folder / f"{name}-answers.jsonl"
    assert call(["predict", str(folder), "--input", str(folder / f"{name}.jsonl"), "--output", str(target), *words]) == 0
    return [(line["answer"], line.get("scores")) for line in map(json.loads, target.read_text().splitlines())]


def test_both_texts_are_answered_whatever_their_columns_are_called(finished: Any, tmp_path: Path) -> None:
    predictor, form = finished
    texts = [("a warm room", "a cold soup"), ("it is late", "nobody sang")]
    wanted = [(answer["answer"], answer.get("scores")) for answer in predictor.predict(
        [{"text": text, "text_pair": pair} for text, pair in texts])]
    for names, words in (
        (("text", "text_pair"), ()), (("sentence1", "sentence2"), ()), (("text_a", "text_b"), ()),
        (("sentence1", "sentence2"), ("--columns", "text=sentence1")), (("one", "sentence2"), ("--columns", "text=one")),
    ):
        rows = [dict(zip(names, pair, strict=True)) for pair in texts]
        assert answers_in(tmp_path, "-".join(names), rows, *words) == wanted
        if not words:
            answered = predictor.predict(rows)
            assert [(answer["answer"], answer.get("scores")) for answer in answered] == wanted
    if form != "scored_pairs":  # which requires both
        assert answers_in(tmp_path, "one", [{"text": text} for text, _ in texts]) != wanted


def test_a_second_text_that_is_not_required_may_be_empty(finished: Any, tmp_path: Path) -> None:
    predictor, form = finished
    rows = [{"text": "a warm room", "text_pair": None}, {"text": "it is late", "text_pair": "nobody sang"}]
    if form == "scored_pairs":
        with pytest.raises(UserError, match="row 0 has no text_pair"):
            predictor.predict(rows)
        return
    alone = predictor.predict([{"text": "a warm room"}]) + predictor.predict(rows[1:])
    assert predictor.predict(rows) == alone
    path = tmp_path / "scored.jsonl"
    full = [{**row, **{name: values[i] for name, values in ROWS[form].items()}} for i, row in enumerate(rows)]
    path.write_text("".join(json.dumps(row) + "\n" for row in full))
    data, _ = held_out(predictor, str(path), "", "")
    _, predictions = predictor.evaluate(data)
    shown = heads.get(predictor.model.head).shown
    assert [dict(shown(answer, data.labels)) for answer in predictions["test"].answers] == alone


def test_a_reranker_is_asked_about_answers(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an objective calls the answer of a row is what a model that scores answers reads."""
    run, _, model, loss = built(["full", "rerank"], model=str(tiny_bert), form="pairs")
    model.net.eval()
    predictor = Predictor(run, Data({}, "pairs", ()), model, loss)
    monkeypatch.setattr("ftp.runs.predictor.load", lambda folder, *allowed: predictor)
    rows = [{"query": "a warm room", "passage": "a cold soup"}, {"query": "it is late", "passage": "nobody sang"}]
    wanted = predictor.predict([{"anchor": row["query"], "positive": row["passage"]} for row in rows])
    assert answers_in(tmp_path, "pairs", rows) == [(answer["answer"], answer.get("scores")) for answer in wanted]
