"""One cell or one message in its many spellings -> `Message`s, whole. Plain Python, no heavy imports.

Understood: a string; {"role", "content"} or ShareGPT's {"from", "value"}, also as JSON text; calls of tools as OpenAI writes
them (today's `tool_calls` and the older `function_call`) and as turns of their own (ShareGPT); content in parts; Anthropic's
"Human: ... Assistant: ..." transcripts. Fields of a message that nothing here knows are kept as they are.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard, cast

from ftp.data.turns import LEARNT, LEARNT_IN_PART, Message, Unfit, is_part, reasoning

CALL = "tool_call"
"""What a turn that is nothing but calls of tools is named by until it becomes one of the assistant."""

ROLES: Mapping[str, str] = {
    "system": "system", "developer": "developer",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant",
    "bot": "assistant", "chatbot": "assistant", "ai": "assistant", "model": "assistant",
    "tool": "tool", "observation": "tool", "function": "tool", "tool_response": "tool", "function_response": "tool",
    CALL: CALL, "function_call": CALL,
}  # fmt: skip
"""Names of roles in small letters, and ours for them. Any other is kept: a chat template may know it."""

WHOLE_COLUMNS = ("messages", "conversations")
"""Columns that hold messages and nothing else, of any role: a chat template may know it."""

TEXT_PARTS = frozenset({"text", "input_text", "output_text"})
"""Types of the parts of a content that are text."""

TEXT_AS_MESSAGES = '[{"role": "user", "content": "..."}]'
"""How a text of the user is written that is surely one."""

SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):[ ]?")


def read_messages(value: object, role: str, column: str = "") -> list[Message]:
    """Messages from a string (one turn of `role`, or a transcript) or from a list of messages.

    Args:
        value: a cell of a row.
        role: who speaks where the cell is a plain text: user, or assistant.
        column: the name of its column, for messages; empty: not known.

    Raises:
        Unfit: it is neither, or a message is broken; names the column and the message.
    """
    if isinstance(value, str):
        if role == "user":
            _require_no_guess(value, column)
        listed = from_json(value, column)
        if listed is None:
            return transcript(value) or [{"role": role, "content": value}]
        value = listed
    if isinstance(value, Mapping):
        return [read_message(value, column)]
    if isinstance(value, Sequence):
        return [read_message(item, f"{column or 'messages'}[{number}]") for number, item in enumerate(value)]
    raise Unfit(_no_text(value, column, "text or a list of messages"))


def read_answer(value: object, column: str = "") -> list[Message]:
    """An assistant's answer: a string is never taken for a transcript here."""
    if not isinstance(value, str):
        return read_messages(value, "assistant", column)
    listed = from_json(value, column)
    if listed is None:
        return [{"role": "assistant", "content": value}]
    return read_messages(listed, "assistant", column)


def from_json(text: str, column: str = "") -> list[Mapping[str, object]] | None:
    """The messages that a cell holds as JSON text (or as Python writes lists, which pandas does); None for any other text.

    Raises:
        Unfit: a cell of messages is broken.
    """
    # Only what looks like a list of objects is parsed: an answer may well begin with a bracket.
    start = text.lstrip()[:200]
    if not re.match(r"\[\s*\{\s*['\"]", start):
        return None
    try:
        listed = _parsed(text)
    except ValueError as error:
        # A column of messages holds nothing else; in an answer this is text (`_require_no_guess` looks at prompts).
        if column in WHOLE_COLUMNS:
            raise Unfit(f"holds a list of messages as text in {column} that is not JSON ({error})") from None
        return None
    return listed if _is_messages(listed) else None


JSON_START = re.compile(r"""\[?\s*\{\s*['"]""")
KNOWN_ROLE = re.compile(rf"""['"](role|from)['"]\s*:\s*['"]({"|".join(ROLES)})['"]""")


