"""SQuAD's own JSON, and rows whose answers are objects."""

import json
from pathlib import Path
from typing import Any

import pytest

from ftp.data.read import read
from ftp.data.target_form import shape
from ftp.errors import UserError


def rows_of(path: Path, rows: Any) -> tuple[list[dict[str, Any]], str]:
    text = json.dumps(rows) if path.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text)
    notes: list[str] = []
    return list(read(path, notes=notes)["train"]), "\n".join(notes)


def squad(version: str) -> dict[str, Any]:
    context = "The old mill was built in 1820."
    answer = {"text": "1820", "answer_start": 26}
    questions: list[dict[str, Any]] = [{"id": "a", "question": "When?", "answers": [answer, answer]}]
    if version == "v2.0":
        questions[0]["is_impossible"] = False
        questions.append(
            {
                "id": "b",
                "question": "Who?",
                "answers": [],
                "plausible_answers": [answer],
                "is_impossible": True,
            }
        )
    return {
        "version": version,
        "data": [{"title": "Mill", "paragraphs": [{"context": context, "qas": questions}] * 2}],
    }


@pytest.mark.parametrize(("version", "unanswered"), [("1.1", 0), ("v2.0", 2)])
def test_squads_own_json(tmp_path: Path, version: str, unanswered: int) -> None:
    rows, notes = rows_of(tmp_path / "a.json", squad(version))
    assert (
        len(rows) == 2 + unanswered
        and f"{len(rows)} questions, {unanswered} of them without an answer" in notes
    )
    assert (
        rows[0]["answers"] == {"text": ["1820", "1820"], "answer_start": [26, 26]}
        and rows[0]["title"] == "Mill"
    )
    assert rows[-1]["answers"]["text"] == ([] if unanswered else ["1820", "1820"])
    assert shape(read(tmp_path / "a.json"), "question")[0]["train"].num_rows == len(rows)


def test_squads_faults_and_rows_with_answers_as_objects(tmp_path: Path) -> None:
    whole = squad("1.1")
    del whole["data"][0]["paragraphs"][1]["qas"][0]["answers"][0]["answer_start"]
    with pytest.raises(
        UserError,
        match=r"article 0, paragraph [01], question a: the answer .* has no text or no answer_start",
    ):
        rows_of(tmp_path / "a.json", whole)
    del whole["data"][0]["paragraphs"][0]["context"]
    with pytest.raises(UserError, match=r"article 0, paragraph 0 has no context"):
        rows_of(tmp_path / "a.json", whole)
    row = {"question": "When?", "context": "In 1820.", "answers": [{"text": "1820", "answer_start": 3}]}
    rows, _ = rows_of(tmp_path / "b.jsonl", [row, {**row, "answers": []}])
    assert rows[0]["answers"] == {"text": ["1820"], "answer_start": [3]} and rows[1]["answers"] == {
        "text": [],
        "answer_start": [],
    }
