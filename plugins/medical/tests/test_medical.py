"""The medical domain: its sample, its scores, the public sets it reads, and a run from rows to fields."""

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
from ftp_medical import SAMPLE, Medical
from ftp_testing.advice import follow
from ftp_testing.domains import a_run
from ftp_testing.models import tiny
from ftp_testing.samples import column_of, scores_of

SETS = Path(os.environ.get("FTP_DATA") or "no-public-sets")
FIELDS = {"heart", "lungs", "digestion", "nerves", "skin", "bones", "mind"}


def data_of(form: Form, data: Path | None = None, **settings: Any) -> Data:
    run = a_run(form, str(data) if data else None, **settings)
    return settle(Medical().load_data(run), run)[0]


def test_sentences_of_the_sample_are_in_one_split_only_and_fields_are_even() -> None:
    splits = read(SAMPLE / "labelled")
    texts = [text.lower() for text in column_of(splits, "text")]
    assert len(texts) == len(set(texts)) == 210
    for rows in splits.values():
        counts = Counter(rows["label"])
        assert set(counts) == FIELDS and len(set(counts.values())) == 1


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
    assert (total, lacking) == (64, 10)


def test_perfect_answers_score_one_and_a_constant_one_does_not() -> None:
    data = data_of("labelled")
    rows = data.splits["test"]

    assert scores_of(Medical(), data, rows["label"][:]) == {"accuracy": 1.0, "macro_f1": 1.0, "mcc": 1.0}
    assert scores_of(Medical(), data, [0] * len(rows)) == pytest.approx({"accuracy": 1 / 7, "macro_f1": (2 / 8) / 7, "mcc": 0.0})


def test_a_decoder_reads_questions_as_conversations_and_is_scored() -> None:
    data = data_of("conversation")
    rows = data.splits["test"]
    answers = [messages[-1]["content"] for messages in rows["messages"]]
    assert scores_of(Medical(), data, answers) == {
        "exact_match": 1.0, "f1": 1.0, "no_answer_accuracy": 1.0, "f1_answerable": 1.0}
    assert rows[0]["messages"][0]["content"].startswith(tuple(read(SAMPLE / "question")["test"]["context"]))


def public(name: str, folder: Path, count: int = 40) -> Path:
    """Some rows of a public set as a folder of its own."""
    source = SETS / f"{name}/train.jsonl.xz"
    if not source.exists():
        pytest.skip(f"{name}: the public sets are not here")
    with lzma.open(source, "rt", encoding="utf-8") as file:
        (folder / "train.jsonl").write_text("".join(islice(file, 0, 10 * count, 10)), encoding="utf-8")
    return folder


@pytest.mark.parametrize(("name", "form"), [
    ("medical_abstracts", "labelled"), ("ohsumed", "labelled"), ("pubmedqa", "labelled"), ("pubmedqa", "conversation"),
    ("pubmedqa", "text"), ("medquad", "conversation"), ("medquad", "text"), ("medical_abstracts", "conversation")])
def test_public_sets_are_read_as_they_are(name: str, form: Form, tmp_path: Path) -> None:
    folder = public(name, tmp_path)
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    data = data_of(form, folder)
    rows_read = list(chain.from_iterable(data.splits.values()))
    assert len(rows_read) == len(rows)
    first = next(row for row in rows_read if row["id"] == rows[0]["id"])
    if form == "labelled":
        assert data.labels[first["label"]] == rows[0]["label_name"]
    if name == "pubmedqa":
        want = {"labelled": ("text", rows[0]["question"]), "text": ("text", rows[0]["context"])}
        if form in want:
            assert first[want[form][0]] == want[form][1]
        else:
            assert [turn["role"] for turn in first["messages"]] == ["user", "assistant"]
            assert first["messages"][1]["content"] == rows[0]["long_answer"]
            assert rows[0]["question"] in first["messages"][0]["content"]
    if name == "medquad" and form == "conversation":
        assert first["messages"][1]["content"] == rows[0]["answer"]


def test_pubmedqa_made_by_hand(tmp_path: Path) -> None:
    lines = [{"id": str(number), "question": f"Does drug {number} help?", "context": f"We gave drug {number} to mice.",
              "long_answer": f"Drug {number} may help.", "label": number % 3} for number in range(12)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert {"text", "text_pair", "label"} <= set(data_of("labelled", tmp_path).splits["train"].column_names)
    talk = data_of("conversation", tmp_path).splits["train"]
    assert len(talk) + len(data_of("conversation", tmp_path).splits["validation"]) == 12
    assert all("may help" in turns[-1]["content"] and "mice" in turns[0]["content"] for turns in talk["messages"])


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
def test_a_run_answers_with_fields_and_tells_of_identifiers(tmp_path: Path) -> None:
    done = ftp.run(["full", "medical"], model=str(tiny("bert", tmp_path / "model")), out=tmp_path / "run", max_steps=2,
                   max_train_rows=40, baselines=False, verify=False, device="cpu", cache_dir=tmp_path / "cache")
    assert ftp.load(tmp_path / "run").predict(["The rash itches."])[0]["answer"] in FIELDS
    assert {risk.name: risk.level for risk in done.risks}["identifiers"] == "ok"


@pytest.mark.slow
def test_identifiers_of_rows_are_nowhere_in_the_folder_of_a_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Rows that leak and rows that are answered wrong are shown, without what identifies a person; or masked from the start."""
    secrets = ("Osterwald", "q.osterwald@clinic.example", "020 7946 0958", "12/03/1961")
    who = f"Patient: Quentin {secrets[0]}, born {secrets[3]}, phone {secrets[2]}, mail {secrets[1]}."
    rows = [{"text": f"{'The cough is dry. ' * (n % 5)}{who} Visit {n} ", "label": sorted(FIELDS)[n % 7]} for n in range(70)]
    for split, part in {"train": rows[:50], "validation": rows[40:]}.items():
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    options = {"model": str(tiny("bert", tmp_path / "model")), "data": str(tmp_path), "max_steps": 2, "baselines": False,
               "verify": False, "device": "cpu", "cache_dir": tmp_path / "cache", "leakage.stop_exact": 1.0,
               "leakage.stop_sure": 1.0}
    done = ftp.run(["full", "medical", "-forgetting"], out=tmp_path / "run", **options)
    risks = {risk.name: risk for risk in done.risks}
    assert risks["leakage"].level == risks["identifiers"].level == "warn"
    shown = (tmp_path / "run" / "examples.json").read_text() + (tmp_path / "run" / "report.html").read_text()
    assert "[phone number]" in shown and "[name]" in shown and "[phone number]" in json.dumps(dict(risks["leakage"].evidence))
    output = capfd.readouterr()
    for secret in secrets:
        assert secret not in output.out + output.err
        for path in (tmp_path / "run").rglob("*"):
            assert not path.is_file() or secret.encode() not in path.read_bytes(), path
    for line in risks["identifiers"].advice:
        follow(line)
    masked = ftp.run(["full", "medical", "-forgetting"], out=tmp_path / "masked", **{**options, "medical.mask": True})
    assert {risk.name: risk.level for risk in masked.risks}["identifiers"] == "ok"
