"""Messages are kept whole: every spelling is read, no field is lost, and none of another row is filled in."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, Json, List

from ftp.cli.predict import _file
from ftp.data import chat_rows, messages, tables, turns
from ftp.data.convert import convert
from ftp.data.loading import _stored
from ftp.data.read import read
from ftp.errors import UserError
from ftp.forms import detect

ASK = {"role": "user", "content": "Weather?"}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": {"town": "Oslo", "days": 1}}}
CALLS: list[Any] = [
    ASK,
    {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "I must look."},
    {"role": "tool", "tool_call_id": "c1", "name": "weather", "content": "sunny"},
    {"role": "assistant", "content": "Sunny.", "weight": 0},
]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "default": None}}}]
OTHER = [{"type": "function", "function": {"name": "bank", "parameters": {"account": 1.0, "ids": [1, 2.5]}}}]


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read_as(path: Path, form: Any, **how: Any) -> list[Any]:
    rows = read(path, **how)["train"]
    converted = convert(rows, form, form)
    return list(converted)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("chunk", [1, 10_000])
def test_rows_come_back_as_they_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, streaming: bool
) -> None:
    monkeypatch.setattr("ftp.data.chunks.CHUNK_ROWS", chunk)
    plain = [ASK, {"role": "assistant", "content": "Rain."}]
    rows = [{"messages": plain}, {"messages": CALLS, "tools": TOOLS}, {"messages": plain, "tools": OTHER}]
    rows = rows[1:] + rows[:1] if streaming else rows  # a stream takes its columns from its first rows
    rows_read = read_as(written(tmp_path / "a.jsonl", rows), "conversation", streaming=streaming)
    assert json.dumps([row["messages"] for row in rows_read]) == json.dumps([row["messages"] for row in rows])
    assert json.dumps([row["tools"] for row in rows_read]) == json.dumps([row.get("tools") for row in rows])


@pytest.mark.parametrize("chunk", [1, 10_000])
def test_held_out_rows_of_a_stream_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr("ftp.data.chunks.CHUNK_ROWS", chunk)
    numbers = [{"a": 1, "b": None}, {"a": 2.5, "c": [2**70]}, {}]
    calls = [{"type": "function", "function": {"name": "f", "arguments": value}} for value in numbers]
    rows = [{"messages": [ASK, {"role": "assistant", "content": None, "tool_calls": [call]}], "tools": tools}
            for call, tools in zip(calls, (TOOLS, OTHER, None), strict=True)]
    stream = convert(read(written(tmp_path / "a.jsonl", rows), streaming=True)["train"], "conversation", "conversation")
    kept = tables.to_rows(_stored(stream, "validation"))
    assert json.dumps([{name: row[name] for name in ("messages", "tools")} for row in kept]) == json.dumps(rows)


def test_numbers_of_any_size_come_back() -> None:
    value = [{"a": 0.12345678901234567, "b": 2**70, "c": 1e-12, "d": 1.0, "e": 59.913868, "f": "é\u2028", "g": {}}]
    rows = tables.from_rows([{"x": value}, {"x": [{"a": None}]}])
    assert json.dumps(rows[0]["x"]) == json.dumps(value) and rows[1]["x"] == [{"a": None}]
    assert json.dumps(tables.to_rows(rows)[0]["x"]) == json.dumps(value)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("kind", [Json(), List(Json())], ids=["JSON", "list of JSON"])
def test_json_columns_that_datasets_wrote_lose_no_digit(tmp_path: Path, kind: Any, streaming: bool) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": 2**63 + 1, "y": 0.12345678901234567}}}
    talks = [[ASK, {"role": "assistant", "content": None, "tool_calls": [call]}], CALLS]
    cells: list[Any] = [json.dumps(talk) for talk in talks]
    if isinstance(kind, List):
        cells = [list(map(json.dumps, talk)) for talk in talks]
    features = Features({"messages": kind, "tools": Json()})
    rows = Dataset.from_dict({"messages": cells, "tools": [json.dumps(TOOLS), json.dumps(OTHER)]}, features=features)
    rows.save_to_disk(tmp_path / "saved")
    rows.to_parquet(tmp_path / "rows.parquet")
    for source in (tmp_path / "saved", tmp_path / "rows.parquet"):
        rows_read = read_as(source, "conversation", streaming=streaming)
        assert json.dumps([row["messages"] for row in rows_read]) == json.dumps(talks)
        assert json.dumps([row["tools"] for row in rows_read]) == json.dumps([TOOLS, OTHER])


def test_a_null_of_a_struct_in_a_parquet_file_is_no_field(tmp_path: Path) -> None:
    nulls = dict.fromkeys(set().union(*CALLS))  # a struct of Arrow has every field in every turn
    struct = [{**nulls, **turn} for turn in CALLS]
    pq.write_table(pa.table({"messages": [struct]}), tmp_path / "a.parquet")
    assert read_as(tmp_path / "a.parquet", "conversation")[0]["messages"] == CALLS


def test_answers_with_other_fields_are_still_questions(tmp_path: Path) -> None:
    answers = {"text": ["a"], "answer_start": [0]}
    rows = [{"question": "q", "context": "a b", "answers": {**answers, **more}} for more in ({}, {"n": 1})]
    rows_read = read_as(written(tmp_path / "a.jsonl", rows), "question")
    assert [row["answers"] for row in rows_read] == [answers] * 2


def in_capitals(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn in the spelling of ShareGPT, with the names of roles that some exports write."""
    speakers = {"user": "Human", "assistant": "GPT", "tool": "Observation"}
    others = {name: value for name, value in turn.items() if name not in ("role", "content")}
    return {"from": speakers[turn["role"]], "value": turn["content"], **others}


