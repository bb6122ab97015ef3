"""Conversations in their many spellings -> one: a list of {"role", "content"}. Plain Python, no heavy imports.

Understood: a string; {"role", "content"} or ShareGPT's {"from", "value"}; Alpaca columns (`instruction`, `input`,
`output`, `history`, `system`); question and answer columns; Anthropic's "Human: ... Assistant: ..." transcripts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Message = dict[str, str]

UNANSWERABLE = "The text does not answer this question."
"""The assistant's turn for a question without an answer (SQuAD 2.0 leaves `answers` empty)."""

ROLES = {
    "human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant",
    "function_call": "tool_call", "observation": "tool", "function": "tool",
}  # fmt: skip
COLUMNS = ("messages", "conversations", "prompt", "completion", "instruction", "output", "question", "answer")
"""Columns that say a conversation, in the order in which they are looked at."""
SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):[ ]?")


class Unfit(ValueError):
    """This row cannot be read as the form; the message says why, the caller says which row."""


def said(value: Any, role: str, column: str = "") -> list[Message]:
    """Messages from a string (one turn of `role`, or a transcript) or from a list of messages; `Unfit` names the column."""
    if isinstance(value, str):
        return transcript(value) or [{"role": role, "content": value}]
    if isinstance(value, Mapping):
        return [message(value)]
    if isinstance(value, Sequence):
        return [message(item) for item in value]
    raise Unfit(_no_text(value, column, "text or a list of messages"))


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


def message(item: Any) -> Message:
    """One message, from {"role", "content"} or {"from", "value"}."""
    if not isinstance(item, Mapping):
        raise Unfit(f'has a message that is no {{"role", "content"}}: {item!r:.80}')
    role, content = item.get("role", item.get("from")), item.get("content", item.get("value"))
    if not isinstance(role, str) or not isinstance(content, str):
        raise Unfit(f"has a message without a role or without text: {dict(item)!r:.120}")
    return {"role": ROLES.get(role, role), "content": content}


def transcript(text: str) -> list[Message]:
    """The turns of a "Human: ...\\n\\nAssistant: ..." text (hh-rlhf); an empty list for any other text."""
    if not re.match(r"\s*Human:", text) or "\n\nAssistant:" not in text:
        return []
    parts = SPEAKER.split("\n\n" + text.lstrip())[1:]
    turns = [
        {"role": "user" if who == "Human" else "assistant", "content": what.strip()}
        for who, what in zip(parts[::2], parts[1::2], strict=True)
    ]
    if turns[-1] == {"role": "assistant", "content": ""}:
        turns.pop()  # a prompt ends with "Assistant:", whose turn is what the model is to write
    return turns


def conversation(row: Mapping[str, Any]) -> list[Message]:
    """The whole conversation of a row, whichever columns hold it."""
    if row.get("messages") is not None:
        turns = said(row["messages"], "user", "messages")
    elif row.get("conversations") is not None:
        turns = said(row["conversations"], "user", "conversations")
    elif row.get("completion") is not None and row.get("prompt") is not None:
        turns = said(row["prompt"], "user", "prompt") + answer(row["completion"], "completion")
    elif row.get("output") is not None and row.get("instruction") is not None:
        extra = text(row.get("input"), "input")
        asked = text(row["instruction"], "instruction") + (f"\n\n{extra}" if extra.strip() else "")
        turns = [*_history(row.get("history")), {"role": "user", "content": asked}, *answer(row["output"], "output")]
    elif row.get("answer") is not None and row.get("question") is not None:
        turns = said(row["question"], "user", "question") + answer(row["answer"], "answer")
    else:
        nothing = [name for name in COLUMNS if name in row and row[name] is None]
        raise Unfit(f"holds nothing in {' or '.join(nothing)}" if nothing else "has an empty conversation")
    if (system := text(row.get("system"), "system")) and turns and turns[0]["role"] != "system":
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
        turns += [{"role": role, "content": text(one, "history")} for role, one in zip(("user", "assistant"), pair, strict=True)]
    return turns


def answer(value: Any, column: str = "") -> list[Message]:
    """An assistant's answer: a string is never taken for a transcript here."""
    return [{"role": "assistant", "content": value}] if isinstance(value, str) else said(value, "assistant", column)


def preference(row: Mapping[str, Any]) -> tuple[list[Message], list[Message], list[Message]]:
    """Prompt, chosen and rejected of a row. Without a prompt it is what chosen and rejected begin with in common."""
    given = row.get("prompt") if row.get("prompt") is not None else row.get("messages", row.get("conversations"))
    if given is None:
        good, bad = (said(row[side], "assistant", side) for side in ("chosen", "rejected"))
        same = 0
        while same < min(len(good), len(bad)) - 1 and good[same] == bad[same]:
            same += 1
        prompt, good, bad = good[:same], good[same:], bad[same:]
        if not prompt:
            raise Unfit("has no prompt, and chosen and rejected begin differently")
    else:
        prompt = said(given, "user", "prompt")
        good, bad = (without(prompt, answer(row[side], side)) for side in ("chosen", "rejected"))
    for name, side in (("prompt", prompt), ("chosen", good), ("rejected", bad)):
        if not side:
            raise Unfit(f"has an empty {name}")
    return prompt, good, bad


def without(prompt: list[Message], turns: list[Message]) -> list[Message]:
    """The turns after the prompt, for sets that repeat the prompt inside chosen and rejected."""
    return turns[len(prompt) :] if len(turns) > len(prompt) and turns[: len(prompt)] == prompt else turns


def split_last(turns: list[Message]) -> tuple[list[Message], list[Message]]:
    """What comes before the last answer of the assistant, and that answer."""
    if not turns or turns[-1]["role"] != "assistant":
        raise Unfit("does not end with a turn of the assistant")
    if len(turns) == 1:
        raise Unfit("has an answer but no prompt")
    return turns[:-1], turns[-1:]


def plain(turns: Sequence[Mapping[str, Any]]) -> str:
    """The words of a conversation as plain text, turns parted by an empty line, without role names."""
    return "\n\n".join(turn["content"] for turn in turns)


def good(value: Any) -> bool:
    """A rating as good (True) or bad (False): true/false, 1/0, good/bad, yes/no."""
    word = str(value).strip().lower()
    if word in ("true", "1", "1.0", "good", "yes", "desirable", "chosen"):
        return True
    if word in ("false", "0", "0.0", "bad", "no", "undesirable", "rejected", "-1"):
        return False
    raise Unfit(f"has the rating {value!r}; good is true or 1, bad is false or 0")
