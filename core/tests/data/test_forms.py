from typing import Any

import pytest
from datasets import Dataset, IterableDataset

from ftp.data.convert import convert
from ftp.errors import UserError
from ftp.forms import all_forms, detect, fits, offers, reachable


def convert_row(row: dict[str, Any], source: Any, target: Any, labels: tuple[str, ...] = ()) -> dict[str, Any]:
    return convert(Dataset.from_list([row]), source, target, labels)[0]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize(
    ("columns", "form"),
    [
        ("id text label", "labelled"),
        ("text_a text_b label label_name", "labelled"),
        ("text", "text"),
        ("tokens ner_tags", "tagged"),
        ("id question context answers", "question"),
        ("messages tools", "conversation"),
        ("prompt completion", "conversation"),
        ("instruction input output history", "conversation"),
        ("question answer", "conversation"),
        ("prompt chosen rejected", "preference"),
        ("messages chosen rejected", "preference"),
        ("messages label", "feedback"),
        ("prompt completion label", "feedback"),
        ("prompt answer", "prompt"),
        ("a b", None),
    ],
)
def test_detect(columns: str, form: str | None) -> None:
    assert detect(columns.split()) == form


def test_a_question_with_choices_is_no_conversation() -> None:
    """Its answer is a number, whatever package reads such rows."""
    assert "conversation" not in offers(["question", "choices", "answer"])


def test_reachable_goes_downhill_only() -> None:
    assert reachable(["labelled"]) == {"labelled", "conversation", "text", "prompt"}
    assert reachable(["text"]) == {"text"}
    assert reachable(["preference"]) == {"preference", "conversation", "prompt", "text"}
    assert fits(["text", "preference"], "prompt")
    assert not fits(["labelled", "text"], "preference")
    assert all(form in reachable([form]) for form in all_forms())
    with pytest.raises(UserError, match="'text' cannot be read as 'preference'"):
        convert(Dataset.from_list([{"text": "a"}]), "text", "preference")


def test_labelled_becomes_a_conversation_with_the_name_of_the_label() -> None:
    row = {"text": "fine film", "label": 1, "stars": 5}
    converted = convert_row(row, "labelled", "conversation", ("negative", "positive"))
    assert converted["messages"] == [user("fine film"), assistant("positive")]
    assert converted["stars"] == 5
    pair = convert_row({"text_a": "a", "text_b": "b", "label": "same"}, "labelled", "conversation")
    assert pair["messages"] == [user("a\n\nb"), assistant("same")]
    with pytest.raises(UserError, match="row 0 has the label 3"):
        convert_row({"text": "a", "label": 3}, "labelled", "conversation", ("x", "y"))


def test_questions_without_an_answer_say_so() -> None:
    row = {"question": "Who?", "context": "Ann sang.", "answers": {"text": ["Ann", "Ann sang"], "answer_start": [0, 0]}}
    assert convert_row(row, "question", "conversation")["messages"] == [user("Ann sang.\n\nWho?"), assistant("Ann")]
    none = Dataset.from_list([row, {**row, "answers": {"text": [], "answer_start": []}}])
    assert convert(none, "question", "conversation")[1]["messages"][-1]["content"] == "The text does not answer this question."
    assert convert_row(row, "question", "text")["text"] == "Ann sang.\n\nWho?"


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [user("q"), assistant("a")]},
        {"messages": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        {"prompt": "q", "completion": "a"},
        {"prompt": [user("q")], "completion": [assistant("a")]},
        {"instruction": "q", "input": "", "output": "a"},
        {"question": "q", "answer": "a"},
    ],
)
def test_conversations_in_every_spelling(row: dict[str, Any]) -> None:
    assert convert_row(row, "conversation", "conversation")["messages"] == [user("q"), assistant("a")]
    assert convert_row(row, "conversation", "text")["text"] == "q\n\na"
    asked = convert_row(row, "conversation", "prompt")
    assert (asked["prompt"], asked["completion"]) == ([user("q")], [assistant("a")])


