"""The two plain checks that every run has, and which weights decay."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset

from ftp import forms
from ftp.runs.defaults import Duplicates, Gap
from ftp.settings import Settings
from ftp.train import parameter_groups
from ftp.types import Data, Evaluation, Risk
from ftp_testing.domains import a_run

RUN = a_run("labelled")


def duplicates(**splits: list[str]) -> Risk:
    rows = {name: Dataset.from_dict({"text": texts, "label": [0] * len(texts)}) for name, texts in splits.items()}
    [risk] = Duplicates().check_risks(RUN, "data", Data(rows, "labelled"))
    return risk


def test_texts_in_two_splits_are_found_whatever_their_case_and_spaces() -> None:
    train = [f"row {number}" for number in range(20)]
    clean = duplicates(train=train, validation=["another", "row"], test=["row 20"])
    assert clean.level == "ok" and clean.evidence["compared"] == {"train": 20, "validation": 2, "test": 1}
    few = duplicates(train=train, validation=["a", " ROW   3\n", "b", "c", "d", "e"], test=["f"])
    assert few.level == "warn" and "1 of 7" in few.finding and few.evidence["examples"] == {"validation": [1]}
    many = duplicates(train=train, validation=["a", "b"], test=["row 1"])
    assert many.level == "stop" and many.advice


@pytest.mark.parametrize(
    ("form", "columns"),
    [
        ("preference", ("prompt", "chosen")),
        ("feedback", ("prompt",)),
        ("question", ("question", "context")),
        ("tagged", ("tokens",)),
        ("labelled", ("text", "text_pair")),
        ("conversation", ("messages",)),
        ("text", ("text",)),
        ("prompt", ("prompt",)),
    ],
)
def test_each_form_says_by_which_columns_a_row_is_a_duplicate(form: str, columns: tuple[str, ...]) -> None:
    assert forms.get(form).duplicate_columns == columns


def test_a_preference_with_the_prompt_of_a_training_row_and_another_answer_is_no_duplicate() -> None:
    def pairs(answer: str) -> Dataset:
        prompt = [{"role": "user", "content": "What rose?"}]
        return Dataset.from_list([{"prompt": prompt, "chosen": [{"role": "assistant", "content": answer}],
                                   "rejected": [{"role": "assistant", "content": "No."}]}])

    def duplicates_of(answer: str) -> int:
        splits = {"train": pairs("Prices rose."), "test": pairs(answer)}
        [risk] = Duplicates().check_risks(a_run("preference"), "data", Data(splits, "preference"))
        return int(risk.evidence["found"])

    assert duplicates_of("The soup rose.") == 0
    assert duplicates_of("prices  ROSE.") == 1


def test_where_nothing_is_compared_nothing_is_ok() -> None:
    assert duplicates(train=["a"]).level == duplicates(train=["a"], validation=[]).level == "not_run"
    assert gap((1.0, 1.0)).level == gap((1.0, None), (0.9, None)).level == "not_run"


def gap(*losses: tuple[float, float | None]) -> Risk:
    history: list[Any] = [Evaluation(step=10 * number, loss=held, train_loss=train)
                          for number, (held, train) in enumerate(losses, 1)]
    [risk] = Gap().check_risks(RUN, "end", history)
    return risk


@pytest.mark.parametrize("losses, level", [
    ([(0.7, 0.7), (0.5, 0.4), (0.45, 0.3)], "ok"),
    ([(0.7, 0.7), (0.5, 0.4), (0.54, 0.2)], "ok"),  # 8% over the best
    ([(0.7, 0.7), (0.5, 0.4), (0.6, 0.2)], "warn"),
    ([(0.7, 0.7), (0.5, 0.4), (0.6, 0.5)], "ok"),  # both rose: that is not overfitting
])
def test_a_held_out_loss_that_rises_while_the_training_loss_falls(losses: list[tuple[float, float]], level: str) -> None:
    risk = gap(*losses)
    assert risk.level == level and risk.evidence["held_out_loss"] == {10 * n: held for n, (held, _) in enumerate(losses, 1)}
    assert ("20% after update 20" in risk.finding and bool(risk.advice)) == (level == "warn")


def test_norms_and_biases_do_not_decay() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    frozen = torch.nn.Linear(2, 2).requires_grad_(False)
    loss: Any = SimpleNamespace(extra=frozen)
    model: Any = SimpleNamespace(net=net)
    groups = parameter_groups(model, loss, Settings(weight_decay=0.1))
    decays = {}
    for group in groups:
        for weight in group["params"]:
            decays[id(weight)] = group["weight_decay"]
    assert decays == {id(net[0].weight): 0.1, id(net[0].bias): 0.0, id(net[1].weight): 0.0, id(net[1].bias): 0.0}
