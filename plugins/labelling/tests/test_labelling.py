"""Exports of tools for annotation, as rows with our columns."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from ftp.data.read import read
from ftp.data.target_form import shape
from ftp.errors import UserError
from ftp_labelling.words import find_words

TEXT = "Anna lives in Lima."
WORDS = ["Anna", "lives", "in", "Lima", "."]
PER, LOC = ["B-PER", "O", "O", "O", "O"], ["B-PER", "O", "O", "B-LOC", "O"]
SPANS = [[0, 4, "PER"], [14, 18, "LOC"]]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTP_CACHE", str(tmp_path / "cache"))


def rows_of(path: Path, rows: Any) -> tuple[list[dict[str, Any]], str]:
    text = json.dumps(rows) if path.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text)
    notes: list[str] = []
    return list(read(path, notes=notes)["train"]), "\n".join(notes)


def task(result: list[dict[str, Any]], data: Any = None, **more: Any) -> dict[str, Any]:
    return {"id": 1, "data": data or {"text": TEXT}, "annotations": [{"result": result, **more}]}


def marked(start: int, end: int, label: str, text: str = TEXT) -> dict[str, Any]:
    return {
        "type": "labels",
        "from_name": "l",
        "to_name": "text",
        "value": {"start": start, "end": end, "text": text[start:end], "labels": [label]},
    }


def choice(*names: str) -> dict[str, Any]:
    return {"type": "choices", "to_name": "text", "value": {"choices": list(names)}}


TAGGED = [
    ("doccano.jsonl", {"id": 1, "text": TEXT, "label": SPANS, "Comments": []}),
    ("doccano-old.jsonl", {"id": 1, "text": TEXT, "labels": SPANS}),
    (
        "doccano-relations.jsonl",
        {
            "id": 1,
            "text": TEXT,
            "relations": [{"id": 3, "from_id": 1, "to_id": 2, "type": "in"}],
            "entities": [
                {"id": i, "label": tag, "start_offset": start, "end_offset": end}
                for i, (start, end, tag) in enumerate(SPANS)
            ],
        },
    ),
    ("studio.json", task([marked(0, 4, "PER"), marked(14, 18, "LOC")])),
    (
        "studio-min.json",
        {
            "id": 1,
            "text": TEXT,
            "annotation_id": 4,
            "annotator": 1,
            "lead_time": 2.5,
            "label": [marked(0, 4, "PER")["value"], marked(14, 18, "LOC")["value"]],
        },
    ),
    (
        "prodigy.jsonl",
        {
            "id": 1,
            "text": TEXT,
            "answer": "accept",
            "_task_hash": 5,
            "tokens": [
                {"text": word, "start": start, "end": end, "id": i}
                for i, (word, (start, end)) in enumerate(zip(WORDS, find_words(TEXT), strict=True))
            ],
            "spans": [{"start": start, "end": end, "label": tag} for start, end, tag in SPANS],
        },
    ),
    (
        "argilla1.jsonl",
        {
            "id": 1,
            "text": TEXT,
            "tokens": WORDS,
            "prediction": None,
            "status": "Validated",
            "annotation": [["PER", 0, 4], ["LOC", 14, 18]],
        },
    ),
    (
        "argilla2.json",
        {
            "id": 1,
            "fields": {"text": TEXT},
            "status": "completed",
            "suggestions": {},
            "responses": {
                "ner": [
                    {
                        "user_id": "u",
                        "value": [{"start": start, "end": end, "label": tag} for start, end, tag in SPANS],
                    }
                ]
            },
        },
    ),
    ("spacy.json", [TEXT, {"entities": SPANS}]),
]


@pytest.mark.parametrize(("name", "row"), TAGGED, ids=[name for name, _ in TAGGED])
def test_spans_become_words_with_tags(tmp_path: Path, name: str, row: Any) -> None:
    rows, notes = rows_of(tmp_path / name, [row, row])
    assert rows[0]["tokens"] == WORDS and rows[0]["tags"] == LOC and len(rows) == 2 and "read as" in notes
    assert ("2 rows have relations, which are left out" in notes) == ("relations" in name)
    split, names, _ = shape(read(tmp_path / name), "tagged")
    assert names == ("O", "B-LOC", "B-PER") and split["train"][0]["tags"] == [2, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([[0, 3, "PER"]], "cuts the word 'Anna'"),
        ([[0, 10, "PER"], [5, 13, "X"]], "overlaps"),
        ([[14, 40, "LOC"]], "not within the 19 characters"),
        ([[4, 5, "PER"]], "holds blanks only"),
    ],
)
def test_a_span_that_no_words_hold_is_an_error_with_its_row(tmp_path: Path, spans: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        rows_of(
            tmp_path / "a.jsonl",
            [{"text": TEXT, "label": SPANS}, {"text": TEXT, "label": spans}, {"text": TEXT, "label": spans}],
        )
    assert "a.jsonl" in str(caught.value) and message in str(caught.value)
    assert "2 rows cannot be read; the first: line 2:" in str(caught.value) and "line 3:" in str(caught.value)
    with pytest.raises(UserError, match="line 2:"):  # a stream stops at the first
        list(read(tmp_path / "a.jsonl", streaming=True)["train"])


def test_a_row_that_no_tool_writes_is_an_error_and_no_crash(tmp_path: Path) -> None:
    row = {"text": "fine", "options": [{"id": "good"}], "accept": ["good"], "answer": "accept"}
    with pytest.raises(UserError, match="read as Prodigy: 1 rows cannot be read; the first: line 2: reading it failed"):
        rows_of(tmp_path / "a.jsonl", [row, {**row, "accept": 5}])


def test_spans_with_blanks_at_their_ends_and_longer_ones(tmp_path: Path) -> None:
    rows, _ = rows_of(
        tmp_path / "a.jsonl",
        [{"text": "In New York now", "label": [[2, 12, "LOC"]]}, {"text": "no", "label": []}],
    )
    assert rows[0]["tags"] == ["O", "B-LOC", "I-LOC", "O"] and rows[1]["tags"] == ["O"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("naïve co-op, 3.5%", ["naïve", "co", "-", "op", ",", "3", ".", "5", "%"]),
        ("我在利马", ["我", "在", "利", "马"]),
        ("क्या है?", ["क्या", "है", "?"]),
        ("กิน ข้าว", ["กิ", "น", "ข้", "า", "ว"]),
    ],
)
def test_words_of_scripts_with_and_without_blanks(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in find_words(text)] == words


LABELLED = [
    (
        "doccano.jsonl",
        {"text": "fine", "label": ["good"]},
        {"text": "none", "label": []},
        "1 rows left out, as they have no label",
    ),
    (
        "studio.json",
        task([choice("good")], {"text": "fine"}),
        task([], {"text": "x"}),
        "1 tasks left out, as their annotation is empty",
    ),
    (
        "studio-skipped.json",
        task([choice("good")], {"text": "fine"}),
        task([], was_cancelled=True),
        "1 tasks left out, as they were skipped",
    ),
    (
        "prodigy.jsonl",
        {"text": "fine", "options": [{"id": "good"}, {"id": "bad"}], "accept": ["good"], "answer": "accept"},
        {"text": "x", "options": [{"id": "good"}], "accept": [], "answer": "reject"},
        "1 rows left out, as their answer is 'reject'",
    ),
    (
        "prodigy-label.jsonl",
        {"text": "fine", "label": "good", "answer": "accept"},
        {"text": "x", "label": "bad", "answer": "ignore"},
        "1 rows left out, as their answer is 'ignore'",
    ),
    (
        "argilla1.jsonl",
        {"text": "fine", "prediction": [["bad", 0.9]], "annotation": "good", "status": "Validated"},
        {"text": "x", "prediction": [["bad", 0.9]], "annotation": None, "status": "Default"},
        "1 records left out, as nobody",
    ),
    (
        "argilla2.jsonl",
        {
            "fields": {"text": "fine"},
            "responses": {"label": [{"value": "good", "user_id": "u"}]},
            "suggestions": {},
        },
        {"fields": {"text": "x"}, "responses": {}, "suggestions": {}},
        "1 records left out, as they have neither",
    ),
    (
        "argilla-feedback.jsonl",
        {
            "fields": {"text": "fine"},
            "suggestions": [{"question_name": "label", "value": "bad"}],
            "responses": [{"status": "submitted", "values": {"label": {"value": "good"}}}],
        },
        {"fields": {"text": "x"}, "responses": [{"status": "discarded", "values": {}}], "suggestions": []},
        "1 records left out",
    ),
    (
        "argilla-hub.jsonl",
        {
            "status": "completed",
            "text": "fine",
            "label.responses": ["good", "bad"],
            "label.suggestion": None,
            "label.responses.status": ["submitted", "draft"],
        },
        {"status": "discarded", "text": "x", "label.responses": ["bad"]},
        "1 records left out, as they were discarded",
    ),
]


@pytest.mark.parametrize(("name", "row", "without", "note"), LABELLED, ids=[case[0] for case in LABELLED])
def test_classes_become_labels_and_what_has_none_is_left_out_and_told(
    tmp_path: Path, name: str, row: Any, without: Any, note: str
) -> None:
    rows, notes = rows_of(tmp_path / name, [row, without, row])
    assert [(each["text"], each["label"]) for each in rows] == [("fine", "good")] * 2 and note in notes


def test_several_classes_of_a_row_are_left_to_those_who_read_several(tmp_path: Path) -> None:
    rows, notes = rows_of(
        tmp_path / "a.jsonl", [{"text": "x", "label": ["a", "b"]}, {"text": "y", "label": ["a"]}]
    )
    assert rows[0]["label"] == ["a", "b"] and not notes
    with pytest.raises(UserError, match=r"row 1: 2 choices are made \(a, b\); one label a row is read"):
        rows_of(tmp_path / "a.json", [task([choice("a")]), task([choice("a", "b")])])


def test_what_annotators_disagree_on_is_told(tmp_path: Path) -> None:
    def answered(*values: str) -> dict[str, Any]:
        return {
            "fields": {"text": "x"},
            "responses": {"label": [{"value": value} for value in values]},
            "suggestions": {"label": {"value": "sure"}},
        }

    rows, notes = rows_of(tmp_path / "a.jsonl", [answered("a", "b", "b"), answered("a", "b"), answered()])
    assert [row["label"] for row in rows] == ["b", "a", "sure"]
    assert (
        "2 records have responses that differ" in notes
        and "1 records have no response, so that the suggestion is read" in notes
    )
    twice = {
        "id": 1,
        "data": {"text": "x"},
        "annotations": [{"result": [choice("a")]}, {"result": [choice("b")], "ground_truth": True}],
    }
    rows, notes = rows_of(tmp_path / "b.json", [twice])
    assert rows[0]["label"] == "b" and "1 tasks have several annotations" in notes


def test_label_studio_hypertext_emoji_and_offsets_that_do_not_fit(tmp_path: Path) -> None:
    html = "<p>Anna &amp; Bo live in <b>Lima</b>.</p>"
    span = {
        "type": "hypertextlabels",
        "to_name": "html",
        "value": {
            "start": "/p[1]/b[1]/text()[1]",
            "end": "/p[1]/b[1]/text()[1]",
            "globalOffsets": {"start": 18, "end": 22},
            "text": "Lima",
            "hypertextlabels": ["LOC"],
        },
    }
    rows, _ = rows_of(tmp_path / "a.json", [task([span], {"html": html})])
    assert (
        rows[0]["tokens"] == ["Anna", "&", "Bo", "live", "in", "Lima", "."] and rows[0]["tags"][5] == "B-LOC"
    )
    smile = "😀 Anna"  # browsers count the sign as two
    rows, _ = rows_of(
        tmp_path / "b.json",
        [
            task(
                [{**marked(3, 7, "PER"), "value": {"start": 3, "end": 7, "text": "Anna", "labels": ["PER"]}}],
                {"text": smile},
            )
        ],
    )
    assert rows[0]["tokens"] == ["😀", "Anna"] and rows[0]["tags"] == ["O", "B-PER"]
    with pytest.raises(UserError, match=r"row 0: a span marks 'Anna', but the text has"):
        rows_of(
            tmp_path / "c.json",
            [
                task(
                    [
                        {
                            **marked(5, 9, "PER"),
                            "value": {"start": 5, "end": 9, "text": "Anna", "labels": ["PER"]},
                        }
                    ]
                )
            ],
        )


def test_label_studio_preferences_answers_and_conversations(tmp_path: Path) -> None:
    pair = {"type": "pairwise", "to_name": "answer1,answer2", "value": {"selected": "right"}}
    rows, _ = rows_of(
        tmp_path / "a.json", [task([pair], {"prompt": "Why?", "answer1": "No.", "answer2": "So."})]
    )
    assert rows[0] == {"id": 1, "prompt": "Why?", "chosen": "So.", "rejected": "No."}
    written = {"type": "textarea", "to_name": "prompt", "value": {"text": ["So."]}}
    rows, _ = rows_of(tmp_path / "b.json", [task([written], {"prompt": "Why?"})])
    assert rows[0] == {"id": 1, "prompt": "Why?", "completion": "So."}
    answers = [
        {"type": "chatmessage", "value": {"chatmessage": {"role": role, "content": text}}}
        for role, text in (("user", "Hi"), ("assistant", "Ho"))
    ]
    rows, _ = rows_of(
        tmp_path / "c.json", [task(answers, {"chat": [{"role": "system", "content": "Be kind."}]})]
    )
    assert [message["content"] for message in rows[0]["messages"]] == ["Be kind.", "Hi", "Ho"]


def test_argilla_rankings_become_preferences(tmp_path: Path) -> None:
    record = {
        "fields": {"instruction": "Why?", "one": "No.", "two": "So."},
        "suggestions": {},
        "responses": {"best": [{"value": [{"value": "one", "rank": 2}, {"value": "two", "rank": 1}]}]},
    }
    rows, _ = rows_of(tmp_path / "a.jsonl", [record])
    assert (rows[0]["prompt"], rows[0]["chosen"], rows[0]["rejected"]) == ("Why?", "So.", "No.")


def test_prodigy_tokens_whose_offsets_do_not_fit_are_read_by_their_numbers(tmp_path: Path) -> None:
    tokens = [{"text": word, "start": 0, "end": 1, "id": i} for i, word in enumerate(WORDS)]
    row = {
        "text": TEXT,
        "tokens": tokens,
        "answer": "accept",
        "spans": [{"start": 0, "end": 10, "token_start": 0, "token_end": 1, "label": "X"}],
    }
    rows, _ = rows_of(tmp_path / "a.jsonl", [row])
    assert rows[0]["tags"] == ["B-X", "I-X", "O", "O", "O"]


def chat_message(role: str, content: str, at: int, **more: Any) -> dict[str, Any]:
    message = {"role": role, "content": content, "createdAt": at, **more}
    return {
        "id": f"m{at}",
        "type": "chatmessage",
        "from_name": "chat",
        "to_name": "chat",
        "origin": "manual",
        "value": {"chatmessage": message},
    }


def test_label_studio_chats_stand_in_the_order_of_their_times_with_all_their_fields(tmp_path: Path) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    results = [
        chat_message("assistant", "Sunny.", 30),
        chat_message("user", "Weather?", 10),
        chat_message("assistant", "", 20, tool_calls=[call]),
        {"type": "rating", "id": "m30", "to_name": "chat", "value": {"rating": 4}},
        {"type": "choices", "id": "m30", "to_name": "chat", "value": {"choices": ["kind"]}},
    ]
    shown = [{"text": "Rate what follows."}, {"role": "system", "content": "Be kind.", "name": "desk"}]
    rows, notes = rows_of(tmp_path / "a.json", [task(results, {"chat": shown})])
    assert rows[0]["messages"] == [
        {"role": "system", "content": "Be kind.", "name": "desk"},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "assistant", "content": "Sunny."},
    ]
    assert "1 tasks have choices beside chatmessage, which are not read" in notes
    assert "results of the type rating, which is not read" in notes
    assert "1 tasks have texts without a role before their messages" in notes


def test_label_studio_json_min_of_pairs_and_chats(tmp_path: Path) -> None:
    own = {"id": 7, "annotator": 1, "annotation_id": 4, "created_at": "2025", "updated_at": "2025", "lead_time": 2.5}
    pair = {"prompt": "Why?", "text1": "No.", "text2": "So.", "pw": [{"selected": "right"}], **own}
    rows, notes = rows_of(tmp_path / "a.json", [pair, {**pair, "pw": []}])
    assert rows == [{"id": 7, "prompt": "Why?", "chosen": "So.", "rejected": "No."}]
    assert "1 rows left out, as nothing was chosen or written" in notes
    written = [chat_message("assistant", "Ho", 2)["value"], chat_message("user", "Hi", 1)["value"]]
    rows, _ = rows_of(tmp_path / "b.json", [{"chat": written, **own}])
    assert rows == [{"id": 7, "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}]


def test_one_task_of_label_studio_is_a_row_and_not_its_annotations(tmp_path: Path) -> None:
    rows, notes = rows_of(tmp_path / "a.json", task([choice("good")], {"text": "fine"}))
    assert [(row["text"], row["label"]) for row in rows] == [("fine", "good")]
    assert "read as Label Studio" in notes


def test_results_that_are_not_read_are_told_as_such(tmp_path: Path) -> None:
    ranked = {"type": "ranker", "to_name": "answers", "value": {"ranker": ["b", "a"]}}
    read_task = task([choice("good")], {"text": "fine"})
    _, notes = rows_of(tmp_path / "a.json", [read_task, task([ranked], {"text": "x"})])
    assert "1 tasks left out, as nothing in their annotation is read" in notes
    assert "1 tasks have results of the type ranker, which is not read" in notes


def ranked_record(value: Any, **more: Any) -> dict[str, Any]:
    fields = {"instruction": "Why?", "one": "No.", "two": "So.", "three": "Hm."}
    responses = {"best": [{"value": value, "user_id": "u"}]}
    return {"id": "r1", "fields": fields, "metadata": {}, "suggestions": {}, "responses": responses, "vectors": {},
            "_server_id": "s1", **more}  # fmt: skip


def test_argilla_rankings_of_several_texts_and_ties(tmp_path: Path) -> None:
    ranks = [{"value": "one", "rank": 2}, {"value": "two", "rank": 1}, {"value": "three", "rank": 3}]
    tied = [{**rank, "rank": 1} for rank in ranks]
    records = [ranked_record(["two", "one", "three"]), ranked_record(ranks), ranked_record(tied)]
    rows, notes = rows_of(tmp_path / "a.json", records)
    assert [(row["prompt"], row["chosen"], row["rejected"]) for row in rows] == [("Why?", "So.", "Hm.")] * 2
    assert "2 records rank more than two texts, of which the best and the worst are read" in notes
    assert "1 records left out, as they rank all texts alike" in notes
    others = [{"value": "reply-1", "rank": 1}, {"value": "reply-2", "rank": 2}]
    with pytest.raises(UserError, match="it ranks reply-1, reply-2, which are none of its texts: instruction, one"):
        rows_of(tmp_path / "b.json", [ranked_record(others)])


def test_argilla_records_by_their_ids(tmp_path: Path) -> None:
    rows, _ = rows_of(tmp_path / "a.json", {"r1": ranked_record(["two", "one"]), "r2": ranked_record(["one", "two"])})
    assert [row["chosen"] for row in rows] == ["So.", "No."]


def test_argilla_chats_with_ratings_and_answers(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi"}]
    rated = {"fields": {"chat": turns}, "suggestions": {}, "responses": {"rating": [{"value": 4, "user_id": "u"}]}}
    rows, _ = rows_of(tmp_path / "a.json", [rated])
    assert rows == [{"messages": turns, "label": 4}]
    answered = {**rated, "responses": {"response": [{"value": "Ho", "user_id": "u"}]}}
    rows, _ = rows_of(tmp_path / "b.json", [answered])
    assert rows == [{"prompt": turns, "completion": "Ho"}]


ANSWERED = {"user_id": "u", "value": "good", "status": "submitted"}


@pytest.mark.parametrize(
    "answered",
    [
        [{**ANSWERED, "value": "bad", "status": "discarded"}, ANSWERED],
        {"user_id": ["v", "u"], "value": ["bad", "good"], "status": ["draft", "submitted"]},
    ],
)
def test_argilla_feedback_data_sets_of_the_hub(tmp_path: Path, answered: Any) -> None:
    nothing = {"type": None, "score": None, "agent": None}
    record = {"text": "fine", "label": answered, "label-suggestion": "bad", "label-suggestion-metadata": nothing,
              "external_id": "e1", "metadata": "{}"}  # fmt: skip
    empty = {**record, "label": [], "label-suggestion": None}
    rows, notes = rows_of(tmp_path / "a.jsonl", [record, {**record, "label": []}, empty])
    assert [(row["id"], row["text"], row["label"]) for row in rows] == [("e1", "fine", "good"), ("e1", "fine", "bad")]
    assert "1 records have no response, so that the suggestion is read" in notes
    assert "1 records left out, as they have neither a response nor a suggestion" in notes


def test_argilla_flat_records_without_a_status(tmp_path: Path) -> None:
    record = {"id": "r1", "_server_id": "s1", "text": "fine", "label.responses": ["good"], "label.responses.users": ["u"],
              "label.responses.status": ["submitted"]}  # fmt: skip
    suggested = {"id": "r2", "_server_id": "s2", "text": "so", "label.suggestion": "bad", "label.suggestion.score": 0.5,
                 "label.suggestion.agent": "m"}  # fmt: skip
    rows, _ = rows_of(tmp_path / "a.jsonl", [record, suggested])
    assert rows == [{"id": "r1", "text": "fine", "label": "good"}, {"id": "r2", "text": "so", "label": "bad"}]


def test_argilla_data_sets_as_parquet_and_saved(tmp_path: Path) -> None:
    flat = {"id": "r1", "status": "completed", "_server_id": "s1", "text": "fine", "label.responses": ["good", "bad"],
            "label.responses.users": ["u", "v"], "label.responses.status": ["submitted", "draft"]}  # fmt: skip
    table = pa.Table.from_pylist([flat, {**flat, "status": "discarded"}])
    pq.write_table(table, tmp_path / "a.parquet")
    Dataset(table).save_to_disk(tmp_path / "saved")
    for source in (tmp_path / "a.parquet", tmp_path / "saved"):
        notes: list[str] = []
        assert list(read(source, notes=notes)["train"]) == [{"id": "r1", "text": "fine", "label": "good"}]
        assert "1 records left out, as they were discarded" in "\n".join(notes)
    feedback = {"text": "fine", "label": [ANSWERED], "label-suggestion": None, "external_id": None}
    pq.write_table(pa.Table.from_pylist([feedback]), tmp_path / "b.parquet")
    assert list(read(tmp_path / "b.parquet")["train"]) == [{"text": "fine", "label": "good"}]
    both = {**feedback, "label": [ANSWERED, {**ANSWERED, "value": ["x", "y"]}]}
    (tmp_path / "c.jsonl").write_text(json.dumps(both))  # what people disagree on stays their first answer
    assert next(iter(read(tmp_path / "c.jsonl")["train"]))["label"] == "good"


def test_doccano_of_version_1(tmp_path: Path) -> None:
    spans = [
        {"id": 1, "text": "Anna sings", "annotations": [{"id": 1, "label": 2, "start_offset": 0, "end_offset": 4, "user": 1}]},
        {"id": 2, "text": "It rains", "annotations": []},
    ]
    rows, notes = rows_of(tmp_path / "a.jsonl", spans)
    assert [row["tags"] for row in rows] == [["B-2", "O"], ["O", "O"]]
    assert "read as doccano 1.0" in notes and "1 rows have labels that are numbers" in notes
    bad = [{"id": 1, "label": 1, "label_name": "bad", "user": user} for user in (1, 2)]
    classes = [{"id": 1, "text": "Rude.", "annotations": bad, "meta": {}, "annotation_approver": "x"},
               {"id": 2, "text": "Why?", "annotations": []}]  # fmt: skip
    rows, notes = rows_of(tmp_path / "b.jsonl", classes)
    assert rows == [{"id": 1, "text": "Rude.", "label": "bad"}] and "1 rows left out, as they have no label" in notes
    several = {"id": 3, "text": "So.", "annotations": [*bad, {"label": 2, "label_name": "good", "user": 2}]}
    with pytest.raises(UserError, match="line 2: its labels are bad, good; one label a row is read"):
        rows_of(tmp_path / "c.jsonl", [classes[0], several])
