"""What core says of files that only other packages read, where none of them is installed: nothing is misread in silence."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ftp.data.read import read
from ftp.data.readers import exports, registered, squad
from ftp.errors import UserError


@pytest.fixture(autouse=True)
def core_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registered, "all_readers", dict)
    monkeypatch.setattr(exports, "all_exports", lambda: {"squad": squad.EXPORT})


def error_of(path: Path, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        list(read(path, **options)["train"])
    assert path.name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["a.xlsx", "a.conll", "a.conllu.gz"])
def test_a_format_of_another_package_names_those_that_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    message = error_of(tmp_path / name)
    assert "are not read" in message and ".csv .tsv .jsonl .ndjson .json .txt .parquet" in message
    assert "did you mean" not in message


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(("name", "text"), [
    ("a.txt", "Anna B-PER\nsings O\n\nSo O\n"),
    ("a.tsv", "Anna\tB-PER\nsings\tO\n"),
])
def test_tagged_words_are_neither_texts_nor_a_table(tmp_path: Path, name: str, text: str, streaming: bool) -> None:
    (tmp_path / name).write_text(text)
    assert "words with their tags" in error_of(tmp_path / name, streaming=streaming)
    if name == "a.txt":
        assert list(read(tmp_path / name, text_by="document")["train"]) == [{"text": text.strip()}]


@pytest.mark.parametrize(("rows", "sign"), [
    ([{"text": "a", "label": "x", "answer": "accept"}, {"text": "b", "answer": "reject"}], "accept, reject, ignore"),
    ([{"id": 1, "data": {"text": "a"}, "annotations": [{"result": []}]}], "objects data, and lists of annotations"),
    ([{"fields": {"text": "a"}, "responses": {"label": [{"value": "x"}]}}], "objects fields, and responses"),
    ([{"text": "a", "annotation": "x", "prediction": None, "status": "Discarded"}], "annotation and prediction"),
    ([{"text": "a", "label.responses": ["x"], "status": "discarded"}], "the responses to each question"),
    ([{"text": "Anna sings", "label": [[0, 4, "PER"]]}, {"text": "So", "label": []}], "texts with spans"),
    ([{"id": 1, "text": "a", "annotations": [{"label": 2, "start_offset": 0, "end_offset": 1, "user": 1}]},
      {"id": 2, "text": "b", "annotations": []}], "doccano 1.0"),
    ([{"text": "a", "annotations": [{"label": 1, "label_name": "bad", "user": 1}], "meta": {}}], "doccano 1.0"),
    ([{"text": "fine", "label": [{"user_id": "u", "value": "good", "status": "submitted"}], "label-suggestion": None,
       "external_id": None}], "Argilla 1"),
    ([{"inputs": {"text": "a"}, "annotation": "x", "prediction": None}], "annotation and prediction beside the inputs"),
    ([{"id": 7, "prompt": "Why?", "text1": "No.", "text2": "So.", "pw": [{"selected": "right"}], "annotation_id": 4},
      {"id": 8, "prompt": "Why?", "text1": "No.", "text2": "So.", "pw": [], "annotation_id": 5}], "JSON-MIN"),
    ([{"text": "Anna sings", "label": [{"start": 0, "end": 4, "labels": ["PER"]}], "annotation_id": 4}], "JSON-MIN"),
])
def test_annotations_are_no_plain_rows(tmp_path: Path, rows: list[dict[str, Any]], sign: str) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    message = error_of(tmp_path / "a.jsonl")
    assert sign in message and "no installed package reads them" in message
    assert message.endswith("try: ftp install ftp-labelling")
    (tmp_path / "b.json").write_text(json.dumps(rows))
    assert sign in error_of(tmp_path / "b.json")


def test_annotations_in_a_table_are_no_plain_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "label.responses": [["x"]], "status": ["discarded"]}), tmp_path / "a.parquet")
    assert "the responses to each question" in error_of(tmp_path / "a.parquet")
    answered = [{"user_id": "u", "value": "good", "status": "submitted"}]
    old = {"text": "fine", "label": answered, "label-suggestion": None, "external_id": None}
    pq.write_table(pa.Table.from_pylist([old]), tmp_path / "b.parquet")
    assert "as Argilla 1 has them" in error_of(tmp_path / "b.parquet")


@pytest.mark.parametrize("row", [
    {"text": "a", "label": "x", "answer": "yes"},
    {"text": "a", "answer": "accept"},
    {"tokens": ["a"], "tags": ["O"], "text": "a", "spans": [[0, 1, "X"]]},
    {"text": "a", "label": ["x", "y"]},
    {"text": "a", "sentiment": "Positive", "annotator": 1, "annotation_id": 4},
    {"text": "a", "label": "x", "external_id": 7},
    {"text": "a", "annotations": [], "label": "x"},
    {"question": "q", "context": "c", "answers": [{"text": "c", "answer_start": 0}]},
])
def test_plain_rows_are_read(tmp_path: Path, row: dict[str, Any]) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    assert len(read(tmp_path / "a.jsonl")["train"]) == 1


def test_rows_are_read_anew_once_a_package_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftp.data.tables.IN_MEMORY", 1)
    (tmp_path / "a.jsonl").write_text(json.dumps({"note": "a"}) + "\n")
    assert list(read(tmp_path / "a.jsonl")["train"]) == [{"note": "a"}]
    layout = exports.Layout("a tool", lambda rows: all("note" in row for row in rows), lambda row, tally: {"text": row["note"]})
    monkeypatch.setattr(exports, "all_exports", lambda: {"tool": exports.Export("tool", (layout,))})
    notes: list[str] = []
    assert list(read(tmp_path / "a.jsonl", notes=notes)["train"]) == [{"text": "a"}]
    assert notes == [f"{tmp_path / 'a.jsonl'}: read as a tool"]
