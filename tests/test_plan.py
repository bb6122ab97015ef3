"""`ftp plan` says beforehand what the run then does, without reading a weight."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from ftp.cli.main import call
from ftp_testing.models import tiny

RISKS = ",-leakage,-overfitting,-underfitting,-forgetting,-preflight"


@pytest.mark.parametrize(("method", "options"), [
    ("full", []), ("lora", ["--lora.r", "4"]), ("full", ["--full.freeze", "*embeddings*"])])
def test_a_plan_is_what_the_run_does(
    method: str, options: list[str], tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = "".join(json.dumps({"text": f"a warm room {n}", "label": n % 2}) + "\n" for n in range(40))
    for split in ("train", "validation"):
        (tmp_path / f"{split}.jsonl").write_text(rows.replace("room", f"room {split}"))
    words = ["--plugins", f"{method},sentiment{RISKS}", "--data", str(tmp_path),
             "--model", str(tiny_bert), "--batch-size", "16", "--epochs", "2", "--head-init", "random", *options]
    with monkeypatch.context() as watched:
        watched.setattr("transformers.PreTrainedModel.from_pretrained", None)  # no weights are read
        assert call(["plan", *words, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert call(["run", *words, "--out", str(tmp_path / "run"), "--no-verify", "--no-baselines", "--device", "cpu", "--cache-dir",
                 str(tmp_path / "cache")]) == 0
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert plan["updates"] == facts["steps"] == 6 and plan["rows"] == {"train": 40, "validation": 40}
    assert (plan["model"]["trained"], plan["model"]["total"]) == (facts["trained"], facts["total"])
    assert sum(math.prod(weight["shape"]) for weight in plan["model"]["weights"]) == facts["trained"]
    assert plan["memory"]["weights"] == 4 * facts["total"] and plan["memory"]["optimizer"] == 8 * facts["trained"]


def test_a_plan_says_how_much_is_trained_and_by_which_rule(capsys: pytest.CaptureFixture[str], tiny_bert: Path) -> None:
    words = ["plan", "--plugins", "full,tag", "--model", str(tiny_bert)]
    assert call(words) == 0
    text = capsys.readouterr().out
    assert "updates 120, each of 8 rows (10 epochs)" in text
    assert "epochs = 10.0  (follows from the data: 120 updates; 300 are wanted, in 3 to 10 passes)" in text
    assert "batch_size = 8  (follows from the data: 90 training rows, 1,000 at most)" in text
    assert call([*words, "--batch-size", "30", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["updates"] == 30 and plan["options"]["batch_size"] == {"value": 30, "from": "flags"}
    assert call([*words, "--data", "a/hub-id"]) == 0
    text = capsys.readouterr().out
    assert "--batch-size, --epochs" in text and "they follow from the training rows" in text
    assert "updates " not in text.split("not known")[0]

def test_a_plan_says_which_layer_may_become_new(tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_bert: Path) -> None:
    for method in ("full", "lora"):
        assert call(["plan", "--plugins", f"{method},sentiment", "--model", str(tiny_bert)]) == 0
        printed = " ".join(capsys.readouterr().out.split())
        assert "bert.encoder.layer.1 and bert.pooler (9,600 parameters) are new as the head is" in printed
    assert call(["plan", "--plugins", "lora,sentiment", "--model", str(tiny_bert), "--head-init", "random"]) == 0
    assert "are new as the head is" not in capsys.readouterr().out


def test_a_plan_shows_whose_learning_rate_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_bert: Path) -> None:
    assert call(["plan", "--plugins", "lora,sentiment", "--model", str(tiny_bert)]) == 0
    assert "learning_rate = 0.001  (suggested by lora)" in capsys.readouterr().out


@pytest.fixture
def growing(tmp_path: Path) -> list[str]:
    """Words of a command whose rows hold a token that the model has not."""
    base = tiny("llama", tmp_path / "base")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"<|tool|> {n}", "completion": "It is here."}) + "\n" for n in range(40)))
    return ["--model", str(base), "--data", str(rows), "--device", "cpu"]


def planned(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What a plan says of the model."""
    capsys.readouterr()
    assert call(["plan", *words, "--json"]) == 0
    model: dict[str, Any] = json.loads(capsys.readouterr().out)["model"]
    return model


@pytest.mark.parametrize("method", ["full", "lora", "adapters"])
def test_a_plan_counts_the_rows_of_added_tokens(
    method: str, growing: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--plugins", f"{method},files,sft{RISKS},-stopping", *growing]
    model = planned([*words, "--add-tokens", "<|tool|>,<|note|>"], capsys)
    assert call(["run", *words, "--add-tokens", "<|tool|>,<|note|>", "--out", str(tmp_path / "run"), "--no-verify", "--no-report",
                 "--no-baselines", "--max-steps", "1", "--cache-dir", str(tmp_path / "cache")]) == 0
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (model["trained"], model["total"]) == (facts["trained"], facts["total"])
    added = 2 * 2 * 32  # tokens, ends, size
    assert model["trained"] == planned(words, capsys)["trained"] + added


def test_a_plan_refuses_tokens_that_stay_untrained(growing: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["plan", "--plugins", "peft,files,sft", *growing, "--add-tokens", "<|tool|>"]) == 2
    words = capsys.readouterr().err
    assert "<|tool|>) are not trained by this run" in words and "--plugins lora,files,sft" in words
