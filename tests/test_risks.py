"""Each planted fault raises its own risk and not the others, in whole runs; a clean run raises none. The faults are those of
benchmarks/risks_confusion.py, on fewer rows: the sample of the domain sentiment, MiniLM, and a tiny decoder."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

import ftp
from ftp.folder.files import Folder
from ftp_testing.advice import follow

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "risks_confusion.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("risks_confusion", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = sys.modules["risks_confusion"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sample() -> list[dict[str, Any]]:
    from ftp_sentiment import SAMPLE

    with (SAMPLE / "train.csv").open(encoding="utf-8", newline="") as file:
        rows = [{"text": row["text"], "label": int(row["label"] == "positive")} for row in csv.DictReader(file)]
    random.Random(0).shuffle(rows)
    return rows


def write(folder: Path, splits: Any) -> Path:
    folder.mkdir()
    for name, rows in zip(("train", "validation"), splits, strict=True):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny decoder that learnt some of the general text: what it does not know it cannot forget."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from ftp_forgetting import sets
    from ftp_testing.models import tiny

    folder = tiny("llama", tmp_path_factory.mktemp("models") / "writer")
    net, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = [tokenizer(text)["input_ids"][:64] for text in sets.texts(None).documents]
    rows, dice = torch.tensor([row for row in ids if len(row) == 64]), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(60):
        part = rows[torch.randperm(len(rows), generator=dice)[:32]]
        optimizer.zero_grad()
        net(input_ids=part, labels=part).loss.backward()
        optimizer.step()
    net.save_pretrained(folder)
    return folder


def levels(plugins: list[str], data: Path, out: Path, **options: Any) -> dict[str, str]:
    """The verdicts of a run, also of one that was stopped before training. What they advise runs, from any folder."""
    try:
        ftp.run(plugins, data=str(data), out=str(out), cache_dir=str(out.parent / "cache"), device="cpu",
                verify=False, report=False, baselines=False, **options)
    except ftp.RiskStop:
        assert not (out / "model").exists()
    verdicts = json.loads((out / "risks.json").read_text(encoding="utf-8"))
    for verdict in verdicts:
        assert verdict["advice"] or verdict["level"] not in ("warn", "stop"), verdict
        for line in verdict["advice"]:
            follow(line)
    return {verdict["name"]: verdict["level"] for verdict in verdicts}


def raised(verdicts: dict[str, str]) -> set[str]:
    return {name for name, level in verdicts.items() if level in ("warn", "stop")}


CLASSES = [
    ("nothing", "", 160, {"epochs": 2}),
    ("leaky", "leakage", 200, {}),
    ("leaky-on", "leakage", 160, {"epochs": 2, "leakage.stop_exact": 1.0, "leakage.stop_sure": 1.0}),
    ("shuffled", "overfitting", 80, {"epochs": 12, "eval_steps": 20}),
    ("rows30", "overfitting", 30, {"epochs": 25, "eval_steps": 13}),
    ("lr1e-7", "underfitting", 100, {"epochs": 2, "learning_rate": 1e-7, "head_init": "random"}),
    ("frozen", "underfitting", 160, {"epochs": 2, "plugins": ["full", "sentiment"], "full.freeze": "classifier*"}),
]


@pytest.mark.parametrize(("fault", "own", "train", "options"), CLASSES, ids=[case[0] for case in CLASSES])
def test_a_fault_among_labelled_rows(script: Any, tmp_path: Path, fault: str, own: str, train: int, options: Any) -> None:
    rows = sample()
    splits = rows[:train], rows[train : train + 80]
    plant = script.nothing
    follows: set[str] = set()
    if fault in script.FAULTS:
        plant = script.FAULTS[fault].plant
        follows = set(script.FAULTS[fault].follows)
    options = {"plugins": ["lora", "sentiment"], "batch_size": 16, "eval_steps": 13, **options}
    plugins = options.pop("plugins")
    data = write(tmp_path / "rows", plant(splits, random.Random(0)))
    verdicts = levels(plugins, data, tmp_path / "run", max_length=32, **options)
    assert raised(verdicts) - follows == ({own} if own else set()), verdicts
    assert set(verdicts) == ({"leakage"} if fault == "leaky" else set(script.RISKS)), verdicts
    if fault == "nothing":
        assert set(verdicts.values()) <= {"ok", "note"}, verdicts


def test_a_learning_rate_of_one(script: Any, tmp_path: Path) -> None:
    """Training diverges, which is underfitting and no overfitting; the network may well be spoilt by it."""
    rows = sample()
    data = write(tmp_path / "rows", (rows[:100], rows[100:180]))
    verdicts = levels(["lora", "sentiment"], data, tmp_path / "run", max_length=32,
                      batch_size=16, eval_steps=7, epochs=2, learning_rate=1.0)
    assert "underfitting" in raised(verdicts), verdicts
    assert raised(verdicts) <= {"underfitting", *script.FAULTS["lr1"].follows}, verdicts


def test_a_domain_that_drives_out_general_text(writer: Path, tmp_path: Path) -> None:
    """The domain is written backwards; at a low rate little is lost."""
    rows = [{"text": row["text"][::-1]} for row in sample()]
    data = write(tmp_path / "rows", (rows[:240], rows[240:300]))
    options = {"model": str(writer), "batch_size": 16, "max_steps": 15, "eval_steps": 5}
    high = levels(["clm", "full", "files"], data, tmp_path / "high", learning_rate=1e-2, **options)
    assert raised(high) == {"forgetting"}, high
    low = levels(["clm", "full", "files"], data, tmp_path / "low", learning_rate=1e-4, **options)
    assert raised(low) <= {"underfitting"} and low["forgetting"] in ("ok", "note"), low


def test_a_template_without_an_end_of_turn(script: Any, writer: Path, tmp_path: Path) -> None:
    answers = ("That is a complaint.", "That is praise.")
    rows = []
    for row in sample():
        question = {"role": "user", "content": row["text"]}
        answer = {"role": "assistant", "content": answers[row["label"]]}
        rows.append({"messages": [question, answer]})
    data = write(tmp_path / "rows", (rows[:160], rows[160:200]))
    (tmp_path / "no-end.jinja").write_text(script.NO_END, encoding="utf-8")
    options = {"model": str(writer), "batch_size": 16, "max_steps": 20, "eval_steps": 10, "learning_rate": 3e-3}
    verdicts = levels(["sft", "full", "files"], data, tmp_path / "run", **options,
                      **{"sft.chat_template": str(tmp_path / "no-end.jinja")})
    assert "preflight" in raised(verdicts) and not raised(verdicts) & {"overfitting", "underfitting"}, verdicts
    (finding,) = (risk.finding for risk in Folder(tmp_path / "run").read_risks() if risk.name == "preflight")
    assert "will not learn to stop" in finding
    own = levels(["sft", "full", "files"], data, tmp_path / "own", **options)
    assert "preflight" not in raised(own), own


def test_the_table_counts_what_was_found(script: Any, tmp_path: Path) -> None:
    ok = dict.fromkeys(script.RISKS, "ok")
    file = tmp_path / "found.json"
    for seed, level in enumerate(("stop", "warn", "note")):
        script.keep(file, {"fault": "leaky-on", "seed": seed, "set": "sst2", "levels": {**ok, "leakage": level}})
    script.keep(file, {"fault": "lr1", "seed": 0, "set": "sst2", "levels": {**ok, "underfitting": "warn", "forgetting": "warn"}})
    for seed in range(2):
        level = ("ok", "warn")[seed]
        script.keep(file, {"fault": "clean-sst2", "seed": seed, "set": "sst2", "levels": {**ok, "forgetting": level}})
    assert len(script.kept(file)) == 6
    page = tmp_path / "page.md"
    page.write_text("before\n{}\nold\n{}\nafter".format(*script.MARKS))
    script.write(page, script.tables(list(script.kept(file).values())))
    text = page.read_text()
    assert "| leaky split, trained all the same | 3 | **2 of 3** | 0 of 3 | 0 of 3 | 0 of 3 | 0 of 3 |" in text
    assert "| learning rate 1 | 1 | 0 of 1 | 0 of 1 | **1 of 1** | 1 of 1 (follows) | 0 of 1 |" in text
    assert "| all | 2 | 0 of 2 | 0 of 2 | 0 of 2 | 1 of 2 | 0 of 2 | 1 of 2 |" in text
    assert "6 of 66 runs are done" in text
    assert text.startswith("before") and text.endswith("after") and "old" not in text
    with pytest.raises(SystemExit, match="marks"):
        script.write(tmp_path / "found.json", "")


def test_finished_runs_are_not_done_again(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def do(key: str, fault: Any, seed: int, options: argparse.Namespace) -> dict[str, Any]:
        done.append(f"{key}-{seed}")
        return {"fault": key, "seed": seed, "set": "sst2", "cpu_seconds": 0.1, "levels": {}}

    monkeypatch.setattr(script, "do", do)
    words = ["x", "--found", str(tmp_path / "found.json"), "--only", "lr1,clean-sst2", "--seeds", "2", "--clean", "1", "--part"]
    for part in ("0/2", "1/2", "0/2"):
        monkeypatch.setattr(sys, "argv", [*words, part])
        script.main()
    assert sorted(done) == ["clean-sst2-0", "lr1-0", "lr1-1"]
