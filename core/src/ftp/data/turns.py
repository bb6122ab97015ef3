"""Conversations in their many spellings -> one: a list of `Message`, whole. Plain Python, no heavy imports.

Understood: a string; {"role", "content"} or ShareGPT's {"from", "value"}, also as JSON text; calls of tools as OpenAI writes
them (today's `tool_calls` and the older `function_call`) and as turns of their own (ShareGPT); content in parts; columns of
prompt and answer (Alpaca's `instruction`, `input`, `output`, `history`, `system`; Dolly's `context`, `response`; ...);
Anthropic's "Human: ... Assistant: ..." transcripts. Fields of a message that nothing here knows are kept as they are.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Required, TypedDict, cast


class Message(TypedDict, total=False):
    """One turn, with every field that its row gives it; a chat template may read others than these.

    `content` is text, a list of parts ({"type": "text", "text": ...}), or None where the turn only calls tools.
    `weight` and `train` say whether an assistant's turn is learnt (see `is_trained`).
    """

    role: Required[str]
    content: Any
    tool_calls: list[dict[str, Any]]
    tool_call_id: str
    name: str
    reasoning_content: str
    weight: float
    train: bool


UNANSWERABLE = "The text does not answer this question."
"""The assistant's turn for a question without an answer (SQuAD 2.0 leaves `answers` empty)."""

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

ANSWERS: Mapping[str, tuple[str, ...]] = {
    "prompt": ("completion", "response"), "instruction": ("output", "response"), "question": ("answer", "response"),
}  # fmt: skip
"""Columns that ask, in the order in which they are looked at, and those that answer them."""

COLUMNS = ("messages", "conversations", "prompt", "completion", "instruction", "output", "question", "answer", "response")
"""Columns that say a conversation."""

INSTRUCTIONS = frozenset({"system", "developer"})
"""Roles of a turn that stands before a conversation and tells the assistant how to answer."""

REASONING = ("reasoning_content", "reasoning", "thinking")
"""Fields with what an assistant thought before it spoke."""

TEXT_PARTS = frozenset({"text", "input_text", "output_text"})
"""Types of the parts of a content that are text."""

SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):[ ]?")


class Unfit(ValueError):
    """This row cannot be read as the form; the message says why, the caller says which row."""


# --- one column ---


def said(value: Any, role: str, column: str = "") -> list[Message]:
    """Messages from a string (one turn of `role`, or a transcript) or from a list of messages; `Unfit` names the column."""
    if isinstance(value, str):
        listed = from_json(value, column)
        if listed is None:
            return transcript(value) or [{"role": role, "content": value}]
        value = listed
    if isinstance(value, Mapping):
        return [message(value, column)]
    if isinstance(value, Sequence):
        return [message(item, f"{column or 'messages'}[{number}]") for number, item in enumerate(value)]
    raise Unfit(_no_text(value, column, "text or a list of messages"))


def answer(value: Any, column: str = "") -> list[Message]:
    """An assistant's answer: a string is never taken for a transcript here."""
    if isinstance(value, str):
        listed = from_json(value, column)
        return [{"role": "assistant", "content": value}] if listed is None else said(listed, "assistant", column)
    return said(value, "assistant", column)


def from_json(text: str, column: str = "") -> list[Any] | None:
    """The messages that a cell holds as JSON text (or as Python writes lists, which pandas does); None for any other text.
    Raises `Unfit` for a cell of messages that is broken."""
    start = text.lstrip()[:200]
    if not re.match(r"\[\s*\{\s*['\"]", start):
        return None
    try:
        listed = json.loads(text)
    except ValueError as error:
        try:
            listed = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            if column in ("messages", "conversations"):
                raise Unfit(f"holds a list of messages as text in {column} that is not JSON ({error})") from None
            return None
    if isinstance(listed, list) and all(_is_message(item) for item in listed):
        return listed
    return None


def _is_message(item: Any) -> bool:
    return isinstance(item, Mapping) and ("role" in item or "from" in item)