def _require_no_guess(text: str, column: str) -> None:
    """Raise `Unfit` for the text of a prompt that may be messages and may be data, as nobody can tell which is asked: messages
    that are broken, one that is in no list, and a list with a role that nobody here knows."""
    if column in WHOLE_COLUMNS or not JSON_START.match(text.lstrip()[:200]):
        return
    where = f" in {column}" if column else ""
    to_ask_text = f"a text that looks so is asked as messages: {TEXT_AS_MESSAGES}"
    try:
        value = _parsed(text)
    except ValueError as error:
        if not KNOWN_ROLE.search(text):
            return  # a text that merely begins as JSON does
        raise Unfit(f"holds messages as text{where} that are not JSON ({error}); {to_ask_text}") from None
    if _is_message(value) and ("content" in value or "value" in value):
        raise Unfit(f"holds one message as text{where} where a list of messages belongs, as [{{...}}]; {to_ask_text}")
    if not _is_messages(value):
        return  # data, which is asked as the text that it is
    roles = {str(item.get("role", item.get("from"))) for item in value}
    strange = sorted(name for name in roles if name.strip().lower() not in ROLES)
    if strange:
        raise Unfit(
            f"holds a list as text{where} with the role {', '.join(map(repr, strange[:5]))}, which is none of system, user, "
            f"assistant and tool; {to_ask_text}"
        )


def _parsed(text: str) -> object:
    """What a text says as JSON, or as Python writes lists.

    Raises:
        ValueError: it is neither; in the words of the JSON reader.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        try:
            return ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise error from None


def _is_message(item: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(item, Mapping) and ("role" in item or "from" in item)


def _is_messages(value: object) -> TypeGuard[list[Mapping[str, object]]]:
    return isinstance(value, list) and all(map(_is_message, value))


def read_text(value: object, column: str) -> str:
    """The text of a column; nothing (None) is no text at all."""
    if value is not None and not isinstance(value, str):
        raise Unfit(_no_text(value, column, "text"))
    return value or ""


def _no_text(value: object, column: str, expected: str) -> str:
    """What is wrong with a cell that is neither text nor anything else that is expected."""
    where = f" in {column}" if column else ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"holds {value!r:.80}{where} where {expected} belongs"
    return (f"holds the number {value!r}{where} where {expected} belongs (digits that are text stand in quotes in a .jsonl file; "
            "csv cannot tell them from a number)")


def transcript(text: str) -> list[Message]:
    """The turns of a "Human: ...\\n\\nAssistant: ..." text (hh-rlhf); an empty list for any other text."""
    if not re.match(r"\s*Human:", text) or "\n\nAssistant:" not in text:
        return []
    # The pattern's group is kept by `split`: speakers and what they say take turns.
    parts = SPEAKER.split("\n\n" + text.lstrip())[1:]
    turns: list[Message] = []
    for speaker, words in zip(parts[::2], parts[1::2], strict=True):
        turns.append({"role": ROLES[speaker.lower()], "content": words.strip()})
    if turns[-1] == {"role": "assistant", "content": ""}:
        turns.pop()  # a prompt ends with "Assistant:", whose turn is what the model is to write
    return turns


def read_message(item: object, field_path: str = "") -> Message:
    """One message, from {"role", "content"} or {"from", "value"}, with all of its other fields in their order.

    A field that is null is one that the message does not have.

    Args:
        field_path: where the message stands in its row, as in `messages[2]`; empty where that is not known.

    Raises:
        Unfit: it is no message; names the field that is wrong.
    """
    if not isinstance(item, Mapping):
        raise Unfit(f'has a message that is no {{"role", "content"}}: {item!r:.80}')
    fields = _with_our_names(item)
    role = fields.get("role")
    if isinstance(role, str):
        fields["role"] = ROLES.get(role.strip().lower(), role)
        _read_calls(fields, field_path)
        fields["content"] = _read_content(fields, field_path)
    says_nothing = fields.get("content") is None and not fields.get("tool_calls") and not reasoning(fields)
    if not isinstance(role, str) or says_nothing:
        where = f" ({field_path})" if field_path else ""
        raise Unfit(f"has a message without a role or without text{where}: {dict(item)!r:.120}")
    _check_weight(fields, field_path)
    return cast(Message, fields)


def _with_our_names(item: Mapping[str, object]) -> dict[str, object]:
    """The fields of a message with our names for those of ShareGPT, less those that are null."""
    fields: dict[str, object] = {}
    for name, value in item.items():
        ours = name
        if name == "from" and "role" not in item:
            ours = "role"
        elif name == "value" and "content" not in item:
            ours = "content"
        if value is not None or ours == "content":
            fields[ours] = value
    return fields


def _read_calls(fields: dict[str, Any], field_path: str) -> None:
    """Make `tool_calls` of the calls of a message, in each of three spellings. Raises `Unfit`."""
    if "function_call" in fields and "tool_calls" not in fields:  # OpenAI's older way to call one tool
        fields["tool_calls"] = [as_call(fields.pop("function_call"))]
    if "tool_calls" in fields:
        fields["tool_calls"] = _listed_calls(fields["tool_calls"], field_path)
    if fields["role"] == CALL:
        _take_calls(fields)


def as_call(value: Mapping[str, object]) -> dict[str, object]:
    """{"name", "arguments"} as an entry of OpenAI's `tool_calls`; one that is such an entry stays as it is."""
    if "function" in value:
        return dict(value)
    function = {name: item for name, item in value.items() if name not in ("id", "type")}
    if "parameters" in function and "arguments" not in function:
        function["arguments"] = function.pop("parameters")
    call: dict[str, object] = {"type": "function", "function": function}
    return {"id": value["id"], **call} if value.get("id") is not None else call


