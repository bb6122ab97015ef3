"""Several labels a row: the loss is that of Transformers, thresholds are the best ones and stay with the model."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ftp
from ftp.data.read import read
from ftp.errors import UserError
from ftp.net.heads import output_layers
from ftp.types import Data, Prediction, Predictions
from ftp_multilabel import SAMPLE, baselines, scores
from ftp_testing.built import built
from ftp_testing.models import tiny

LABELS = ("culture", "noise", "parks", "roads", "taxes", "traffic", "waste")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny("bert", tmp_path_factory.mktemp("models") / "bert").parent


def answered(truth: Sequence[Sequence[int]], answers: Sequence[Prediction], split: str = "test") -> Predictions:
    from datasets import Dataset

    rows = Dataset.from_dict({"text": [str(number) for number in range(len(truth))], "labels": list(truth)})
    return Predictions(split, rows, answers, 0.0, np.zeros(len(truth)))


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_loss_and_gradients_are_those_of_transformers(folder: Path, kind: str) -> None:
    tiny(kind, folder / kind)  # type: ignore[arg-type]
    _, data, model, loss = built(["full", "multilabel"], model=str(folder / kind))
    assert data.labels == LABELS
    model.net.eval()
    rows = data.splits["train"].select(range(6)).to_list()
    batch = loss.collate(list(loss.encode(rows)))
    total = loss.compute(batch).total / batch.count
    total.backward()
    found = {name: weight.grad.clone() for name, weight in model.net.named_parameters() if weight.grad is not None}
    model.net.zero_grad()

    targets = torch.zeros(6, len(LABELS))
    for row_index, row in enumerate(rows):
        targets[row_index, row["labels"]] = 1.0
    inputs = model.tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")
    assert model.net.config.problem_type == "multi_label_classification"
    wanted = model.net(**inputs, labels=targets).loss
    wanted.backward()
    assert total.item() == pytest.approx(wanted.item(), rel=1e-4)
    for name, weight in model.net.named_parameters():
        if weight.grad is not None:
            torch.testing.assert_close(found[name], weight.grad, rtol=1e-4, atol=1e-4)


def test_lists_joined_texts_and_columns_are_the_same_labels(folder: Path, tmp_path: Path) -> None:
    sample = read(SAMPLE)["train"]
    texts, joined = sample["text"][:20], [labels or "" for labels in sample["labels"][:20]]
    lists = [[label for label in cell.split("|") if label] for cell in joined]

    def found(name: str, lines: list[str], **options: Any) -> list[tuple[str, list[str]]]:
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
        _, data, _, _ = built(["full", "multilabel"], model=str(folder / "bert"), data=str(tmp_path / name), **options)
        train = data.splits["train"]
        named = [sorted(data.labels[number] for number in numbers) for numbers in train["labels"]]
        return sorted(zip(train["text"], named, strict=True))

    def lines_of(column: str, cells: Sequence[Any]) -> list[str]:
        return [json.dumps({"text": text, column: cell}) for text, cell in zip(texts, cells, strict=True)]

    as_lists = found("lists.jsonl", lines_of("labels", lists))
    as_texts = found("texts.jsonl", lines_of("label", joined))
    flags = []
    for text, list_ in zip(texts, lists, strict=True):
        flags.append(json.dumps({"text": text, **{label: int(label in list_) for label in LABELS}}))
    as_columns = found("columns.jsonl", flags, **{"multilabel.columns": LABELS})
    assert as_lists == as_texts == as_columns
    with pytest.raises(UserError, match="hold 0 and 1, as columns of one label do: culture, noise, ") as caught:
        found("columns.jsonl", flags)
    assert f"--multilabel.columns {','.join(LABELS)};" in str(caught.value) and "cells as culture|noise" in str(caught.value)
    with pytest.raises(UserError, match="there is no column roofs"):
        found("columns.jsonl", flags, **{"multilabel.columns": ("roofs", "roads")})
    with pytest.raises(UserError, match=r"text holds .*; a column of a label holds 0 and 1"):
        found("columns.jsonl", flags, **{"multilabel.columns": ("text", "roads")})


def test_a_label_that_is_null_is_refused() -> None:
    from datasets import Dataset

    from ftp.data.target_form import shape

    labels: list[list[str | None]] = [["noise"], [], [None, "noise"]]
    rows = [{"text": f"a room {number}", "labels": cell} for number, cell in enumerate(labels)]
    with pytest.raises(UserError, match=r"1 rows have a value \(in labels\) that is null; the first, counted from 0: \[2\]"):
        shape({"train": Dataset.from_list(rows)}, "multilabelled")


def test_thresholds_have_the_highest_f1_of_all() -> None:
    from sklearn.metrics import f1_score

    generator = np.random.default_rng(0)
    probabilities = 1 / (1 + np.exp(-generator.normal(0, 2, (40, 3)).round(1)))  # with ties
    truth = probabilities + generator.normal(0, 0.4, (40, 3)) > [0.5, 0.8, 9]  # the last label never
    rows = [np.flatnonzero(row).tolist() for row in truth]
    tuned = scores.best_thresholds(answered(rows, [Prediction([], tuple(row)) for row in probabilities.tolist()]), 3)
    assert tuned[2] == 0.5
    for label in (0, 1):
        f1 = [f1_score(truth[:, label], probabilities[:, label] >= cut) for cut in np.arange(0, 1.01, 0.005)]
        assert f1_score(truth[:, label], probabilities[:, label] >= tuned[label]) == pytest.approx(max(f1))


def test_a_label_of_one_row_keeps_the_usual_threshold() -> None:
    rows = [[0, 1], [1], [1], [], [], []]
    answers = [Prediction([], (0.01, 0.2))] * 3 + [Prediction([], (0.005, 0.1))] * 3
    first, second = scores.best_thresholds(answered(rows, answers), 2)
    assert first == 0.5, "else every text with more than 0.01 would get it"
    assert 0.1 < second < 0.2


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_new_head_begins_at_the_shares_of_the_labels(folder: Path, method: str) -> None:
    _, data, model, loss = built([method, "multilabel"], model=str(folder / "bert"), head_init="random")
    train = data.splits["train"]
    shares = scores.hot(train["labels"][:], len(LABELS)).mean(0)
    batch = loss.collate(list(loss.encode(train.to_list())))
    with torch.no_grad():
        out = loss.compute(batch)
        probabilities = [prediction.scores for prediction in loss.answer(batch, out)]
    entropy = -(shares * np.log(shares) + (1 - shares) * np.log(1 - shares)).mean()
    assert out.total.item() / batch.count == pytest.approx(entropy, abs=0.05)
    assert np.mean(probabilities, 0) == pytest.approx(shares, abs=0.1)
    _, _, even, _ = built([method, "multilabel"], model=str(folder / "bert"), head_init="random", **{"multilabel.prior": False})
    assert all(layer.bias.abs().max() < 0.3 for layer in output_layers(even.net, len(LABELS)))
    assert all(layer.bias.abs().max() > 1 for layer in output_layers(model.net, len(LABELS)))


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_fitted_head_knows_more_than_the_shares_of_the_labels(folder: Path, method: str) -> None:
    _, data, model, loss = built([method, "multilabel"], model=str(folder / "bert"))
    train = data.splits["train"]
    shares = scores.hot(train["labels"][:], len(LABELS)).mean(0)
    entropy = -(shares * np.log(shares) + (1 - shares) * np.log(1 - shares)).mean()
    batch = loss.collate(list(loss.encode(train.to_list())))
    model.net.eval()
    with torch.no_grad():
        assert loss.compute(batch).total.item() / batch.count < entropy


def test_scores_and_baseline_by_hand() -> None:
    truth = [[0], [0, 1], [], [1]]
    data = Data({"train": answered(truth, []).rows}, "multilabelled", ("a", "b"))

    def scored(answers: list[list[int]]) -> dict[str, float]:
        given = answered(truth, [Prediction(answer) for answer in answers])
        return {score.name: score.value for score in scores.measure(data, {"test": given})}

    assert scored(truth) == {"micro_f1": 1.0, "macro_f1": 1.0, "subset_accuracy": 1.0}
    # label a: 2 right of 4 given and 2 true; label b: never given
    assert scored([[0]] * 4) == pytest.approx({"micro_f1": 4 / 8, "macro_f1": (2 / 3) / 2, "subset_accuracy": 1 / 4})
    train = answered([[1], [1], [0, 1], []], []).rows
    always = baselines.most_frequent(Data({"train": train}, "multilabelled", ("a", "b")), {"test": train})["test"]
    assert [prediction.answer for prediction in always.answers] == [[1]] * 4
    assert always.losses[3] == pytest.approx(-(np.log(0.75) + np.log(0.25)) / 2)


def test_messages_of_the_sample_are_in_one_split_only() -> None:
    sample = read(SAMPLE)
    texts = [text for rows in sample.values() for text in rows["text"]]
    assert list(sample) == ["train", "validation", "test"]
    assert len(texts) == len(set(texts)) == 72


@pytest.mark.slow
def test_tuned_thresholds_are_those_of_the_saved_model(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    # a head of random numbers learns at first; the second half of the updates ruins the model, so that the best is not the last
    result = ftp.run(["full", "multilabel", "-leakage"], model=str(folder / "bert"), out=tmp_path / "run", max_steps=6,
                     eval_steps=2, learning_rate=0.05, head_init="random", device="cpu", cache_dir=tmp_path / "cache", seed=1)
    assert "the best evaluation was after update 4" in (tmp_path / "run" / "log.jsonl").read_text()
    model = tmp_path / "run" / "model"
    thresholds = json.loads((model / "config.json").read_text())["label_thresholds"]
    assert len(thresholds) == len(LABELS) and thresholds != [0.5] * len(LABELS)
    assert load_file(model / "extra.safetensors")["thresholds"].tolist() == pytest.approx(thresholds)
    kept = [json.loads(line) for line in (tmp_path / "run" / "predictions" / "validation.jsonl").read_text().splitlines()]
    assert len(kept) == 12
    for line in kept:
        for label, probability, threshold in zip(LABELS, line["scores"], thresholds, strict=True):
            is_clear = abs(probability - threshold) > 1e-4  # what is kept is rounded
            assert not is_clear or (label in line["answer"]) == (probability >= threshold)
    loaded = ftp.load(tmp_path / "run")
    with (SAMPLE / "test.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    answers = loaded.predict([row["text"] for row in rows])
    right = 0
    for row, answer in zip(rows, answers, strict=True):
        assert answer["answer"] == [label for label, threshold in zip(LABELS, thresholds, strict=True)
                                    if answer["scores"][label] >= threshold]
        right += set(answer["answer"]) == {label for label in row["labels"].split("|") if label}
    assert result.score("subset_accuracy", "test") == pytest.approx(right / len(rows), abs=0.1)  # the run scored in bf16
    names = {"most frequent label", "TF-IDF, linear model", "untuned, linear head"}
    assert {baseline.baseline for baseline in result.baselines} == names