SPELLINGS: dict[str, Any] = {
    "json text": {"messages": json.dumps(CALLS)},
    "python text": {"messages": str(CALLS)},
    "capitals": {"conversations": [in_capitals(turn) for turn in CALLS]},
    "prompt and completion": {"prompt": CALLS[:1], "completion": CALLS[1:]},
}


@pytest.mark.parametrize("row", SPELLINGS.values(), ids=SPELLINGS)
def test_no_field_is_lost_in_any_spelling(row: Any) -> None:
    assert chat_rows.conversation(row) == CALLS


def test_turns_that_call_tools_are_the_assistants() -> None:
    call = {"name": "weather", "arguments": {"town": "Oslo"}}
    conversation = chat_rows.conversation({"conversations": [
        {"from": "human", "value": "?"}, {"from": "function_call", "value": json.dumps(call)},
        {"from": "observation", "value": "sunny"}, {"from": "function_call", "value": json.dumps([call, call])},
        {"from": "function_call", "value": "I shall look"}, {"from": "gpt", "value": "Sunny."}]})
    assert [turn["role"] for turn in conversation] == ["user", "assistant", "tool", "assistant", "assistant", "assistant"]
    assert conversation[1] == {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": call}]}
    assert len(conversation[3]["tool_calls"]) == 2 and conversation[4]["content"] == "I shall look"
    older = messages.read_message({"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}})
    assert older["tool_calls"] == [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]
    as_function = messages.read_message({"role": "function", "name": "f", "content": "3"})
    assert as_function == {"role": "tool", "name": "f", "content": "3"}
    assert chat_rows.tools({"functions": [{"name": "f"}]}) == [{"type": "function", "function": {"name": "f"}}]


@pytest.mark.parametrize("role", ["User", "HUMAN", "prompter"])
def test_roles_are_known_in_any_case(role: str) -> None:
    assert messages.read_message({"role": role, "content": "a"})["role"] == "user"
    assert messages.read_message({"from": "AI", "value": "a"})["role"] == "assistant"
    assert messages.read_message({"role": "Critic", "content": "a"})["role"] == "Critic", "a template may know it"


@pytest.mark.parametrize(("field", "is_learnt"), [
    ({}, True), ({"train": True}, True), ({"weight": 1.0}, True), ({"loss": None}, True),
    ({"weight": 0}, False), ({"train": 0}, False), ({"training": False}, False), ({"loss": False}, False), ({"loss": 0.0}, False),
])
def test_every_way_to_say_that_a_turn_is_not_learnt(field: Any, is_learnt: bool) -> None:
    assert turns.is_trained(messages.read_message({"role": "assistant", "content": "a", **field})) is is_learnt


def test_two_system_turns_are_no_guess() -> None:
    answer = {"role": "assistant", "content": "Rain."}
    talk = [{"role": "system", "content": "Be kind."}, ASK, answer]
    with pytest.raises(turns.Unfit, match="another system turn in its messages than in the column system"):
        chat_rows.conversation({"system": "Be rude.", "messages": talk})
    with pytest.raises(turns.Unfit, match="another system turn"):
        chat_rows.preference({"system": "Be rude.", "chosen": talk, "rejected": [*talk[:2], {**answer, "content": "Sun."}]})
    assert chat_rows.conversation({"system": "Be kind. ", "messages": talk}) == talk


HH = "\n\nHuman: Weather?\n\nAssistant:"


def test_a_transcript_that_repeats_its_prompt_says_it_once() -> None:
    row = {"prompt": HH, "chosen": f"{HH} Rain.", "rejected": f"{HH} No.", "completion": f"{HH} Rain."}
    rain = [{"role": "assistant", "content": "Rain."}]
    assert chat_rows.preference(row) == ([ASK], rain, [{"role": "assistant", "content": "No."}])
    assert chat_rows.conversation(row) == [ASK, *rain]
    other = row["completion"].replace("Weather", "Tea")  # what a model wrote, as some rows of hh-rlhf have it
    assert chat_rows.conversation({**row, "completion": other}) == [ASK, {"role": "assistant", "content": other}]


def test_messages_that_repeat_their_prompt_say_it_once() -> None:
    talk = [ASK, {"role": "assistant", "content": "Rain."}]
    assert chat_rows.conversation({"prompt": [ASK], "completion": talk}) == talk


@pytest.mark.parametrize(("row", "message"), [
    ({"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, r"type 'image_url' in messages\[1\].content\[0\]"),
    ({"role": "user", "content": None}, r"a message without a role or without text \(messages\[1\]\)"),
    ({"role": "user", "content": 3}, r"without text \(messages\[1\].content\)"),
    ({"role": "assistant", "content": "a", "weight": 0.5}, r"the weight 0.5 in messages\[1\].weight"),
    ({"role": "assistant", "content": "a", "train": "no"}, r"holds 'no' in messages\[1\].train"),
    ({"role": "assistant", "content": "a", "train_detail": [{"begin_offset": 0, "end_offset": 1, "train": False}]},
     r"says in messages\[1\].train_detail which letters"),
    ({"role": "assistant", "content": "a", "tool_calls": "call"}, r"not JSON \(messages\[1\].tool_calls"),
    ({"role": "assistant", "content": "a", "tool_calls": [3]}, r"messages\[1\].tool_calls where a list of calls belongs"),
])
def test_what_cannot_be_read_names_the_row_and_the_field(row: Any, message: str) -> None:
    rows = tables.from_rows([{"messages": [ASK, CALLS[3]]}, {"messages": [ASK, row]}])
    with pytest.raises(UserError, match=f"row 1 .*{message}"):
        convert(rows, "conversation", "conversation")


def test_all_rows_that_cannot_be_read_are_counted() -> None:
    rows = tables.from_rows([{"messages": [ASK, CALLS[3] if number < 3 else {"role": "assistant"}]} for number in range(10)])
    with pytest.raises(UserError) as caught:
        convert(rows, "conversation", "conversation", source_name="mine")
    problems = [problem.what for problem in caught.value.problems]
    assert [problem[:10] for problem in problems[:5]] == [f"mine: row {number}"[:10] for number in range(3, 8)]
    assert problems[5:] == ["mine: 7 rows cannot be read; the first, counted from 0: [3, 4, 5, 6, 7]"]


def test_a_broken_cell_of_messages_is_no_question_of_the_user() -> None:
    with pytest.raises(turns.Unfit, match="text in messages that is not JSON"):
        chat_rows.conversation({"messages": '[{"role": "user", "content": '})


@pytest.mark.parametrize(("cell", "why"), [
    ('[{"role": "user", "content": "a"}, {"role": ', "holds messages as text in prompt that are not JSON"),
    ('[{"content": "a", "role": "user"}', "holds messages as text in prompt that are not JSON"),
    ('{"role": "user", "content": "a"', "holds messages as text in prompt that are not JSON"),
    (' {"role": "user", "content": "a"}', "holds one message as text in prompt where a list"),
    ('[{"role": "admin", "content": "x"}]', "holds a list as text in prompt with the role 'admin', which is none of"),
])
def test_a_prompt_that_may_be_messages_or_data_is_no_guess(cell: str, why: str) -> None:
    rows = tables.from_rows([{"prompt": "Hello", "completion": "a"}, {"prompt": cell, "completion": "b"}])
    with pytest.raises(UserError, match=rf"mine: row 1 {why}"):
        convert(rows, "conversation", "conversation", source_name="mine")


@pytest.mark.parametrize("cell", [
    '{"name": "admin"}', '[{"id": 1}]', "[{'role' is a word", '{"role": "admin"}', '[{"id": 1', '{"from": 0, ',
])
def test_a_prompt_that_is_data_is_asked_as_it_is(cell: str) -> None:
    turns_of_row = chat_rows.conversation({"prompt": cell, "completion": "a"})
    assert turns_of_row[0] == {"role": "user", "content": cell}


def test_a_prompt_that_is_json_of_messages_is_read_as_messages() -> None:
    assert chat_rows.conversation({"prompt": json.dumps([ASK]), "completion": "a"})[0] == ASK


def test_parts_of_text_are_kept_and_rows_of_them_differ() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    turn = messages.read_message({"role": "user", "content": parts})
    assert turn["content"] == parts and turns.words(turn) == "a\nb"
    from ftp.data.splits import words
    rows = [{"messages": [{"role": "user", "content": [{"type": "text", "text": f"Say {n}"}]}, CALLS[3]]} for n in range(2)]
    assert words(rows[0], "conversation") == "say 0" and words(rows[1], "conversation") == "say 1"


@pytest.mark.parametrize(("row", "asked"), [
    ({"instruction": "Name it.", "context": "FACT.", "response": "A"}, "Name it.\n\nFACT."),
    ({"instruction": "Name it.", "input": "FACT.", "response": "A"}, "Name it.\n\nFACT."),
    ({"prompt": "Name it.", "response": "A"}, "Name it."),
    ({"question": "Name it.", "context": "FACT.", "answer": "A"}, "FACT.\n\nName it."),
    ({"question": "Name it.", "response": "A"}, "Name it."),
])
def test_columns_of_prompt_and_answer(row: Any, asked: str) -> None:
    assert detect(row) == "conversation"
    rows = convert(Dataset.from_list([row]), "conversation", "conversation")
    assert rows[0]["messages"] == [{"role": "user", "content": asked}, {"role": "assistant", "content": "A"}]
    pair = {name: value for name, value in row.items() if name not in ("response", "answer")}
    parts = chat_rows.preference({**pair, "chosen": "A", "rejected": "B", "system": "Be brief."})
    assert parts[0] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": asked}]


SYSTEM = {"role": "system", "content": "Be brief."}
AGAIN = {"role": "user", "content": "Weather? \n"}  # the question of ASK, but for white space
GOOD = {"role": "assistant", "content": "A"}
BAD = {"role": "assistant", "content": "B"}


@pytest.mark.parametrize("row", [
    {"chosen": [SYSTEM, ASK, GOOD], "rejected": [SYSTEM, AGAIN, BAD]},
    {"chosen": [SYSTEM, ASK, GOOD], "rejected": [ASK, BAD]},
    {"prompt": "Weather?", "chosen": [SYSTEM, AGAIN, GOOD], "rejected": [SYSTEM, ASK, BAD]},
    {"prompt": [SYSTEM, ASK], "chosen": [AGAIN, GOOD], "rejected": [ASK, BAD]},
    {"prompt": [ASK], "system": "Be brief.", "chosen": [ASK, GOOD], "rejected": [BAD]},
    {"system": "Be brief.", "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
    {"question": "Weather?", "system": "Be brief.", "chosen": json.dumps([ASK, GOOD]), "rejected": "B"},
])  # fmt: skip
def test_a_prompt_is_never_doubled(row: Any) -> None:
    assert chat_rows.preference(row) == ([SYSTEM, ASK], [GOOD], [BAD])


DEVELOPER = {"role": "developer", "content": "Be brief."}
HELLO = {"role": "assistant", "content": "Hello."}


@pytest.mark.parametrize(("prompt", "row"), [
    ([DEVELOPER, ASK], {"prompt": [DEVELOPER, ASK], "chosen": [DEVELOPER, ASK, GOOD], "rejected": [ASK, BAD]}),
    ([DEVELOPER, ASK], {"prompt": [ASK], "chosen": [DEVELOPER, ASK, GOOD], "rejected": [DEVELOPER, ASK, BAD]}),
    ([DEVELOPER, ASK], {"chosen": [DEVELOPER, ASK, GOOD], "rejected": [ASK, BAD]}),
    ([HELLO, ASK], {"prompt": [HELLO, ASK], "chosen": [HELLO, ASK, GOOD], "rejected": [HELLO, ASK, BAD]}),
])  # fmt: skip
def test_a_prompt_that_begins_with_another_role_is_never_doubled(prompt: Any, row: Any) -> None:
    assert chat_rows.preference(row) == (prompt, [GOOD], [BAD])



def test_the_last_question_of_several_turns_stands_for_all_of_them() -> None:
    more = [ASK, GOOD, {"role": "user", "content": "Sure?"}]
    row = {"prompt": "Sure?", "chosen": [*more, GOOD], "rejected": [*more, BAD]}
    assert chat_rows.preference(row) == (more, [GOOD], [BAD])
    with pytest.raises(turns.Unfit, match="another question in chosen"):
        chat_rows.preference({**row, "prompt": "What?"})


def test_text_of_a_conversation_has_its_calls_and_tools() -> None:
    rows = tables.from_rows([{"messages": CALLS, "tools": TOOLS}])
    text = convert(rows, "conversation", "text")[0]["text"]
    assert all(word in text for word in ("I must look.", '"name": "weather"', '"town": "Oslo"', "sunny", '"default": null'))


def test_rows_to_answer_from_a_parquet_file_have_no_fields_of_other_rows(tmp_path: Path) -> None:
    rows = [{"messages": [ASK], "tools": TOOLS}, {"messages": [ASK], "tools": OTHER}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "ask.parquet")
    settings = SimpleNamespace(columns=(), max_decompressed=None)
    run = SimpleNamespace(settings=settings, hooks=SimpleNamespace(seen_by=lambda domain, run: run))
    predictor: Any = SimpleNamespace(run=run, data=SimpleNamespace(form="conversation"))
    first, second = _file(tmp_path / "ask.parquet", predictor, "", None)
    assert "account" not in json.dumps(first) and "default" not in json.dumps(second)
    assert second["tools"] == OTHER
