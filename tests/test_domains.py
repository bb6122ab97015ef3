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
    generated = {(result.split, result.n) for result in done.scores if result.name == score}
    assert generated == {("validation", 3), ("test", 3)}
    assert not {result.name for result in done.scores} & {"accuracy", "macro_f1"}


def test_a_decoder_that_says_nothing_is_not_scored(decoder: Path, tmp_path: Path) -> None:
    import ftp

    done = ftp.run(["full", "sft", "classify"], model=str(decoder), out=tmp_path / "run", max_steps=1, max_train_rows=16,
                   max_eval_rows=8, baselines=False, verify=False, report=False, device="cpu", cache_dir=tmp_path / "cache")
    assert done.score("loss") > 0 and "exact_match" not in {score.name for score in done.scores}


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
    columns = Dataset.from_list(rows).select_columns(["question", "context", "answers"])
    data = Data({"train": columns}, "question")
    messages: list[str] = []
    run = type("Told", (Run,), {"tell": lambda self, message: messages.append(message)})(
        Settings(max_length=200), Task("question", "span"), None)
    loss = span.make(run, data, encoder("span"))
    span_texts: dict[int, str] = {}  # what a row's window marks as the answer
    num_windows = 0
    for window in loss.encode(rows):
        num_windows += 1
        first, last = window["span"]
        if first != window["none"]:
            begin = window["offsets"][2 * (first - window["first"])]
            end = window["offsets"][2 * (last - window["first"]) + 1]
            span_texts[window["row"]] = window["text"][begin:end]
    answers = {index: row["answers"]["text"] for index, row in enumerate(rows) if row["answers"]["text"]}
    assert num_windows > len(rows)
    # only an answer that is longer than what two windows have in common can be in no window whole
    assert all(len(answers[index][0]) > 60 for index in answers.keys() - span_texts.keys())
    for index, text in span_texts.items():
        assert any(answer.strip() in text for answer in answers[index])
        # a token may reach beyond an answer that ends inside of a word
        assert any(len(text) <= len(answer) + 12 for answer in answers[index])
    assert len(span_texts) > 0.5 * len(answers) > 0


@pytest.mark.parametrize("name", ["ner_wnut17/train", "ner_ncbi_disease/train", "ner_bc5cdr/train", "ner_sec_filings/train"])
def test_every_real_word_is_scored_once(name: str, encoder: Callable[..., Any]) -> None:
    from ftp.losses import tags
    from ftp.settings import Settings
    from ftp.types import Data, Run, Task

    rows = real(name)
    names = tuple(sorted(set().union(*(row["ner_tags"] for row in rows))))
    run = Run(Settings(max_length=40), Task("tagged", "tags"), None)  # type: ignore[arg-type]
    loss = tags.make(run, Data({}, "tagged", names), encoder("tags", names))
    index_of = {tag: index for index, tag in enumerate(names)}
    tagged = [{"tokens": row["tokens"], "tags": list(map(index_of.__getitem__, row["ner_tags"]))} for row in rows]
    scored: dict[int, list[int]] = {}
    num_windows = 0
    for window in loss.encode_to_score(tagged):
        num_windows += 1
        assert len(window["input_ids"]) <= 40
        assert max(window["first_tokens"]) < len(window["input_ids"]) - 1  # the last is the end token
        scored.setdefault(window["row"], []).extend(window["tags"])
    assert num_windows > len(rows)
    assert scored == {index: row["tags"] for index, row in enumerate(tagged)}
