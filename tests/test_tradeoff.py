"""The example on learning and forgetting: its commands run, its table has what the runs say, and nothing unmeasured is drawn."""

from __future__ import annotations

import csv
import importlib.util
import json
import random
from pathlib import Path
from typing import Any

import pytest

SWEEP = Path(__file__).resolve().parents[1] / "examples" / "forgetting-tradeoff" / "sweep.py"
TEXT = "the patient had a fever and was given water by a nurse who read the chart in the morning before the doctor came"


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch) -> Any:
    from ftp.cli.main import call

    spec = importlib.util.spec_from_file_location("sweep", SWEEP)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.done = []

    def command(words: list[str]) -> None:
        module.done.append(words)
        assert call(words[1:]) == 0

    monkeypatch.setattr(module, "command", command)
    return module


def texts(path: Path, count: int, seed: int) -> None:
    dice = random.Random(seed)
    rows = [" ".join(f"{word}{dice.randrange(9)}" for word in dice.choices(TEXT.split(), k=30)) for _ in range(count)]
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))


def train_base(folder: Path) -> None:
    """A model that knows general text a little: what it does not know it cannot forget."""
    import ftp
    from ftp_testing.models import tiny

    base = tiny("llama", folder / "tiny")
    texts(folder / "base.jsonl", 60, 11)
    ftp.run(["clm", "full", "files"], model=str(base), data=str(folder / "base.jsonl"), out=str(folder / "base"), max_steps=30,
            learning_rate=1e-2, batch_size=8, verify=False, report=False, baselines=False)


def test_the_sweep(sweep: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data, general, out = tmp_path / "base" / "model", tmp_path / "data", tmp_path / "general.jsonl", tmp_path / "out"
    data.mkdir()
    texts(data / "train.jsonl", 40, 3)
    texts(data / "test.jsonl", 12, 5)
    texts(general, 40, 7)
    train_base(tmp_path)
    words = ["--model", str(model), "--data", str(data), "--general", str(general), "--out", str(out),
             "--full", "1e-2", "--lora", "1e-3", "--ranks", "4", "--updates", "2", "--", "--no-verify", "--no-report"]
    sweep.main(words)
    assert [line[2].rpartition("/")[2] for line in sweep.done] == ["full.toml", "lora.toml"]
    rows = list(csv.DictReader((out / "result.csv").open()))
    assert [(row["method"], row["rank"]) for row in rows] == [("full", ""), ("lora", "4")]
    for row, name in zip(rows, ("full-lr1e-2-u2-s0", "lora-r4-lr1e-3-u2-s0"), strict=True):
        scores = json.loads((out / name / "scores.json").read_text())["scores"]
        after = next(score["value"] for score in scores if (score["name"], score["split"]) == ("loss", "test"))
        assert float(row["domain_after"]) == after
        assert float(row["rise_low"]) <= sweep.forgotten(row) + 1e-3 and sweep.forgotten(row) <= float(row["rise_high"]) + 1e-3
    assert rows[0]["general_before"] == rows[1]["general_before"]
    assert "<svg" in (out / "tradeoff.svg").read_text()
    assert "LoRA learns less" in capsys.readouterr().out
    sweep.done.clear()
    sweep.main(words)
    assert not sweep.done, "finished runs are not done again"


def test_what_was_not_measured_ends_it(sweep: Any, tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text(json.dumps({
        "scores": [{"name": "loss", "split": "test", "value": 1.0}],
        "baselines": [{"baseline": "untuned", "name": "loss", "split": "test", "value": 2.0}]}))
    verdict = {"name": "forgetting", "level": "not_run", "finding": "no text", "evidence": {}}
    (tmp_path / "risks.json").write_text(json.dumps([verdict]))
    with pytest.raises(SystemExit, match="was not measured: no text"):
        sweep.read(tmp_path)


def test_the_sentence_compares_each_method_at_its_best(sweep: Any) -> None:
    def row(method: str, rate: str, learnt: float, forgotten: float) -> dict[str, Any]:
        return {"method": method, "rank": "" if method == "full" else "4", "learning_rate": rate, "updates": "1", "seed": "0",
                "domain_before": 3.0, "domain_after": 3.0 - learnt, "general_before": 2.0, "general_after": 2.0 + forgotten}

    rows = [row("full", "1", 0.5, 0.4), row("full", "2", 0.1, 0.0), row("lora", "1", 0.3, 0.1), row("lora", "2", 0.2, 0.9)]
    assert sweep.summary(rows)[-1] == "LoRA learns less: yes; LoRA forgets less: yes"
    rows[2]["general_after"] = 2.6
    assert sweep.summary(rows)[-1] == "LoRA learns less: yes; LoRA forgets less: NO"