def _listed_calls(value: object, field_path: str) -> list[Mapping[str, object]]:
    """The calls of a message as a list, also from JSON text. Raises `Unfit`."""
    calls = value
    if isinstance(value, str):
        try:
            calls = json.loads(value)
        except ValueError as error:
            raise Unfit(f"has calls of tools that are not JSON ({field_path}.tool_calls: {error})") from None
    if not isinstance(calls, list) or not all(isinstance(call, Mapping) for call in calls):
        raise Unfit(f"holds {value!r:.80} in {field_path}.tool_calls where a list of calls belongs")
    return list(calls)


def _take_calls(fields: dict[str, Any]) -> None:
    """Make a turn of calls (ShareGPT's `function_call`) one of the assistant; what is no JSON of calls is what it said."""
    fields["role"] = "assistant"
    calls = fields.get("content")
    if isinstance(calls, str):
        try:
            calls = json.loads(calls)
        except ValueError:
            return
    calls = [calls] if isinstance(calls, Mapping) else calls
    if isinstance(calls, list) and calls and all(map(_is_call, calls)):
        fields["content"] = None
        fields["tool_calls"] = [*fields.get("tool_calls", []), *map(as_call, calls)]


def _is_call(value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    function = value.get("function", value)
    return isinstance(function, Mapping) and isinstance(function.get("name"), str)


def _read_content(fields: Mapping[str, object], field_path: str) -> object:
    """The content of a message, checked: text, parts of text, None, or whatever a tool gave back. Raises `Unfit`."""
    content = fields.get("content")
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, str) or is_part(part) for part in content):
        return [_read_part(part, f"{field_path}.content[{number}]") for number, part in enumerate(content)]
    if fields["role"] == "tool":  # an object or a number, which some templates write as JSON
        return content
    raise Unfit(f"has a message without a role or without text ({field_path}.content): {content!r:.120}")


def _read_part(part: str | Mapping[str, object], field_path: str) -> dict[str, object]:
    """One part of a content. `Unfit` for an image, a sound or anything else that is no text."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    kind = part.get("type", "text")
    if kind not in TEXT_PARTS or not isinstance(part.get("text"), str):
        raise Unfit(f"has a part of the type '{kind}' in {field_path}, and models of text read text alone")
    fields = {name: item for name, item in part.items() if item is not None}
    return {**fields, "type": "text"}


def _check_weight(fields: Mapping[str, object], field_path: str) -> None:
    """Raise `Unfit` where it cannot be said whether a turn is learnt."""
    message = field_path or "a message"
    weight = fields.get("weight")
    if weight not in (None, 0, 1):
        raise Unfit(f"has the weight {weight!r} in {message}.weight; a turn is learnt (1) or not (0)")
    for name in LEARNT:
        if fields.get(name) not in (None, True, False):
            raise Unfit(f"holds {fields[name]!r:.40} in {message}.{name} where true or false belongs")
    for name in LEARNT_IN_PART:
        if fields.get(name):
            raise Unfit(f"says in {message}.{name} which letters are learnt; a turn is learnt whole or not at all")