def text(value: Any, column: str) -> str:
    """The text of a column; nothing (None) is no text at all."""
    if value is not None and not isinstance(value, str):
        raise Unfit(_no_text(value, column, "text"))
    return value or ""


def _no_text(value: Any, column: str, what: str) -> str:
    place = f" in {column}" if column else ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"holds {value!r:.80}{place} where {what} belongs"
    return (f"holds the number {value!r}{place} where {what} belongs (digits that are text stand in quotes in a .jsonl file; "
            "csv cannot tell them from a number)")


def transcript(text: str) -> list[Message]:
    """The turns of a "Human: ...\\n\\nAssistant: ..." text (hh-rlhf); an empty list for any other text."""
    if not re.match(r"\s*Human:", text) or "\n\nAssistant:" not in text:
        return []
    parts = SPEAKER.split("\n\n" + text.lstrip())[1:]
    turns: list[Message] = [
        {"role": "user" if who == "Human" else "assistant", "content": what.strip()}
        for who, what in zip(parts[::2], parts[1::2], strict=True)
    ]
    if turns[-1] == {"role": "assistant", "content": ""}:
        turns.pop()  # a prompt ends with "Assistant:", whose turn is what the model is to write
    return turns


# --- one message ---


def message(item: Any, place: str = "") -> Message:
    """One message, from {"role", "content"} or {"from", "value"}, with all of its other fields in their order.

    A field that is null is one that the message does not have. Raises `Unfit`, which names the field by `place`.
    """
    if not isinstance(item, Mapping):
        raise Unfit(f'has a message that is no {{"role", "content"}}: {item!r:.80}')
    where = f" ({place})" if place else ""
    fields: dict[str, Any] = {}
    for name, value in item.items():
        ours = name
        if name == "from" and "role" not in item:
            ours = "role"
        elif name == "value" and "content" not in item:
            ours = "content"
        if value is not None or ours == "content":
            fields[ours] = value
    if not isinstance(fields.get("role"), str):
        raise Unfit(f"has a message without a role or without text{where}: {dict(item)!r:.120}")
    fields["role"] = ROLES.get(fields["role"].strip().lower(), fields["role"])
    if "function_call" in fields and "tool_calls" not in fields:  # OpenAI's older way to call one tool
        fields["tool_calls"] = [as_call(fields.pop("function_call"))]
    if "tool_calls" in fields:
        fields["tool_calls"] = _calls(fields["tool_calls"], place)
    if fields["role"] == CALL:
        _take_calls(fields)
    fields.setdefault("content", None)
    fields["content"] = _content(fields, place)
    if fields["content"] is None and not fields.get("tool_calls") and not reasoning(fields):
        raise Unfit(f"has a message without a role or without text{where}: {dict(item)!r:.120}")
    _check_weight(fields, place)
    return cast(Message, fields)


def as_call(value: Mapping[str, Any]) -> dict[str, Any]:
    """{"name", "arguments"} as an entry of OpenAI's `tool_calls`; one that is such an entry stays as it is."""
    if "function" in value:
        return dict(value)
    function = {name: item for name, item in value.items() if name not in ("id", "type")}
    if "parameters" in function and "arguments" not in function:
        function["arguments"] = function.pop("parameters")
    call = {"type": "function", "function": function}
    return {"id": value["id"], **call} if value.get("id") is not None else call


def _calls(value: Any, place: str) -> list[dict[str, Any]]:
    """The calls of a message as a list, also from JSON text. Raises `Unfit`."""
    calls = value
    if isinstance(value, str):
        try:
            calls = json.loads(value)
        except ValueError as error:
            raise Unfit(f"has calls of tools that are not JSON ({place}.tool_calls: {error})") from None
    if not isinstance(calls, list) or not all(isinstance(call, Mapping) for call in calls):
        raise Unfit(f"holds {value!r:.80} in {place}.tool_calls where a list of calls belongs")
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
    if isinstance(calls, list) and calls and all(_is_call(call) for call in calls):
        fields["content"] = None
        fields["tool_calls"] = [*fields.get("tool_calls", []), *map(as_call, calls)]


