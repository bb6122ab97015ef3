"""Domains beyond their own package: with a decoder, and on the public sets that they are for."""

from __future__ import annotations

import json
import lzma
import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

SETS = Path(os.environ.get("FTP_DATA") or "no-public-sets")


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ftp_testing.models import tiny

    return tiny("gpt2", tmp_path_factory.mktemp("models") / "gpt2")


@pytest.mark.parametrize(("domain", "score"), [
    ("classify", "exact_match"), ("pairs", "exact_match"), ("sentiment", "exact_match"), ("qa", "f1")])
def test_a_decoder_learns_to_say_the_answer_and_is_scored(domain: str, score: str, decoder: Path, tmp_path: Path) -> None:
    import ftp

    done = ftp.run(["full", "sft", domain], **{
        "model": str(decoder), "out": tmp_path / "run", "max_steps": 1, "max_train_rows": 16, "max_eval_rows": 8,
        "sft.generate": 3, "sft.max_new_tokens": 4, "truncated_answers": "drop", "baselines": False, "verify": False,
        "report": False, "device": "cpu",
        "cache_dir": tmp_path / "cache"})
    said = [one for one in done.scores if one.name == score]
    assert {(one.split, one.n) for one in said} == {("validation", 3), ("test", 3)}
    assert not [one.name for one in done.scores if one.name in ("accuracy", "macro_f1")]


def test_a_decoder_that_says_nothing_is_not_scored(decoder: Path, tmp_path: Path) -> None:
    import ftp

    done = ftp.run(["full", "sft", "classify"], model=str(decoder), out=tmp_path / "run", max_steps=1, max_train_rows=16,
                   max_eval_rows=8, baselines=False, verify=False, report=False, device="cpu", cache_dir=tmp_path / "cache")
    assert done.score("loss") > 0 and "exact_match" not in {one.name for one in done.scores}


def real(name: str, count: int = 400) -> list[dict[str, Any]]:
    """The first rows of a public set."""
    path = SETS / f"{name}.jsonl.xz"
    if not path.exists():
        pytest.skip(f"{name}: the public sets are not here")
    with lzma.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in islice(file, count)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    from ftp import model as models
    from ftp_testing.models import tiny

    folder = tiny("bert", tmp_path_factory.mktemp("models") / "bert")
    return lambda head, labels=(): models.load(models.Source("tiny", folder=folder), head, labels)


@pytest.mark.parametrize("name", ["squad/train", "squad/validation", "squad/validation_v2", "policyqa/train", "subjqa/train"])
def test_every_real_answer_is_found_again_in_its_window(name: str, encoder: Callable[..., Any]) -> None:
    from datasets import Dataset

    from ftp.losses import span
    from ftp.settings import Settings
    from ftp.types import Data, Run, Task

    rows = real(name)
    data = Data({"train": Dataset.from_list([{key: row[key] for key in ("question", "context", "answers")} for row in rows])},
                "question")
    told: list[str] = []
    run = type("Told", (Run,), {"tell": lambda self, message: told.append(message)})(
        Settings(max_length=200), Task("question", "span"), None)
    loss = span.make(run, data, encoder("span"))
    whole, windows = dict[int, str](), 0
    for one in loss.encode(rows):
        windows += 1
        first, last = one["span"]
        if first != one["none"]:
            begin, end = one["offsets"][2 * (first - one["first"])], one["offsets"][2 * (last - one["first"]) + 1]
            whole[one["row"]] = one["text"][begin:end]
    asked = {number: row["answers"]["text"] for number, row in enumerate(rows) if row["answers"]["text"]}
    assert windows > len(rows)
    # only an answer that is longer than what two windows have in common can be in no window whole
    assert all(len(asked[number][0]) > 60 for number in asked.keys() - whole.keys())
    # a token may reach beyond an answer that ends inside of a word
    near = [number for number, text in whole.items() if not any(one.strip() in text for one in asked[number])]
    longer = [number for number, text in whole.items() if all(len(text) > len(one) + 12 for one in asked[number])]
    assert len(whole) > 0.5 * len(asked) > 0 and not near and not longer


@pytest.mark.parametrize("name", ["ner_wnut17/train", "ner_ncbi_disease/train", "ner_bc5cdr/train", "ner_sec_filings/train"])
def test_every_real_word_is_scored_once(name: str, encoder: Callable[..., Any]) -> None:
    from ftp.losses import tags
    from ftp.settings import Settings
    from ftp.types import Data, Run, Task

    rows = real(name)
    names = tuple(sorted({tag for row in rows for tag in row["ner_tags"]}))
    run = Run(Settings(max_length=40), Task("tagged", "tags"), None)  # type: ignore[arg-type]
    loss = tags.make(run, Data({}, "tagged", names), encoder("tags", names))
    given = [{"tokens": row["tokens"], "tags": [names.index(tag) for tag in row["ner_tags"]]} for row in rows]
    scored: dict[int, list[int]] = {}
    windows = 0
    for one in loss.encode_to_score(given):
        windows += 1
        assert len(one["input_ids"]) <= 40 and max(one["first_tokens"]) < len(one["input_ids"]) - 1
        scored.setdefault(one["row"], []).extend(one["tags"])
    assert windows > len(rows) and [scored[number] for number in range(len(rows))] == [row["tags"] for row in given]