def test_alpaca_input_history_and_system() -> None:
    row = {"instruction": "Add", "input": "1 2", "output": "3", "history": [["hi", "hello"]], "system": "Be brief."}
    messages = [{"role": "system", "content": "Be brief."}, user("hi"), assistant("hello"), user("Add\n\n1 2"), assistant("3")]
    assert convert_row(row, "conversation", "conversation")["messages"] == messages


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"input": 1}, "holds the number 1 in input where text belongs"),
        ({"instruction": 7}, "holds the number 7 in instruction where text belongs"),
        ({"output": 2.5}, "holds the number 2.5 in output where text or a list of messages belongs"),
        ({"system": 3}, "holds the number 3 in system where text belongs"),
        ({"history": [["hi", "hello", "you"]]}, "in history where a pair of texts belongs"),
        ({"history": "hi"}, "holds 'hi' in history where a list of pairs belongs"),
    ],
)
def test_alpaca_columns_that_hold_no_text_are_named(changed: dict[str, Any], message: str) -> None:
    row = {"instruction": "Add", "input": "1 2", "output": "3", "history": [["hi", "hello"]], "system": "Be brief.", **changed}
    with pytest.raises(UserError, match=f"row 0 {message}" if message.startswith("holds") else f"row 0 .*{message}"):
        convert_row(row, "conversation", "conversation")


def test_canonical_conversations_are_left_alone() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}
    rows = Dataset.from_list([{"messages": [{**user("q"), "tool_calls": None}, call]}])
    converted = convert(rows, "conversation", "conversation")
    assert converted[0]["messages"] == [user("q"), call], "a null of a struct is a field that the message does not have"
    assert convert(converted, "conversation", "conversation") is converted


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "chosen": "good", "rejected": "bad"},
        {"prompt": [user("q")], "chosen": [assistant("good")], "rejected": [assistant("bad")]},
        {"prompt": "q", "chosen": [user("q"), assistant("good")], "rejected": [user("q"), assistant("bad")]},
        {"messages": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt", "value": "good"},
         "rejected": {"from": "gpt", "value": "bad"}},
        {"chosen": [user("q"), assistant("good")], "rejected": [user("q"), assistant("bad")]},
        {"chosen": "\n\nHuman: q\n\nAssistant: good", "rejected": "\n\nHuman: q\n\nAssistant: bad"},
        {"prompt": "Human: q\n\nAssistant:", "chosen": "good", "rejected": "bad"},
    ],
)  # fmt: skip
def test_preferences_in_every_spelling(row: dict[str, Any]) -> None:
    converted = convert_row(row, "preference", "preference")
    assert converted["prompt"] == [user("q")]
    assert (converted["chosen"], converted["rejected"]) == ([assistant("good")], [assistant("bad")])
    assert convert_row(row, "preference", "conversation")["messages"] == [user("q"), assistant("good")]
    assert convert_row(row, "preference", "prompt")["prompt"] == [user("q")]


def test_a_preference_without_a_prompt_is_refused() -> None:
    with pytest.raises(UserError, match="row 1 has no prompt"):
        same = {"chosen": [user("q"), assistant("a")], "rejected": [user("q"), assistant("b")]}
        other = {"chosen": [user("q"), assistant("a")], "rejected": [user("r"), assistant("b")]}
        convert(Dataset.from_list([same, other]), "preference", "preference")


def test_feedback_keeps_only_good_rows_as_conversation() -> None:
    rows = Dataset.from_list(
        [{"messages": [user("q"), assistant("a")], "label": True}, {"messages": [user("q"), assistant("b")], "label": False}]
    )
    converted = convert(rows, "feedback", "feedback")
    assert converted[1]["prompt"] == [user("q")]
    assert converted[1]["completion"] == [assistant("b")]
    assert converted["label"][:] == [True, False]
    assert [row["messages"][-1]["content"] for row in convert(rows, "feedback", "conversation")] == ["a"]
    words = convert_row({"prompt": "q", "completion": "a", "label": "good"}, "feedback", "feedback")
    assert words["label"] is True
    with pytest.raises(UserError, match="rating 'so-so'"):
        convert_row({"prompt": "q", "completion": "a", "label": "so-so"}, "feedback", "feedback")


def test_tagged_and_streams() -> None:
    assert convert_row({"tokens": ["a", "b"], "ner_tags": ["O", "B-x"]}, "tagged", "text")["text"] == "a b"
    stream = IterableDataset.from_generator(lambda: iter([{"prompt": "q", "completion": "a"}]))
    assert next(iter(convert(stream, "conversation", "text")))["text"] == "q\n\na"


def test_offers_lists_every_reading() -> None:
    assert offers(["prompt", "chosen", "rejected"]) == ("preference", "prompt")
    assert offers(["text", "label", "messages"]) == ("feedback", "labelled", "conversation", "text")