def _is_call(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    function = value.get("function", value)
    return isinstance(function, Mapping) and isinstance(function.get("name"), str)


def _content(fields: Mapping[str, Any], place: str) -> Any:
    """The content of a message, checked: text, parts of text, None, or whatever a tool gave back. Raises `Unfit`."""
    content = fields["content"]
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, str) or _is_part(part) for part in content):
        return [_part(part, f"{place}.content[{number}]") for number, part in enumerate(content)]
    if fields["role"] == "tool":  # an object or a number, which some templates write as JSON
        return content
    raise Unfit(f"has a message without a role or without text ({place}.content): {content!r:.120}")


def _is_part(part: Any) -> bool:
    return isinstance(part, Mapping) and (isinstance(part.get("type"), str) or isinstance(part.get("text"), str))


def _part(part: Any, place: str) -> dict[str, Any]:
    """One part of a content. `Unfit` for an image, a sound or anything else that is no text."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    kind = part.get("type", "text")
    if kind not in TEXT_PARTS or not isinstance(part.get("text"), str):
        raise Unfit(f"has a part of the type '{kind}' in {place}, and models of text read text alone")
    fields = {name: item for name, item in part.items() if item is not None}
    return {**fields, "type": "text"}


def _check_weight(fields: Mapping[str, Any], place: str) -> None:
    """Raise `Unfit` where it cannot be said whether a turn is learnt."""
    weight = fields.get("weight")
    if weight is not None and (not isinstance(weight, int | float) or weight not in (0, 1)):
        raise Unfit(f"has the weight {weight!r} in {place or 'a message'}.weight; a turn is learnt (1) or not (0)")
    for name in ("train", "training"):
        if fields.get(name) is not None and fields[name] not in (True, False):
            raise Unfit(f"holds {fields[name]!r:.40} in {place or 'a message'}.{name} where true or false belongs")


def is_trained(turn: Mapping[str, Any]) -> bool:
    """Whether a turn is one of the assistant that is learnt: all are but those with OpenAI's `weight: 0` or Axolotl's
    `train: false` (`training: false`), which are only read."""
    if turn["role"] != "assistant" or turn.get("weight") == 0:
        return False
    return turn.get("train") is not False and turn.get("training") is not False


def is_empty(turn: Mapping[str, Any]) -> bool:
    """Whether a turn says nothing: no text, no call of a tool."""
    return not turn.get("tool_calls") and not content_text(turn).strip()


def content_text(turn: Mapping[str, Any]) -> str:
    """The text of a turn's content; parts are parted by line ends, as servers join them for templates that take text."""
    content = turn.get("content")
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list) and all(_is_part(part) for part in content):
        return "\n".join(str(part.get("text", "")) for part in content)
    return json.dumps(content, ensure_ascii=False)


def reasoning(turn: Mapping[str, Any]) -> str:
    """What an assistant thought before it spoke, under whichever name; empty where nothing is said of it."""
    return next((str(turn[name]) for name in REASONING if turn.get(name)), "")


def words(turn: Mapping[str, Any]) -> str:
    """All that a turn says: its reasoning, its text, and each of its calls as JSON, a line each."""
    calls = (json.dumps(call.get("function", call), ensure_ascii=False) for call in turn.get("tool_calls") or ())
    return "\n".join(part for part in (reasoning(turn), content_text(turn), *calls) if part)


def last_question(turns: Sequence[Mapping[str, Any]]) -> str:
    """What the user asked last, on one line, to know a row by; the words of the last turn where no user asks."""
    questions = [turn for turn in turns if turn["role"] == "user"]
    return " ".join(words((questions or turns)[-1]).split())


# --- a row ---


def conversation(row: Mapping[str, Any]) -> list[Message]:
    """The whole conversation of a row, whichever columns hold it."""
    for column in ("messages", "conversations"):
        if row.get(column) is not None:
            return _with_system(row, said(row[column], "user", column))
    for asked, answers in ANSWERS.items():
        answered = next((name for name in answers if row.get(name) is not None), None)
        if row.get(asked) is not None and answered is not None:
            return _with_system(row, [*question(row, asked), *answer(row[answered], answered)])
    nothing = [name for name in COLUMNS if name in row and row[name] is None]
    raise Unfit(f"holds nothing in {' or '.join(nothing)}" if nothing else "has an empty conversation")


