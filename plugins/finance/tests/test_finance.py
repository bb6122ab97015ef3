"""The finance domain: its sample, its scores, the public sets it reads, and a run from rows to verdicts on news."""

from __future__ import annotations

import json
import lzma
import os
from collections import Counter
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest

import ftp
from ftp.data.loading import settle
from ftp.data.read import read
from ftp.types import Data, Form
from ftp_finance import SAMPLE, Finance
from ftp_testing.domains import a_run
from ftp_testing.models import tiny
from ftp_testing.samples import column_of, scores_of

SETS = Path(os.environ.get("FTP_DATA") or "no-public-sets")
TONES = {"negative", "neutral", "positive"}


def data_of(form: Form, data: Path | None = None, **settings: Any) -> Data:
    run = a_run(form, str(data) if data else None, **settings)
    return settle(Finance().load_data(run), run)[0]


def test_sentences_of_the_sample_are_in_one_split_only_and_in_the_order_of_time() -> None:
    splits = read(SAMPLE / "labelled")
    texts = [text.lower() for text in column_of(splits, "text")]
    assert len(texts) == len(set(texts)) == 210
    ends = [day for split in ("train", "validation", "test") for day in (min(splits[split]["date"]), max(splits[split]["date"]))]
    assert ends == sorted(ends) and len(set(ends)) == 6
    for rows in splits.values():
        counts = Counter(rows["label"])
        assert set(counts) == TONES and max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("form", ["question", "text"])
def test_passages_of_the_sample_are_in_one_split_only(form: str) -> None:
    column = {"question": "context", "text": "text"}[form]
    splits = [set(rows[column]) for rows in read(SAMPLE / form).values()]
    assert len(splits) == 3 and sum(map(len, splits)) == len(set.union(*splits))


def test_answers_of_the_sample_stand_where_they_say() -> None:
    lacking = total = 0
    for rows in read(SAMPLE / "question").values():
        for row in rows:
            total += 1
            lacking += not row["answers"]["text"]
            for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True):
                assert row["context"][start : start + len(text)] == text
    assert (total, lacking) == (56, 14)


def test_perfect_answers_score_one_and_a_constant_one_does_not() -> None:
    data = data_of("labelled")
    rows = data.splits["test"]

    assert scores_of(Finance(), data, rows["label"][:]) == {"accuracy": 1.0, "macro_f1": 1.0, "mcc": 1.0}
    share = rows["label"][:].count(0) / len(rows)
    constant = scores_of(Finance(), data, [0] * len(rows))
    assert constant == pytest.approx({"accuracy": share, "macro_f1": 2 * share / (1 + share) / 3, "mcc": 0.0})


def test_a_decoder_reads_questions_as_conversations_and_is_scored() -> None:
    data = data_of("conversation")
    rows = data.splits["test"]
    answers = [messages[-1]["content"] for messages in rows["messages"]]
    assert scores_of(Finance(), data, answers) == {
        "exact_match": 1.0, "f1": 1.0, "no_answer_accuracy": 1.0, "f1_answerable": 1.0}
    assert rows[0]["messages"][0]["content"].startswith(tuple(read(SAMPLE / "question")["test"]["context"]))


def public(name: str, folder: Path, count: int = 40) -> Path:
    """Some rows of a public set as a folder of its own."""
    source = SETS / f"{name}.jsonl.xz"
    if not source.exists():
        pytest.skip(f"{name}: the public sets are not here")
    with lzma.open(source, "rt", encoding="utf-8") as file:
        (folder / "train.jsonl").write_text("".join(islice(file, 0, 10 * count, 10)), encoding="utf-8")
    return folder


@pytest.mark.parametrize("form", ["labelled", "conversation", "text"])
def test_the_phrasebank_is_read_as_it_is(form: Form, tmp_path: Path) -> None:
    folder = public("financial_phrasebank/train", tmp_path)
    rows = {row["id"]: row for row in map(json.loads, (folder / "train.jsonl").read_text(encoding="utf-8").splitlines())}
    data = data_of(form, folder)
    rows_read = list(chain.from_iterable(data.splits.values()))
    assert len(rows_read) == len(rows)
    for row in rows_read:
        text, tone = rows[row["id"]]["text"], rows[row["id"]]["label_name"]
        if form == "labelled":
            assert (row["text"], data.labels[row["label"]]) == (text, tone)
        elif form == "conversation":
            assert [turn["content"] for turn in row["messages"]] == [text, tone]
        else:
            assert row["text"] == text


def test_speeches_of_the_federal_reserve_are_read_and_dated_by_their_titles(tmp_path: Path) -> None:
    folder = public("corpus/federal_reserve", tmp_path)
    data = data_of("text", folder)
    assert sum(len(rows) for rows in data.splits.values()) == 40
    risk = Finance().check_risks(a_run("text"), "data", data)[0]
    assert risk.name == "look-ahead" and risk.evidence["dated_rows"]["train"] > 20


def test_an_answer_that_is_not_in_its_context_is_an_error(tmp_path: Path) -> None:
    """Stretches of text are learnt by `qa`, which looks; so files of this domain's form are safe there."""
    def row(drug: str, answer: str) -> dict[str, Any]:
        return {"question": "Which drug?", "context": f"{drug} was given.", "answers": {"text": [answer], "answer_start": [0]}}

    good = [row(drug, drug) for drug in ("Aspirin", "Codeine", "Insulin", "Warfarin")]
    for split, rows in {"train": [*good[:3], row("Lithium", "Heparin")], "validation": good[3:]}.items():
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(ftp.UserError, match=r"rows 3"):
        ftp.run(["full", "qa", "-leakage"], model=str(tiny("bert", tmp_path / "model")), data=str(tmp_path), out=tmp_path / "run",
                device="cpu", cache_dir=tmp_path / "cache")


@pytest.mark.slow
def test_a_run_answers_with_tones_and_tells_of_dates(tmp_path: Path) -> None:
    done = ftp.run(["full", "finance"], model=str(tiny("bert", tmp_path / "model")), out=tmp_path / "run", max_steps=2,
                   max_train_rows=40, baselines=False, verify=False, device="cpu", cache_dir=tmp_path / "cache")
    assert ftp.load(tmp_path / "run").predict(["Profit fell."])[0]["answer"] in TONES
    assert {risk.name: risk.level for risk in done.risks}["look-ahead"] == "ok"


@pytest.mark.slow
def test_questions_are_read_by_an_encoder_where_form_says_so(tmp_path: Path) -> None:
    """SQuAD's columns are refused as labelled rows with the option that takes them; with it a span head is trained."""
    rows = [{"question": f"What did company {number} earn?", "context": f"Company {number} earned {number} million last year.",
             "answers": {"text": [f"{number} million"], "answer_start": [16 + len(str(number))]}} for number in range(30)]
    (tmp_path / "squad.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    how: dict[str, Any] = {
        "data": str(tmp_path / "squad.jsonl"), "model": str(tiny("bert", tmp_path / "bert")), "out": str(tmp_path / "run"),
        "device": "cpu", "precision": "fp32", "max_steps": 2, "verify": False, "baselines": False, "report": False,
        "cache_dir": str(tmp_path / "cache")}
    with pytest.raises(ftp.UserError, match=r"cannot be read as 'labelled'(.|\n)*--form question"):
        ftp.run(["lora", "finance"], **how)
    done = ftp.run(["lora", "finance"], form="question", **{**how, "out": str(tmp_path / "span")})
    assert 0 <= done.score("f1", "validation") <= 1
    back = ftp.load(done.out)
    assert back.model.head == "span" and isinstance(back.predict([rows[0]])[0]["answer"], str)
