"""One turn of a conversation, and what it says: its words, its reasoning, whether it is learnt.

Plain Python, no heavy imports. `messages` reads turns from their many spellings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Required, TypedDict

from ftp.errors import RowError

__all__ = [
    "LEARNT", "REASONING", "Message", "Unfit", "content_text", "is_empty", "is_trained", "last_question", "plain",
    "reasoning", "split_last", "words",
]  # fmt: skip


class Message(TypedDict, total=False):
    """One turn, with every field that its row gives it; a chat template may read others than these.

    Attributes:
        role: who speaks: system, developer, user, assistant, tool, or another that a chat template knows.
        content: text, a list of parts ({"type": "text", "text": ...}), or None where the turn only calls tools.
        tool_calls: the calls of an assistant's turn, as OpenAI writes them.
        tool_call_id: which call a tool answers.
        name: the tool that answers, or who of several users speaks.
        reasoning_content: what an assistant thought before it spoke.
        weight: 0 keeps an assistant's turn from being learnt (see `is_trained`).
        train: False keeps it from being learnt as well.
    """

    role: Required[str]
    content: Any
    tool_calls: list[dict[str, Any]]
    tool_call_id: str
    name: str
    reasoning_content: str
    weight: float
    train: bool


Turn = Mapping[str, object]
"""A message as whoever only looks at it takes it: a `Message`, or one of a row that nobody read yet."""


class Unfit(RowError):
    """This row cannot be read as the form; the message says why, the caller says which row."""


INSTRUCTIONS = frozenset({"system", "developer"})
"""Roles of a turn that stands before a conversation and tells the assistant how to answer."""

REASONING = ("reasoning_content", "reasoning", "thinking")
"""Fields with what an assistant thought before it spoke."""

LEARNT = ("train", "training", "loss")
"""Fields that say whether a turn is learnt, beside OpenAI's `weight`: two of Axolotl, one of ms-swift."""

LEARNT_IN_PART = ("train_detail", "training_detail")
"""Axolotl's fields that say which letters of a turn are learnt."""


def is_trained(turn: Turn) -> bool:
    """Whether a turn is one of the assistant that is learnt.

    All are but those with OpenAI's `weight: 0`, Axolotl's `train: false` (`training: false`) or ms-swift's `loss: false`, which
    are only read. 0 is false, 1 is true.

    Args:
        turn: one of a conversation, with all its fields.
    """
    if turn["role"] != "assistant":
        return False
    # `0 == False`, and a field that is missing or null says nothing
    return all(turn.get(name) != 0 for name in ("weight", *LEARNT))


def is_empty(turn: Turn) -> bool:
    """Whether a turn says nothing: no text, no call of a tool.

    Args:
        turn: one of a conversation, with all its fields.
    """
    return not turn.get("tool_calls") and not content_text(turn).strip()


def content_text(turn: Turn) -> str:
    """The text of a turn's content; parts are parted by line ends, as servers join them for templates that take text.

    Args:
        turn: one of a conversation, with all its fields.
    """
    content = turn.get("content")
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list) and all(map(is_part, content)):
        return "\n".join(str(part.get("text", "")) for part in content)
    # What a tool gave back may be any value.
    return as_json(content)


def as_json(value: object) -> str:
    """A value as JSON on one line, its letters as they are."""
    return json.dumps(value, ensure_ascii=False)


def is_part(part: object) -> bool:
    """Whether a value is a part of a content, as {"type": "text", "text": ...}."""
    return isinstance(part, Mapping) and (isinstance(part.get("type"), str) or isinstance(part.get("text"), str))


def reasoning(turn: Turn) -> str:
    """What an assistant thought before it spoke, under whichever name; empty where nothing is said of it.

    Args:
        turn: one of a conversation, with all its fields.
    """
    return next((str(turn[name]) for name in REASONING if turn.get(name)), "")


def words(turn: Turn) -> str:
    """All that a turn says: its reasoning, its text, and each of its calls as JSON, a line each.

    Args:
        turn: one of a conversation, with all its fields.
    """
    lines = [reasoning(turn), content_text(turn)]
    calls = turn.get("tool_calls")
    if isinstance(calls, Iterable):
        lines += [as_json(call.get("function", call)) for call in calls]
    return "\n".join(filter(None, lines))


def last_question(turns: Sequence[Turn]) -> str:
    """What the user asked last, on one line, to know a row by; the words of the last turn where no user asks.

    Args:
        turns: a conversation, at least one.
    """
    last = turns[-1]  # where no user asks
    for turn in turns:
        if turn["role"] == "user":
            last = turn
    return " ".join(words(last).split())


def is_same(turn: Turn, other: Turn) -> bool:
    """Whether two turns say the same, white space at their ends aside."""
    return turn["role"] == other["role"] and words(turn).strip() == words(other).strip()


def split_last(turns: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """What comes before the last answer of the assistant, and that answer.

    Args:
        turns: a conversation.

    Raises:
        Unfit: it does not end with a turn of the assistant, or that is all of it.
    """
    if not turns or turns[-1]["role"] != "assistant":
        raise Unfit("does not end with a turn of the assistant")
    if len(turns) == 1:
        raise Unfit("has an answer but no prompt")
    return list(turns[:-1]), list(turns[-1:])


def plain(turns: Sequence[Turn], tools: Sequence[object] | None = None) -> str:
    """The words of a conversation as plain text, turns parted by an empty line, without role names.

    Args:
        turns: a conversation.
        tools: those that it may call, which stand before its turns as JSON; None: none.
    """
    paragraphs: list[str] = []
    if tools:
        paragraphs.append("\n".join(map(as_json, tools)))
    paragraphs += map(words, turns)
    return "\n\n".join(paragraphs)
