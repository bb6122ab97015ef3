"""One turn of a conversation, and what it says: its words, its reasoning, whether it is learnt.

Plain Python, no heavy imports. `messages` reads turns from their many spellings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Required, TypedDict

if TYPE_CHECKING:
    pass

__all__ = [
    "LEARNT", "REASONING", "Message", "Unfit", "content_text", "is_empty", "is_trained", "last_question", "plain",
    "reasoning", "split_last", "words",
]  # fmt: skip


class Message(TypedDict, total=False):
    """One turn, with every field that its row gives it; a chat template may read others than these.

    `content` is text, a list of parts ({"type": "text", "text": ...}), or None where the turn only calls tools.
    `weight`, `train` and others say whether an assistant's turn is learnt (see `is_trained`).
    """

    role: Required[str]
    content: Any
    tool_calls: list[dict[str, Any]]
    tool_call_id: str
    name: str
    reasoning_content: str
    weight: float
    train: bool


class Unfit(ValueError):
    """This row cannot be read as the form; the message says why, the caller says which row."""

INSTRUCTIONS = frozenset({"system", "developer"})
"""Roles of a turn that stands before a conversation and tells the assistant how to answer."""

REASONING = ("reasoning_content", "reasoning", "thinking")
"""Fields with what an assistant thought before it spoke."""

LEARNT = ("train", "training", "loss")
"""Fields that say whether a turn is learnt, beside OpenAI's `weight`: two of Axolotl, one of ms-swift."""

LEARNT_IN_PART = ("train_detail", "training_detail")
"""Axolotl's fields that say which letters of a turn are learnt."""


def is_trained(turn: Mapping[str, Any]) -> bool:
    """Whether a turn is one of the assistant that is learnt.

    All are but those with OpenAI's `weight: 0`, Axolotl's `train: false` (`training: false`) or ms-swift's `loss: false`, which
    are only read. 0 is false, 1 is true.
    """
    if turn["role"] != "assistant":
        return False
    return not any(turn.get(name) is not None and turn[name] == 0 for name in ("weight", *LEARNT))


def is_empty(turn: Mapping[str, Any]) -> bool:
    """Whether a turn says nothing: no text, no call of a tool."""
    return not turn.get("tool_calls") and not content_text(turn).strip()


def content_text(turn: Mapping[str, Any]) -> str:
    """The text of a turn's content; parts are parted by line ends, as servers join them for templates that take text."""
    content = turn.get("content")
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list) and all(is_part(part) for part in content):
        return "\n".join(str(part.get("text", "")) for part in content)
    # What a tool gave back may be any value.
    return json.dumps(content, ensure_ascii=False)


def is_part(part: Any) -> bool:
    return isinstance(part, Mapping) and (isinstance(part.get("type"), str) or isinstance(part.get("text"), str))


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
    """The words of a conversation as plain text, turns parted by an empty line, without role names.

    Args:
        tools: those that it may call; they stand before its turns as JSON.
    """
    paragraphs: list[str] = []
    if tools:
        paragraphs.append("\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))
    paragraphs += [words(turn) for turn in turns]
    return "\n\n".join(paragraphs)
