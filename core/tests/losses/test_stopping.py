"""What the verdict on the ends of answers says of the model before the run and after it."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from ftp import model as models
from ftp.losses import stopping
from ftp.losses.stopping import Stops
from ftp.types import Model, Risk
from ftp_testing.models import tiny

RUN: Any = SimpleNamespace(settings=SimpleNamespace(epochs=1.0, learning_rate=1e-3, shard=False),
                           command=lambda *options: " ".join(map(str, options)))


def stops(ended: int, probability: float = 0.5) -> Stops:
    return Stops(asked=8, ended=ended, limit=40, longest=10, end_probability=probability)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The verdict on stops after a run and before it."""
    model = models.load(models.find(str(tiny("llama", tmp_path_factory.mktemp("base"))), "tokens"), "tokens")
    chat: Any = SimpleNamespace(stop=(model.tokenizer.convert_tokens_to_ids("<|im_end|>"),))

    def verdict(after: Stops, before: Stops | None) -> Risk:
        return stopping.verdict(RUN, model, chat, after, before)

    return verdict


@pytest.mark.parametrize("ended", [0, 1, 3, 4])
def test_a_run_that_made_it_worse_is_a_warning_with_a_gentler_command(judge: Any, ended: int) -> None:
    verdict = judge(stops(ended, 0.3), stops(ended + 2, 0.7))
    assert verdict.level == "warn" and "this run made it worse" in verdict.finding
    assert f"before this run {ended + 2} of 8 ended, and the probability was 0.7" in verdict.finding
    assert verdict.evidence["ended_before"] == ended + 2 and verdict.advice == ("--learning-rate 0.0005",)


@pytest.mark.parametrize("before, words", [(3, "found the model like that"), (2, "found the model like that"), (4, "chance")])
def test_a_model_that_was_like_that_is_a_note_that_says_so(judge: Any, before: int, words: str) -> None:
    verdict = judge(stops(3), stops(before))
    assert verdict.level == "note" and f"before this run {before} of 8 ended" in verdict.finding and words in verdict.finding


def test_a_model_that_never_ended_and_does_not_now_is_trained_longer(judge: Any) -> None:
    verdict = judge(stops(0, 0.001), stops(0, 0.001))
    assert verdict.level == "warn" and "found the model like that" in verdict.finding and verdict.advice == ("--epochs 2",)


def test_without_the_model_of_before_nothing_is_said_of_it(judge: Any) -> None:
    verdict = judge(stops(3), None)
    assert verdict.level == "note" and "before" not in verdict.finding and "ended_before" not in verdict.evidence
    assert judge(stops(5), None).level == "ok"


def test_the_model_of_before_is_asked_by_its_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    @contextmanager
    def reference() -> Any:
        yield "the network of before"

    def measure(run: Any, model: Any, *rest: Any) -> Stops:
        asked.append(model.net)
        return stops(6)

    monkeypatch.setattr(stopping, "measure", measure)
    model: Any = Model("the network of now", None, "tokens", reference=reference)  # type: ignore[arg-type]
    assert stopping.measure_before(RUN, model, SimpleNamespace(), [], 100) == stops(6)  # type: ignore[arg-type]
    assert asked == ["the network of before"]
