"""The law domain: its sample, its scores, the public sets it reads, and a run from rows to kinds of clauses."""

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
from ftp_law import SAMPLE, Law
from ftp_testing.domains import a_run
from ftp_testing.models import tiny
from ftp_testing.samples import column_of, scores_of

SETS = Path(os.environ.get("FTP_DATA") or "no-public-sets")
KINDS = {"payment", "term and termination", "confidentiality", "liability", "intellectual property", "disputes and law",
         "data protection", "assignment and change"}


def data_of(form: Form, data: Path | None = None, **settings: Any) -> Data:
    run = a_run(form, str(data) if data else None, **settings)
    return settle(Law().load_data(run), run)[0]


def test_clauses_of_the_sample_are_in_one_split_only_and_kinds_are_even() -> None:
    splits = read(SAMPLE / "labelled")
    texts = [text.lower() for text in column_of(splits, "text")]
    assert len(texts) == len(set(texts)) == 224
    for rows in splits.values():
        counts = Counter(rows["label"])
        assert set(counts) == KINDS and len(set(counts.values())) == 1


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

    assert scores_of(Law(), data, rows["label"][:]) == {"accuracy": 1.0, "macro_f1": 1.0, "mcc": 1.0}
    assert scores_of(Law(), data, [0] * len(rows)) == pytest.approx({"accuracy": 1 / 8, "macro_f1": (2 / 9) / 8, "mcc": 0.0})


def test_a_decoder_reads_questions_as_conversations_and_is_scored() -> None:
    data = data_of("conversation")
    rows = data.splits["test"]
    answers = [messages[-1]["content"] for messages in rows["messages"]]
    assert scores_of(Law(), data, answers) == {
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


@pytest.mark.parametrize("name", ["legal_overruling", "contract_clauses"])
@pytest.mark.parametrize("form", ["labelled", "conversation", "text"])
def test_classes_of_public_sets_are_read_as_they_are(name: str, form: Form, tmp_path: Path) -> None:
    folder = public(f"{name}/train", tmp_path)
    rows = {row["id"]: row for row in map(json.loads, (folder / "train.jsonl").read_text(encoding="utf-8").splitlines())}
    data = data_of(form, folder)
    rows_read = list(chain.from_iterable(data.splits.values()))
    assert len(rows_read) == len(rows)
    for row in rows_read:
        text, kind = rows[row["id"]]["text"], rows[row["id"]]["label_name"]
        if form == "labelled":
            assert (row["text"], data.labels[row["label"]]) == (text, kind)
        elif form == "conversation":
            assert [turn["content"] for turn in row["messages"]] == [text, kind]
        else:
            assert row["text"] == text


@pytest.mark.parametrize("form", ["question", "conversation", "text"])
def test_questions_about_policies_are_read_as_they_are(form: Form, tmp_path: Path) -> None:
    folder = public("policyqa/train", tmp_path)
    rows = {row["id"]: row for row in map(json.loads, (folder / "train.jsonl").read_text(encoding="utf-8").splitlines())}
    rows_read = list(chain.from_iterable(data_of(form, folder).splits.values()))
    assert len(rows_read) == len(rows)
    for row in rows_read:
        asked = rows[row["id"]]
        if form == "question":
            assert row["answers"] == asked["answers"]
        elif form == "conversation":
            question, answer = (turn["content"] for turn in row["messages"])
            assert answer == asked["answers"]["text"][0] and asked["question"] in question
        else:
            assert asked["context"] in row["text"]


def test_judgments_that_share_cases_are_told(tmp_path: Path) -> None:
    folder = public("corpus/law_cases-00", tmp_path)
    risk = Law().check_risks(a_run("text"), "data", data_of("text", folder))[0]
    assert risk.name == "same case" and risk.evidence["rows_that_cite"]["train"] > 20


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
def test_a_run_answers_with_kinds_and_tells_of_citations(tmp_path: Path) -> None:
    done = ftp.run(["full", "law"], model=str(tiny("bert", tmp_path / "model")), out=tmp_path / "run", max_steps=2,
                   max_train_rows=60, baselines=False, verify=False, report=False, device="cpu", cache_dir=tmp_path / "cache")
    assert ftp.load(tmp_path / "run").predict(["The rent is due."])[0]["answer"] in KINDS
    assert {risk.name: risk.level for risk in done.risks}["same case"] == "not_run"  # the sample cites nothing


def test_what_many_training_rows_cite_is_told_and_not_called_absent(tmp_path: Path) -> None:
    from datasets import Dataset

    from ftp.types import Data
    from ftp_law.citations import verdict

    texts = [f"The rule stands. See Smith v. Jones, {100 + at % 20} U.S. {200 + at % 20} (1950)." for at in range(200)]
    splits = {"train": Dataset.from_dict({"text": texts[:160]}), "validation": Dataset.from_dict({"text": texts[160:]})}
    risk = verdict(None, Data(splits, "text"), 1000, 0.02)  # type: ignore[arg-type]
    assert risk.level == "note" and "authorities" in risk.finding and "100|us|200" in risk.evidence["authorities"]