def asked(row: Mapping[str, Any]) -> list[Message]:
    """What a row asks, without an answer: its prompt in any spelling, with its system text. Empty where no column asks."""
    for column in ("prompt", "messages", "conversations", "instruction", "question"):
        if row.get(column) is not None:
            turns = question(row, column) if column in ANSWERS else said(row[column], "user", column)
            return _with_system(row, turns)
    return []


def question(row: Mapping[str, Any], column: str) -> list[Message]:
    """The turns of a column that asks, with what stands beside it: `history` before it; `input` and, beside an instruction,
    `context` behind it; beside a question `context` before it."""
    turns = said(text(row[column], column) if column == "instruction" else row[column], "user", column)
    if not isinstance(row[column], str) or [turn.get("content") for turn in turns] != [row[column]]:
        return turns  # messages say all themselves
    before, behind = [], [text(row.get("input"), "input")]
    if column == "instruction":
        behind.append(text(row.get("context"), "context"))
    if column == "question" and isinstance(row.get("context"), str):
        before.append(row["context"])
    parts = [part for part in (*before, row[column], *behind) if part == row[column] or part.strip()]
    return [*_history(row.get("history")), {"role": "user", "content": "\n\n".join(parts)}]


def _with_system(row: Mapping[str, Any], turns: list[Message]) -> list[Message]:
    """The turns with the column `system` before them. `Unfit` where there are none."""
    system = text(row.get("system"), "system")
    if system and turns and turns[0]["role"] != "system":
        turns = [{"role": "system", "content": system}, *turns]
    if not turns:
        raise Unfit("has an empty conversation")
    return turns


def _history(pairs: Any) -> list[Message]:
    """Earlier turns of Alpaca rows: pairs of what the user and the assistant said."""
    turns: list[Message] = []
    if isinstance(pairs, str) or not isinstance(pairs or (), Sequence):
        raise Unfit(f"holds {pairs!r:.80} in history where a list of pairs belongs")
    for pair in pairs or ():
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise Unfit(f"holds {pair!r:.80} in history where a pair of texts belongs")
        for role, part in zip(("user", "assistant"), pair, strict=True):
            turns.append({"role": role, "content": text(part, "history")})
    return turns


def preference(row: Mapping[str, Any]) -> tuple[list[Message], list[Message], list[Message]]:
    """Prompt, chosen and rejected of a row. Without a prompt it is what chosen and rejected begin with in common."""
    prompt = asked(row)
    if any(turn["role"] not in INSTRUCTIONS for turn in prompt):
        prompt, good = parted(prompt, answer(row["chosen"], "chosen"), "chosen")
        prompt, bad = parted(prompt, answer(row["rejected"], "rejected"), "rejected")
    else:
        system = prompt
        prompt, good, bad = _implicit(*(said(row[side], "assistant", side) for side in ("chosen", "rejected")))
        if not prompt:
            raise Unfit("has no prompt, and chosen and rejected begin differently")
        if prompt[0]["role"] not in INSTRUCTIONS:
            prompt = _with_system(row, [*system, *prompt])
    for name, side in (("prompt", prompt), ("chosen", good), ("rejected", bad)):
        if not side:
            raise Unfit(f"has an empty {name}")
    return prompt, good, bad


def _implicit(good: list[Message], bad: list[Message]) -> tuple[list[Message], list[Message], list[Message]]:
    """What two conversations begin with in common, and how each goes on. A system turn that one of them has is common."""
    systems = [side[0] for side in (good, bad) if side and side[0]["role"] in INSTRUCTIONS]
    if len(systems) == 2 and not is_same(*systems):
        return [], good, bad
    system = systems[:1]
    good, bad = _without_system(good, system), _without_system(bad, system)
    same = 0
    while same < min(len(good), len(bad)) - 1 and is_same(good[same], bad[same]):
        same += 1
    return [*system, *good[:same]] if same else [], good[same:], bad[same:]


