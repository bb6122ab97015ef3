"""What a chat template leaves out of the rows: tools, whole turns, calls, reasoning, other fields of messages.

Each is rendered with and without: where the text stays the same, the model never sees it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from ftp import forms
from ftp.data import look as looks
from ftp.data.chat_rows import tools
from ftp.data.turns import LEARNT, REASONING, Message, content_text, reasoning
from ftp.losses import rendering
from ftp.types import Data, Model, Run
from ftp_preflight.findings import Findings

SILENT = frozenset({"role", "content", "tool_calls", "weight", *LEARNT, "id", "tool_call_id", *REASONING})
"""Fields that are looked at on their own, or that no template need write: they say what is learnt, or which call is answered."""

LONG = 20
"""Letters of a text that a conversation hardly holds twice: where it stands in what was rendered, the turn was written."""


def look(rows: int, run: Run, data: Data, model: Model, found: Findings) -> None:
    """Count what the chat template leaves out of some rows of train."""
    train = data.splits.get("train")
    template = getattr(model.tokenizer, "chat_template", None)
    if train is None or not template or not forms.get(data.form).has_messages:
        return
    counts: Counter[str] = Counter()
    looked = 0
    for _, row in islice(looks.some(train, rows), rows):
        looked += 1
        counts.update(left_out_of(model.tokenizer, row))
    found.see("template leaves out", rows=looked, **{name: counts[name] for name in sorted(counts)})
    for name, count in counts.most_common():
        is_text = not name.startswith("the field")
        found.tell("warn" if is_text else "note", f"the chat template leaves out {name} {count} times in {looked} rows: the "
                   "model never sees it (a template that writes it is named by the objective's option chat_template)")
    asked = sum(_others_trained(row) for _, row in islice(looks.some(train, rows), rows))
    if asked:
        found.tell("note", f"{asked} turns of others than the assistant say train: true; they are read and not learnt")


def left_out_of(tokenizer: Any, row: Mapping[str, Any]) -> Iterator[str]:
    """Names of what the template leaves out of a row, one for each time. A row that it refuses says nothing here."""
    listed = tools(row)
    for messages in conversations(row):
        try:
            yield from _left_out(tokenizer, messages, listed)
        except Exception:  # whatever a template raises is its way to refuse, which the objective tells
            return


def conversations(row: Mapping[str, Any]) -> list[list[Message]]:
    """The whole conversations of a row of any form; of a preference there are two."""
    if "messages" in row and row.get("chosen") is None and row.get("prompt") is None:
        return [list(row["messages"])]
    if row.get("chosen") is not None:
        return [[*row["prompt"], *row[side]] for side in ("chosen", "rejected")]
    if row.get("messages") is not None:
        return [list(row["messages"])]
    return [[*row["prompt"], *(row.get("completion") or ())]]


def _left_out(tokenizer: Any, messages: Sequence[Message], listed: Any) -> Iterator[str]:
    whole = _text(tokenizer, messages, listed)
    if listed and _text(tokenizer, messages, None) == whole:
        yield "the tools"
    for number, turn in enumerate(messages):
        text = content_text(turn).strip()
        # a short text ("yes", "42") may be that of another turn
        is_written = len(text) >= LONG and text in whole
        if text and not is_written and _is_same_without(tokenizer, messages, number, listed, whole):
            yield f"a turn of the role '{turn['role']}'"
        if turn.get("tool_calls") and _is_unread(tokenizer, messages, number, ("tool_calls",), listed, whole):
            yield "calls of tools"
        if reasoning(turn) and _is_unread(tokenizer, messages, number, REASONING, listed, whole):
            yield "reasoning"
        for name in turn:
            if name not in SILENT and _is_unread(tokenizer, messages, number, (name,), listed, whole):
                yield f"the field '{name}' of messages"


def _is_same_without(tokenizer: Any, messages: Sequence[Message], number: int, listed: Any, whole: str) -> bool:
    """Whether the text stays the same without the content of one message."""
    without: list[Any] = [*messages[:number], {**messages[number], "content": ""}, *messages[number + 1 :]]
    try:
        return _text(tokenizer, without, listed) == whole
    except Exception:  # a template that refuses an empty content reads it
        return False


def _is_unread(
    tokenizer: Any, messages: Sequence[Message], number: int, names: Sequence[str], listed: Any, whole: str
) -> bool:
    """Whether the text stays the same without some fields of one message."""
    slim: Any = {name: value for name, value in messages[number].items() if name not in names}
    try:
        return _text(tokenizer, [*messages[:number], slim, *messages[number + 1 :]], listed) == whole
    except Exception:  # a template that needs the field reads it
        return False


def _text(tokenizer: Any, messages: Sequence[Any], listed: Any) -> str:
    specials = tokenizer.special_tokens_map
    template = tokenizer.get_chat_template(tools=listed)
    return rendering.render(template, rendering.for_template(messages, template, specials), listed, specials)[0]


def _others_trained(row: Mapping[str, Any]) -> int:
    """Turns of others than the assistant that ask to be learnt."""
    turns = [turn for messages in conversations(row) for turn in messages]
    return sum(turn["role"] != "assistant" and True in (turn.get("train"), turn.get("training")) for turn in turns)
