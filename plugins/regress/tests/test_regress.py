"""Regression: the losses are those of Transformers and sentence-transformers, and a saved model gives scores as they are."""

from __future__ import annotations

import json
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
from ftp_regress import SAMPLE, Regress, mean_and_spread
from ftp_testing.built import built
from ftp_testing.models import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for kind in ("bert", "llama"):
        tiny(kind, folder / kind)
    rows = []
    for number in range(40):
        rows.append({"text_a": f"The waiter brought {number} letters.", "text_b": "A bank.", "score": 1990.0 + number % 7})
    (folder / "years.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def parts(folder: Path, kind: str = "bert", **options: Any) -> tuple[Any, Any, list[Any]]:
    """Model, loss and the first six training rows."""
    _, data, model, loss = built(["full", "regress"], model=str(folder / kind), **options)
    model.net.eval()
    return model, loss, data.splits["train"].select(range(6)).to_list()


def gradients(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    found = {name: weight.grad.clone() for name, weight in net.named_parameters() if weight.grad is not None}
    net.zero_grad()
    return found


def plain_inputs(model: Any, rows: list[Any]) -> Any:
    pairs = [row["text_pair"] for row in rows] if "text_pair" in rows[0] else None
    return model.tokenizer([row["text"] for row in rows], pairs, padding=True, return_tensors="pt")


@pytest.mark.parametrize(("kind", "data"), [("bert", None), ("bert", "years.jsonl"), ("llama", None)])
def test_loss_and_gradients_are_those_of_transformers(folder: Path, kind: str, data: str | None) -> None:
    model, loss, rows = parts(folder, kind, data=None if data is None else str(folder / data), head_init="random")
    unit = model.net.config.score_unit
    assert unit == pytest.approx(3.2 if data is None else 2.0, abs=0.4)  # the standard deviation of the scores
    batch = loss.collate(list(loss.encode(rows)))
    total = loss.compute(batch).total / batch.count * unit**2
    total.backward()
    found = gradients(model.net)
    assert model.net.config.problem_type == "regression"
    wanted = model.net(**plain_inputs(model, rows), labels=torch.tensor([row["score"] for row in rows], dtype=torch.float32)).loss
    wanted.backward()
    assert total.item() == pytest.approx(wanted.item(), rel=1e-4)
    for name, gradient in gradients(model.net).items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-4 * unit**2)


def test_loss_and_gradients_are_those_of_a_cross_encoder(folder: Path) -> None:
    cross_encoder = pytest.importorskip("sentence_transformers.cross_encoder")
    losses = pytest.importorskip("sentence_transformers.cross_encoder.losses")
    model, loss, rows = parts(folder, data=str(folder / "years.jsonl"), **{"regress.standardise": False})
    batch = loss.collate(list(loss.encode(rows)))
    total = loss.compute(batch).total / batch.count
    total.backward()
    theirs = cross_encoder.CrossEncoder(str(folder / "bert"), num_labels=1, device="cpu")
    theirs.model.load_state_dict(model.net.state_dict())
    theirs.model.eval()
    columns = [[row["text"] for row in rows], [row["text_pair"] for row in rows]]
    wanted = losses.MSELoss(theirs)(columns, torch.tensor([row["score"] for row in rows], dtype=torch.float32))
    wanted.backward()
    assert total.item() == pytest.approx(wanted.item(), rel=1e-4)
    found = gradients(model.net)
    for name, gradient in gradients(theirs.model).items():
        size = float(gradient.abs().max())
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-4 * max(1.0, size))


def test_huber_is_that_of_pytorch(folder: Path) -> None:
    model, loss, rows = parts(folder, **{"regress.loss": "huber", "regress.standardise": False})
    batch = loss.collate(list(loss.encode(rows)))
    numbers = model.net(**plain_inputs(model, rows)).logits.squeeze(-1)
    wanted = torch.nn.HuberLoss(reduction="sum")(numbers, torch.tensor([row["score"] for row in rows], dtype=torch.float32))
    assert float(loss.compute(batch).total) == pytest.approx(float(wanted), rel=1e-5)