def parted(prompt: list[Message], turns: list[Message], column: str) -> tuple[list[Message], list[Message]]:
    """Prompt and answer where the turns of an answer may repeat the prompt, with or without its system turn.

    A system turn that only the answer has becomes the prompt's. `Unfit` where the answer begins with a turn of the user
    that is not the prompt's: nobody can tell what was asked.
    """
    system = turns[:1] if turns and turns[0]["role"] in INSTRUCTIONS else []
    own = prompt[:1] if prompt[0]["role"] in INSTRUCTIONS else []
    if system and own and not is_same(system[0], own[0]):
        raise Unfit(f"has another system turn in {column} than in its prompt")
    whole = [*(own or system), *_without_system(prompt, own)]
    asked_turns, rest = _without_system(prompt, own), _without_system(turns, system)
    size = len(asked_turns)
    if size and len(rest) > size and all(map(is_same, asked_turns, rest)):
        return whole, rest[size:]
    if not any(turn["role"] == "assistant" for turn in rest) or rest[0]["role"] not in ("user", *INSTRUCTIONS):
        return whole, rest
    # only the last question was given as the prompt of a conversation of several turns
    last = max(number for number, turn in enumerate(rest) if turn["role"] == "user")
    if size == 1 and last + 1 < len(rest) and is_same(asked_turns[0], rest[last]):
        return [*(own or system), *rest[: last + 1]], rest[last + 1 :]
    if asked_turns and asked_turns[-1]["role"] != "user":
        return whole, rest
    raise Unfit(f"has another question in {column} than in its prompt")


def _without_system(turns: list[Message], system: Sequence[Message]) -> list[Message]:
    """The turns less a system turn at their beginning, where there is one to leave out."""
    return turns[1:] if system and turns and turns[0]["role"] in INSTRUCTIONS else turns


def is_same(turn: Message, other: Message) -> bool:
    """Whether two turns say the same, white space at their ends aside."""
    return turn["role"] == other["role"] and words(turn).strip() == words(other).strip()


def split_last(turns: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """What comes before the last answer of the assistant, and that answer."""
    if not turns or turns[-1]["role"] != "assistant":
        raise Unfit("does not end with a turn of the assistant")
    if len(turns) == 1:
        raise Unfit("has an answer but no prompt")
    return list(turns[:-1]), list(turns[-1:])


def plain(turns: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None = None) -> str:
    """The words of a conversation as plain text, turns parted by an empty line, without role names; with the tools that it may
    call as JSON before them."""
    return "\n\n".join(_said_in(turns, tools))


def _said_in(turns: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None) -> Iterator[str]:
    if tools:
        yield "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    for turn in turns:
        yield words(turn)


def tools(row: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The tools of a row, from a list or JSON text, in `tools` or as OpenAI's older `functions`; None where it has none.
    Raises `Unfit`."""
    column = "tools" if row.get("tools") is not None or "functions" not in row else "functions"
    value = row.get(column)
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except ValueError as error:
            raise Unfit(f"has tools that are not JSON ({error})") from None
    if not value:
        return None
    if not isinstance(value, list) or not all(isinstance(tool, Mapping) for tool in value):
        raise Unfit(f"holds {value!r:.80} in {column} where a list of tools belongs")
    if column == "functions":
        return [{"type": "function", "function": dict(tool)} for tool in value]
    return [dict(tool) for tool in value]


def good(value: Any) -> bool:
    """A rating as good (True) or bad (False): true/false, 1/0, good/bad, yes/no."""
    word = str(value).strip().lower()
    if word in ("true", "1", "1.0", "good", "yes", "desirable", "chosen"):
        return True
    if word in ("false", "0", "0.0", "bad", "no", "undesirable", "rejected", "-1"):
        return False
    raise Unfit(f"has the rating {value!r}; good is true or 1, bad is false or 0")
