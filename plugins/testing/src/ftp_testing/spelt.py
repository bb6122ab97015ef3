"""Rows with what is easily lost or misread on the way to tokens: fields of messages, and control tokens that texts spell.
No heavy imports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ftp import forms
from ftp.types import Row
from ftp_testing.rows import assistant, user

EVERY_FIELD = (
    "{{ bos_token }}{% for tool in tools or [] %}{{ tool | tojson }}\n{% endfor %}"
    "{% for message in messages %}{{ message.role + ':' }}"
    "{% for field, value in message.items() if field != 'role' %}"
    "{{ ' ' }}{{ value if value is string else value | tojson }}{% endfor %}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% else %}{{ '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
"""A chat template that writes the value of every field of a message, and every tool."""

REPEATS = 3
"""How often a text of `spelling` holds the control token."""


@dataclass(frozen=True)
class FieldRow:
    """A row in which one field holds a word that stands nowhere else in it."""

    field: str
    where: str
    word: str
    row: Row


def call_of(name: str, value: str) -> Row:
    """A call of a tool as OpenAI writes it, without its type: a tiny model takes few tokens."""
    return {"id": "0", "function": {"name": name, "arguments": {"at": value}}}


ANSWER_FIELDS: Mapping[str, tuple[str, Row]] = {
    "content": ("quive", {"content": [{"type": "text", "text": "quive"}]}),
    "tool_calls": ("zorpo", {"content": None, "tool_calls": [call_of("zorpo", "b")]}),
    "arguments": ("kyvex", {"content": None, "tool_calls": [call_of("f", "kyvex")]}),
    "parallel tool_calls": ("jaxin", {"tool_calls": [call_of("f", "b"), call_of("jaxin", "c")]}),
    "reasoning_content": ("wumpo", {"content": "b", "reasoning_content": "wumpo"}),
    "name": ("fydge", {"content": "b", "name": "fydge"}),
    "a field of its own": ("glopy", {"content": "b", "mood": "glopy"}),
}
"""What an assistant's turn may hold beside text: its name in messages -> the word, and the fields of the turn."""

PROMPT_TURNS: Mapping[str, tuple[str, list[Row]]] = {
    "name": ("vixom", [{**user("a"), "name": "vixom"}, assistant("b")]),
    "content": ("brynx", [{"role": "user", "content": [{"type": "text", "text": "brynx"}]}, assistant("b")]),
    "tool_call_id": ("hojuk", [
        user("a"), {"role": "assistant", "content": None, "tool_calls": [{**call_of("f", "b"), "id": "hojuk"}]},
        {"role": "tool", "tool_call_id": "hojuk", "content": "c"}, assistant("b")]),
    "a tool's content": ("dwarp", [
        user("a"), {"role": "assistant", "content": None, "tool_calls": [call_of("f", "b")]},
        {"role": "tool", "tool_call_id": "0", "content": "dwarp"}, assistant("b")]),
}
"""Turns before the last question that hold more than text: what they hold -> the word, and the turns."""


def field_rows(form: str) -> Iterator[FieldRow]:
    """Rows of a form with messages, each with one field that a message or a row may have."""
    question = [user("d")]
    spec = forms.get(form)
    for field, (word, fields) in ANSWER_FIELDS.items():
        turn = {"role": "assistant", **fields}
        yield FieldRow(field, "an earlier answer", word, row_of(form, [user("a"), turn, *question], [assistant("e")]))
        if not spec.has_prompts_alone:
            yield FieldRow(field, "the answer", word, row_of(form, question, [turn]))
        # forms of preferences have two answers
        if len(spec.sequence_names) > 1:
            rejected = row_of(form, question, [assistant("e")], rejected=[turn])
            yield FieldRow(field, "the rejected answer", word, rejected)
    for field, (word, turns) in PROMPT_TURNS.items():
        yield FieldRow(field, "an earlier turn", word, row_of(form, [*turns, *question], [assistant("e")]))
    tool = {"type": "function", "function": {"name": "tolvu", "parameters": {}}}
    yield FieldRow("tools", "the row", "tolvu", {**row_of(form, question, [assistant("e")]), "tools": [tool]})


def row_of(form: str, prompt: Sequence[Row], answer: Sequence[Row], rejected: Sequence[Row] | None = None) -> Row:
    """A prompt and an answer as a row of a form with messages."""
    spec = forms.get(form)
    if spec.is_whole:
        return {spec.required[0]: [*prompt, *answer]}
    # the first column of answers has the answer, a second one what is worse than it
    answers = [answer, rejected or [assistant("no")]]
    row: dict[str, object] = {}
    for column in spec.columns:
        if not column.is_required:
            continue
        if column.kind == "rating":
            row[column.name] = True
        elif column.is_answer:
            row[column.name] = answers.pop(0)
        else:
            row[column.name] = prompt
    return row


def spelling(row: Row, string: str) -> Row:
    """A row of any form with a string behind each of its texts, several times."""
    spelt = {}
    for name, value in row.items():
        is_in_words = forms.kind_of(name) in forms.IN_WORDS
        spelt[name] = _spelling(value, string) if is_in_words else value
    return spelt


def _spelling(value: object, string: str) -> object:
    if isinstance(value, str):
        return value + f"x{string}" * REPEATS
    if isinstance(value, Mapping):
        return {name: item if name == "role" else _spelling(item, string) for name, item in value.items()}
    if isinstance(value, list):
        return [_spelling(item, string) for item in value]
    return value
