"""Chat templates: one BOS, the end of a turn trained, the assistant's tokens exact or refused."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from ftp.data.turns import Unfit
from ftp.errors import UserError
from ftp.losses import chat_template, conversations
from ftp_testing.models import tiny_tokenizer

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is the capital of Norway?"},
    {"role": "assistant", "content": "Oslo."},
    {"role": "user", "content": "Seven plus five?"},
    {"role": "assistant", "content": "42, no: twelve."},
]
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
    "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
FORGETFUL = (  # earlier answers are shown otherwise than the last one
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' and loop.last %}{{ '(thought) ' }}"
    "{% endif %}{{ m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def prepared(kind: str, template: str | None) -> tuple[Any, conversations.Chat]:
    tokenizer = tiny_tokenizer(kind)  # type: ignore[arg-type]
    tokenizer.chat_template = template
    return tokenizer, chat_template.prepare(tokenizer)


def learnt_texts(tokenizer: Any, encoded_talk: Any) -> list[str]:
    """The stretches of a conversation that are trained."""
    assert not isinstance(encoded_talk, Unfit), encoded_talk
    return [tokenizer.decode(encoded_talk.ids[start:end]) for start, end in encoded_talk.spans]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_default_template_trains_answers_and_their_end(kind: str) -> None:
    tokenizer, chat = prepared(kind, None)
    encoded_talk = chat.encode([TALK])[0]
    assert learnt_texts(tokenizer, encoded_talk) == [f" Oslo.{tokenizer.eos_token}", f" 42, no: twelve.{tokenizer.eos_token}"]
    assert chat.stop == (tokenizer.eos_token_id,)
    assert encoded_talk.ids[: len(chat.prompt(TALK[:2]))] == chat.prompt(TALK[:2])
    assert encoded_talk.ids[: len(chat.prompt(TALK[:4]))] == chat.prompt(TALK[:4])


@pytest.mark.parametrize("arguments", [{"town": "Oslo"}, '{"town": "Oslo"}'])
def test_the_default_template_writes_tools_calls_and_what_they_gave(arguments: Any) -> None:
    tokenizer, chat = prepared("gpt2", None)
    call = {"type": "function", "function": {"name": "weather", "arguments": arguments}}
    talk: list[Any] = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call, call]},
        {"role": "tool", "content": {"sun": None}},
        {"role": "assistant", "content": "Wait.", "tool_calls": [call]},
    ]
    encoded_talk = chat.encode([talk], [[call]])[0]
    written, end = json.dumps(call["function"]), tokenizer.eos_token
    assert learnt_texts(tokenizer, encoded_talk) == [f" {written} {written}{end}", f" Wait. {written}{end}"]
    assert not isinstance(encoded_talk, Unfit) and "None" not in tokenizer.decode(encoded_talk.ids)
    assert tokenizer.decode(encoded_talk.ids).startswith(f"Tools: {json.dumps(call)}\n\nUser: Weather?")
    assert 'Tool: {"sun": null}' in tokenizer.decode(encoded_talk.ids)


@pytest.mark.parametrize("talk, tools, part", [
    ([{"role": "user", "content": "x"}, {"role": "tool", "content": "y"}, *TALK], None, "messages[1] (role tool)"),
    ([{"role": "tool", "content": "y"}, *TALK], None, "messages[0] (role tool)"),
    (TALK, [{"name": "f"}], "its tools"),
])
def test_a_refusal_of_the_template_names_the_part(talk: Any, tools: Any, part: str) -> None:
    refusing = ("{% if tools %}{{ raise_exception('no tools') }}{% endif %}"
                "{% for m in messages if m.role == 'tool' %}{{ raise_exception('no tool') }}{% endfor %}")
    _, chat = prepared("llama", refusing + CHATML)
    refused = chat.encode([talk], [tools])[0]
    assert str(refused).startswith(f"is refused by the chat template at {part}: TemplateError: no tool")
    with pytest.raises(Unfit, match=re.escape(part)):
        chat.prompt(talk, tools)


def test_there_is_one_bos() -> None:
    tokenizer, chat = prepared("llama", None)
    assert chat.encode([TALK])[0].ids.count(tokenizer.bos_token_id) == 1
    assert chat.prompt(TALK[:2]).count(tokenizer.bos_token_id) == 1
    tokenizer.chat_template = "{{ bos_token + bos_token }}" + CHATML
    with pytest.raises(UserError, match="two BOS"):
        chat_template.prepare(tokenizer)


@pytest.mark.parametrize("template", [CHATML, MARKED])
def test_turns_end_with_their_token_with_and_without_markers(template: str) -> None:
    tokenizer, chat = prepared("llama", template)
    assert learnt_texts(tokenizer, chat.encode([TALK])[0]) == ["Oslo.<|im_end|>", "42, no: twelve.<|im_end|>"]
    assert learnt_texts(tokenizer, chat.encode([TALK], which="last")[0]) == ["42, no: twelve.<|im_end|>"]
    assert chat.encode([TALK], which="all")[0].spans == [(0, len(chat.encode([TALK])[0].ids))]
    assert chat.stop == (tokenizer.convert_tokens_to_ids("<|im_end|>"), tokenizer.eos_token_id)
    assert any("no BOS" in note for note in chat.notes)


def test_the_eos_is_added_where_a_template_writes_no_end() -> None:
    plain = ("{% for m in messages %}{{ m.role + ':' + m.content + '\n' }}{% endfor %}"
             "{% if add_generation_prompt %}assistant:{% endif %}")
    tokenizer, chat = prepared("gpt2", plain)
    encoded_talk = chat.encode([TALK])[0]
    assert encoded_talk.ids[-1] == tokenizer.eos_token_id and encoded_talk.spans[-1][1] == len(encoded_talk.ids)
    assert any("no end of turn" in note for note in chat.notes)


def test_a_word_never_ends_an_answer() -> None:
    """Markers around the words and a line break behind them: no end is trained, which is told, and "." is no end."""
    open_ended = ("{% for m in messages %}{% if m.role == 'assistant' %}assistant:{% generation %}{{ ' ' + m.content }}"
                  "{% endgeneration %}{% else %}{{ 'user: ' + m.content }}{% endif %}{{ '\n' }}{% endfor %}"
                  "{% if add_generation_prompt %}assistant:{% endif %}")
    tokenizer, chat = prepared("gpt2", open_ended)
    assert chat.stop == (tokenizer.eos_token_id,)
    assert any("will not learn to stop" in note for note in chat.notes)


def test_a_template_that_changes_earlier_turns_is_refused() -> None:
    tokenizer, chat = prepared("llama", FORGETFUL)
    refused = chat.encode([TALK])[0]
    assert isinstance(refused, Unfit) and "up to message 2" in str(refused)
    assert learnt_texts(tokenizer, chat.encode([TALK], which="last")[0]) == ["(thought) 42, no: twelve.<|im_end|>"]


def test_a_marked_version_serves_where_it_gives_the_same_text() -> None:
    same = FORGETFUL.replace("{% if m.role == 'assistant' and loop.last %}",
                             "{% if m.role == 'assistant' %}{% generation %}{% if loop.last %}")
    same = same.replace("{% endif %}{{ m.content + '<|im_end|>\n' }}",
                        "{% endif %}{{ m.content + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
                        "{% else %}{{ m.content + '<|im_end|>\n' }}{% endif %}")
    tokenizer, _ = prepared("llama", FORGETFUL)
    chat = chat_template.prepare(tokenizer, marked=lambda: same)
    assert learnt_texts(tokenizer, chat.encode([TALK])[0]) == ["Oslo.<|im_end|>", "(thought) 42, no: twelve.<|im_end|>"]
    other = chat_template.prepare(tokenizer, marked=lambda: MARKED)
    assert isinstance(other.encode([TALK])[0], Unfit), "another text than the template's own must not be trained"


def test_a_prompt_that_its_own_turns_do_not_begin_with_is_refused() -> None:
    tokenizer = tiny_tokenizer("llama")
    tokenizer.chat_template = MARKED.replace("{{ '<|im_start|>assistant\n' }}", "{{ '<|im_start|>bot\n' }}")
    with pytest.raises(UserError, match="training and inference would differ"):
        chat_template.prepare(tokenizer)


def test_a_broken_template_and_a_missing_eos_are_told() -> None:
    tokenizer = tiny_tokenizer("llama")
    tokenizer.chat_template = "{{ messages[0].nothing.at_all }}"
    with pytest.raises(UserError, match="refused by the chat template"):
        chat_template.prepare(tokenizer)
    tokenizer = tiny_tokenizer("llama")
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="no EOS token"):
        chat_template.prepare(tokenizer, who="sft")
    assert chat_template.prepare(tokenizer, eos_token="</s>").tokenizer.eos_token == "</s>"
    with pytest.raises(UserError, match="not a token"):
        chat_template.prepare(tokenizer, eos_token="<|end|>")


def test_truncation_keeps_rows_with_something_to_learn() -> None:
    encoded_talk = conversations.Encoded(list(range(10)), [(3, 5), (7, 10)])
    assert conversations.truncated(encoded_talk, 10) is encoded_talk
    assert conversations.truncated(encoded_talk, 8) == conversations.Encoded(list(range(8)), [(3, 5), (7, 8)], 2, 2)
    assert conversations.truncated(encoded_talk, 6) == conversations.Encoded(list(range(6)), [(3, 5)], 4, 3)
    assert conversations.truncated(encoded_talk, 3) == conversations.Encoded([0, 1, 2], [], 7, 5)
    assert not conversations.truncated(conversations.Encoded([1, 2], [(0, 2)]), 1).spans, "a first token is never predicted"


UNTRAINED = [{"weight": 0}, {"train": False}, {"training": False}]


def without(field: dict[str, Any], turn: int) -> list[dict[str, Any]]:
    """The conversation with a turn that the field keeps from being learnt."""
    talk: list[dict[str, Any]] = list(TALK)
    talk[turn] = {**talk[turn], **field}
    return talk


@pytest.mark.parametrize("field", UNTRAINED, ids=str)
@pytest.mark.parametrize("template", [CHATML, MARKED])
def test_a_turn_that_is_not_to_be_learnt_is_only_read(template: str, field: dict[str, Any]) -> None:
    tokenizer, chat = prepared("llama", template)
    first = without(field, 2)
    last = without(field, 4)
    whole = chat.encode([TALK])[0]
    assert learnt_texts(tokenizer, chat.encode([first])[0]) == ["42, no: twelve.<|im_end|>"]
    assert learnt_texts(tokenizer, chat.encode([last])[0]) == ["Oslo.<|im_end|>"]
    assert chat.encode([first])[0].ids == chat.encode([last])[0].ids == whole.ids, "the model reads the same"
    assert "no turn of the assistant that is to be learnt" in str(chat.encode([last], which="last")[0])
    both = [{**turn, **field} if turn["role"] == "assistant" else turn for turn in TALK]
    assert "(their weight is 0 or train is false)" in str(chat.encode([both])[0])


@pytest.mark.parametrize("field", UNTRAINED, ids=str)
@pytest.mark.parametrize("template", [CHATML, MARKED])
def test_where_all_is_learnt_such_a_turn_is_not(template: str, field: dict[str, Any]) -> None:
    tokenizer, chat = prepared("llama", template)
    talk = without(field, 2)
    encoded_talk = chat.encode([talk], which="all")[0]
    learnt = "|".join(learnt_texts(tokenizer, encoded_talk))
    assert "Oslo" not in learnt and "Seven plus five?" in learnt and "42, no: twelve.<|im_end|>" in learnt
    skipped = sum(end - start for start, end in chat.encode([TALK])[0].spans[:1])
    assert sum(end - start for start, end in encoded_talk.spans) >= len(encoded_talk.ids) - skipped - 1


@pytest.mark.parametrize("weight", [1, 1.0, True, None])
def test_a_turn_of_weight_one_is_learnt(weight: Any) -> None:
    _, chat = prepared("llama", CHATML)
    assert chat.encode([[{**turn, "weight": weight} for turn in TALK]])[0] == chat.encode([TALK])[0]
