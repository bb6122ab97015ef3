"""Runs whose new head begins as a linear model of the training rows: what they keep, and who can load it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

import ftp
from ftp.folder.log import read_log

WORDS = ("good", "bad", "film", "food", "never", "again", "the", "a", "was", "not", "very", "slow", "warm", "room", "staff")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows whose label is whether `good` is in them."""
    draw = random.Random(3)
    folder = tmp_path_factory.mktemp("rows")
    for split, count in (("train", 200), ("validation", 60)):
        lines = []
        for number in range(count):
            words = [draw.choice(WORDS) for _ in range(draw.randint(3, 12))]
            lines.append(json.dumps({"text": " ".join(words) + f" {number}", "label": int("good" in words)}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    return folder


def train(method: str, rows: Path, model: Path, out: Path, **options: Any) -> ftp.Result:
    return ftp.run([method, "sentiment"], data=str(rows), model=str(model), out=out, precision="fp32", batch_size=16, max_steps=4,
                   baselines=False, verify=False, report=False, device="cpu", **options)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_run_that_only_gets_worse_keeps_what_it_began_with(method: str, rows: Path, tiny_bert: Path, tmp_path: Path) -> None:
    result = train(method, rows, tiny_bert, tmp_path / "run", learning_rate=0.5)
    log = read_log(tmp_path / "run" / "log.jsonl")
    first = next(line for line in log if line["event"] == "evaluation")
    assert first["step"] == 0
    assert result.score("loss", "validation") == pytest.approx(first["validation_loss"], abs=1e-5)
    assert any("the best evaluation was after update 0" in line.get("message", "") for line in log)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["best_step"] == 0


@pytest.mark.slow
def test_an_adapter_brings_the_layer_that_averages_and_plain_peft_loads_it(
    rows: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    import torch
    from peft import AutoPeftModelForSequenceClassification
    from transformers import AutoTokenizer

    train("lora", rows, tiny_bert, tmp_path / "run", learning_rate=1e-3)
    texts = ["the film was good", "the food was never warm"]
    plain = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "run" / "model", num_labels=2).eval()
    assert any("layer.1.modules_to_save" in name for name, _ in plain.named_modules()), "the last layer averages here"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    with torch.no_grad():
        theirs = plain(**tokenizer(texts, padding=True, return_tensors="pt")).logits.softmax(-1)
    ours = ftp.load(tmp_path / "run").predict([{"text": text} for text in texts])
    for answer, probabilities in zip(ours, theirs.tolist(), strict=True):
        assert list(answer["scores"].values()) == pytest.approx(probabilities, abs=1e-4)


@pytest.mark.slow
def test_a_run_with_random_numbers_has_no_evaluation_before_training(rows: Path, tiny_bert: Path, tmp_path: Path) -> None:
    train("full", rows, tiny_bert, tmp_path / "run", head_init="random")
    steps = [line["step"] for line in read_log(tmp_path / "run" / "log.jsonl") if line["event"] == "evaluation"]
    assert steps
    assert 0 not in steps
