"""Multiple choice: the loss is that of Transformers, also for rows with different numbers of choices; refusals in words."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

import ftp
from ftp.data.read import read
from ftp.errors import UserError
from ftp.net.logits import WholeLogits
from ftp.types import LossOut, Predictions
from ftp_choice import SAMPLE, Choice, scores
from ftp_testing.built import built
from ftp_testing.models import tiny

QUESTION = "Who forgot the soup?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for kind in ("bert", "roberta", "llama"):
        tiny(kind, folder / kind)
    return folder


def write(file: Path, rows: list[dict[str, Any]]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


def row(answer: Any, *choices: str, number: int = 0) -> dict[str, Any]:
    return {"question": f"{QUESTION} {number}", "choices": list(choices or ("the waiter", "the bank")), "answer": answer}


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_loss_and_gradients_are_those_of_transformers(folder: Path, kind: str) -> None:
    _, data, model, loss = built(["full", "choice"], model=str(folder / kind))
    model.net.eval()
    rows = [row for row in data.splits["train"].to_list() if len(row["choices"]) == 4][:5]
    batch = loss.collate(list(loss.encode(rows)))
    total = loss.compute(batch).total / batch.count
    total.backward()
    trained = {name: weight for name, weight in model.net.named_parameters() if weight.requires_grad}
    assert set(dict(model.net.named_parameters())) - set(trained) == {"classifier.bias"}  # nothing depends on it
    found = {name: weight.grad.clone() for name, weight in trained.items() if weight.grad is not None}
    model.net.zero_grad()

    questions = [row["question"] for row in rows for _ in range(4)]
    choices = [choice for row in rows for choice in row["choices"]]
    inputs = model.tokenizer(questions, choices, padding=True, return_tensors="pt")
    shaped = {name: value.view(5, 4, -1) for name, value in inputs.items()}
    wanted = model.net(**shaped, labels=torch.tensor([int(row["answer"]) for row in rows])).loss
    wanted.backward()
    assert type(model.net).__name__.endswith("ForMultipleChoice")
    assert total.item() == pytest.approx(wanted.item(), rel=1e-4)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, trained[name].grad, rtol=1e-4, atol=1e-4)


def test_rows_with_different_numbers_of_choices_are_scored_as_if_alone(folder: Path) -> None:
    _, _, model, loss = built(["full", "choice"], model=str(folder / "bert"))
    model.net.eval()
    rows = [row(1, "the waiter", "the bank"), row(2, "a film", "the price of bread", "a card", "Oslo"), row(0, "a", "b", "c")]
    encoded = list(loss.encode(rows))
    with torch.no_grad():
        together = loss.compute(loss.collate(encoded))
        alone = [loss.compute(loss.collate([encoded_row])) for encoded_row in encoded]
    assert together.row_losses is not None
    assert together.row_losses.tolist() == pytest.approx([float(out.total) for out in alone], rel=1e-4)
    predictions = loss.answer(loss.collate(encoded), together)
    assert [len(prediction.scores or ()) for prediction in predictions] == [2, 4, 3]
    for prediction, out in zip(predictions, alone, strict=True):
        assert prediction.scores == pytest.approx(out.outputs[0].softmax(-1).tolist(), rel=1e-3)
        assert prediction.answer == int(out.outputs[0].argmax())
    assert float(alone[1].total) == pytest.approx(float(cross_entropy(alone[1].outputs, torch.tensor([2]))), rel=1e-6)


def test_wrappers_of_the_loss_see_the_choices_that_a_row_has(folder: Path) -> None:
    rows = [row(1, "the waiter", "the bank"), row(2, "a film", "the price of bread", "a card", "Oslo"), row(0, "a", "b", "c")]

    def computed(*wrappers: str, **options: Any) -> tuple[Any, Any, LossOut]:
        _, _, model, loss = built(["full", "choice", *wrappers], model=str(folder / "bert"), **options)
        model.net.eval()
        batch = loss.collate(list(loss.encode(rows)))
        return model, batch, loss.compute(batch)

    _, _, plain = computed()
    answers = [1, 2, 0]
    wanted = torch.zeros(())
    for logits, answer, choices in zip(plain.outputs, answers, (2, 4, 3), strict=True):
        wanted += cross_entropy(logits[:choices], torch.tensor(answer), label_smoothing=0.3)
    model, _, smoothed = computed("smoothing", **{"smoothing.share": 0.3})
    assert smoothed.total.item() == pytest.approx(wanted.item(), rel=1e-5)
    smoothed.total.backward()
    gradients = [weight.grad for weight in model.net.parameters() if weight.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)

    # without dropout both passes agree
    _, _, drawn_together = computed("rdrop")
    assert drawn_together.total.item() == pytest.approx(plain.total.item(), rel=1e-5)
    assert float(drawn_together.metrics["rdrop"]) == pytest.approx(0, abs=1e-6)


def test_logits_of_rows_with_different_numbers_of_choices_keep_their_order() -> None:
    values = torch.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, -torch.inf], [5.0, 6.0, 7.0], [8.0, -torch.inf, -torch.inf]])
    first, second = WholeLogits(values, torch.tensor([3, 2, 3, 1])), WholeLogits(values * 2, torch.tensor([3, 2, 3, 1]))
    assert first.each(lambda logits, _: logits.sum(-1), torch.arange(4)).tolist() == [3, 7, 18, 8]
    assert first.each(lambda logits, terms: logits[:, 0] * terms, torch.arange(4)).tolist() == [0, 3, 10, 24]
    assert first.each(lambda logits, others: (others - logits).sum(-1), second).tolist() == [3, 7, 18, 8]


@pytest.mark.parametrize("wrapper", ["distill", "kl_anchor"])
def test_a_wrapper_that_asks_another_network_is_refused_before_training(folder: Path, wrapper: str) -> None:
    with pytest.raises(UserError, match=r"class of a row|classes of rows"):
        built(["full", "choice", wrapper], model=str(folder / "bert"))


def test_letters_and_numbers_are_one_answer(folder: Path, tmp_path: Path) -> None:
    def answers(written: list[Any]) -> list[int]:
        rows = [row(answer, "a", "b", "c", number=number) for number, answer in enumerate(written)]
        _, data, _, _ = built(["full", "choice"], model=str(folder / "bert"), data=write(tmp_path / "rows.jsonl", rows))
        train = data.splits["train"]
        return [int(answer) for _, answer in sorted(zip(train["question"], train["answer"], strict=True))]

    assert answers(["C", "b", "C", "A"]) == answers([2, 1, 2, 0]) == answers(["2", "1", "2", "0"])
    with pytest.raises(UserError, match=r"row 1 has the answer 'none', which is no letter and no number \(from 0\)"):
        answers(["A", "none", "B", "C"])


def test_a_choice_that_is_null_is_refused_as_predict_does() -> None:
    from datasets import Dataset

    from ftp.data.target_form import shape

    rows = [row("A"), {**row("B", number=1), "choices": [None, "the bank"]}]
    with pytest.raises(UserError, match=r"1 rows have a value \(in choices\) that is null; the first, counted from 0: \[1\]"):
        shape({"train": Dataset.from_list(rows)}, "multiple_choice")


def test_an_answer_that_is_no_choice_is_refused(folder: Path) -> None:
    _, _, _, loss = built(["full", "choice"], model=str(folder / "bert"))
    with pytest.raises(UserError, match=r"the answer to 'Who forgot the soup\? 0' is number 2, and there are 2 choices"):
        list(loss.encode([row(2)]))
    with pytest.raises(UserError, match="there is no choice for the question"):
        list(loss.ask([{"question": QUESTION, "choices": []}]))


def test_a_model_without_the_head_is_refused_in_words(folder: Path) -> None:
    with pytest.raises(UserError, match="'llama' has no head 'multiple_choice'"):
        built(["full", "choice"], model=str(folder / "llama"))


def test_chance_and_the_most_frequent_place_by_hand(folder: Path) -> None:
    run, data, model, loss = built(["full", "choice"], model=str(folder / "bert"))
    held = {"test": data.splits["test"]}
    found = scores.guesses(run, data, model, loss, {}, held)
    sizes = [len(choices) for choices in held["test"]["choices"]]
    accuracy = {name: Choice().evaluate(data, predictions)[0].value for name, predictions in found.items()}
    assert accuracy["chance"] == pytest.approx(sum(1 / size for size in sizes) / len(sizes))
    assert found["chance"]["test"].loss == pytest.approx(sum(map(math.log, sizes)) / len(sizes))
    train = [int(answer) for answer in data.splits["train"]["answer"]]
    right = 0.0
    for choices, answer in zip(held["test"]["choices"], held["test"]["answer"], strict=True):
        counts = [train.count(place) for place in range(len(choices))]
        # places that are met equally often count their share
        right += (counts[int(answer)] == max(counts)) / counts.count(max(counts))
    assert accuracy["most frequent place"] == pytest.approx(right / len(sizes))
    nothing = Predictions("test", held["test"], [], 0.0, found["chance"]["test"].losses)
    assert Choice().evaluate(data, {"test": nothing}) == []


def test_questions_of_the_sample_are_in_one_split_only() -> None:
    sample = read(SAMPLE)
    questions = [question for rows in sample.values() for question in rows["question"]]
    assert list(sample) == ["train", "validation", "test"]
    assert len(questions) == len(set(questions)) == 60


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_run_is_proven_and_answers_by_letters(folder: Path, tmp_path: Path, method: str) -> None:
    result = ftp.run([method, "choice", "-leakage"], model=str(folder / "bert"), out=tmp_path / "run", max_steps=2, batch_size=8,
                     device="cpu", cache_dir=tmp_path / "cache")
    assert result.verified
    assert {baseline.baseline for baseline in result.baselines} == {"chance", "most frequent place"}
    assert "not_run" not in [risk.level for risk in result.risks if risk.name == "preflight"]
    answer = ftp.load(tmp_path / "run").predict([{"question": QUESTION, "choices": ["the waiter", "the bank", "Oslo"]}])[0]
    assert set(answer["scores"]) == {"A", "B", "C"}
    assert answer["answer"] == max(answer["scores"], key=answer["scores"].__getitem__)