def test_a_new_head_begins_at_the_mean_and_numbers_are_not_rounded_to_bf16(folder: Path) -> None:
    _, loss, rows = parts(folder, data=str(folder / "years.jsonl"))
    batch = loss.collate(list(loss.encode(rows)))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        numbers = [prediction.answer for prediction in loss.answer(batch, None)]
    assert all(abs(number - 1993) < 3 for number in numbers)  # bf16 has 1984, 1992 and 2000
    assert all(float(torch.tensor(number).bfloat16()) != number for number in numbers)
    raw, _, _ = parts(folder, data=str(folder / "years.jsonl"), head_init="random",
                      **{"regress.standardise": False})
    assert raw.net.config.score_unit == 1.0
    assert float(raw.net.classifier.bias) == pytest.approx(0.0, abs=0.5)


@pytest.mark.parametrize("is_standardised", [True, False])
def test_a_fitted_head_gives_numbers_in_their_own_unit(folder: Path, is_standardised: bool) -> None:
    model, _, _ = parts(folder, data=str(folder / "years.jsonl"), **{"regress.standardise": is_standardised})
    assert model.has_fitted_head
    assert all(abs(float(layer.bias) - 1993) < 60 for layer in output_layers(model.net, 1))


def test_scores_and_baseline_by_hand() -> None:
    from datasets import Dataset

    rows = Dataset.from_dict({"text": list("abcd"), "score": [1.0, 2.0, 3.0, 10.0]})
    data = Data({"train": rows, "test": rows}, "graded")

    def scored(numbers: list[float]) -> dict[str, float]:
        answered = Predictions("test", rows, [Prediction(number) for number in numbers], 0.0, np.zeros(4))
        return {score.name: score.value for score in Regress().evaluate(data, {"test": answered})}

    assert scored([1.0, 2.0, 3.0, 10.0]) == pytest.approx({"pearson": 1.0, "spearman": 1.0, "mae": 0.0})
    assert scored([0.0, 1.0, 1.5, 2.0])["spearman"] == pytest.approx(1.0)
    assert scored([4.0] * 4) == pytest.approx({"pearson": 0.0, "spearman": 0.0, "mae": 3.0})
    mean, spread = mean_and_spread(data)
    assert (mean, spread) == pytest.approx((4.0, np.std([1, 2, 3, 10])))
    constant = Data({"train": Dataset.from_dict({"text": ["a", "b"], "score": [2.0, 2.0]})}, "graded")
    with pytest.raises(UserError, match="all training rows have the same score, 2"):
        mean_and_spread(constant)


def test_rows_of_the_sample_are_in_one_split_only() -> None:
    sample = read(SAMPLE)
    texts = [text for rows in sample.values() for text in rows["text"]]
    assert list(sample) == ["train", "validation", "test"]
    assert len(texts) == len(set(texts)) == 72
    assert all(0 <= score <= 10 for rows in sample.values() for score in rows["score"])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_plain_transformers_gives_the_scores_of_a_run(folder: Path, tmp_path: Path, method: str) -> None:
    lines = (folder / "years.jsonl").read_text().replace('"score"', '"label"')  # a column `label` will do
    (tmp_path / "years.jsonl").write_text(lines)
    result = ftp.run([method, "regress", "-leakage"], model=str(folder / "bert"), data=str(tmp_path / "years.jsonl"),
                     out=tmp_path / "run", max_steps=3, validation_share=0.3, device="cpu", cache_dir=tmp_path / "cache",
                     verify=False)
    mean = {baseline.name: baseline.value for baseline in result.baselines if baseline.baseline == "mean of train"}
    assert mean["pearson"] == 0 and 0.5 < mean["mae"] < 4
    names = {"mean of train", "TF-IDF, linear model", "untuned, linear head"}
    assert {baseline.baseline for baseline in result.baselines} == names
    assert result.score("mae", "validation") < 4
    row = {"text": "The waiter brought 7 letters.", "text_pair": "A bank."}
    answer = ftp.load(tmp_path / "run").predict([row])[0]["answer"]
    assert 1985 < answer < 2000
    if method == "full":
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        net = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "model")
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
        number = net.eval()(**tokenizer(row["text"], row["text_pair"], return_tensors="pt")).logits
        assert float(number) == pytest.approx(answer, rel=1e-5)
