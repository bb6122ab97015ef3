"""What a chat template leaves out of the rows: tools, whole turns, calls, reasoning, other fields
of messages.

Each is rendered with and without: where the text stays the same, the model never sees it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from ftp import forms
from ftp.data import look as looks
from ftp.data.chat_rows import tools
from ftp.data.turns import LEARNT, REASONING, Message, content_text, reasoning
from ftp.losses import rendering
from ftp.types import Data, Model, Row
from ftp_preflight.findings import Findings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SILENT = frozenset(
    {"role", "content", "tool_calls", "weight", *LEARNT, "id", "tool_call_id", *REASONING}
)
"""Fields that are looked at on their own, or that no template need write: they say what is learnt,
or which call is answered."""

Tools = Sequence[Mapping[str, object]] | None
"""The tools that a row names; None: none."""

LONG = 20  # letters of a text that a conversation hardly holds twice: it is that of the turn


def look(num_rows: int, data: Data, model: Model, findings: Findings) -> None:
    """Count what the chat template leaves out of some rows of train."""
    train = data.splits.get("train")
    template = getattr(model.tokenizer, "chat_template", None)
    if train is None or not template:
        return
    if not forms.get(data.form).has_messages:
        return
    sampled = [row for _, row in islice(looks.some(train, num_rows), num_rows)]
    counts: Counter[str] = Counter()
    num_unlearnt = 0
    for row in sampled:
        counts.update(left_out_of(model.tokenizer, row))
        num_unlearnt += _count_others_trained(row)
    numbers = {name: counts[name] for name in sorted(counts)}
    findings.record("template leaves out", rows=len(sampled), **numbers)
    for name, count in counts.most_common():
        is_field = name.startswith("the field")
        findings.add(
            "note" if is_field else "warn",
            f"the chat template leaves out {name} {count} times in {len(sampled)} rows: the model "
            "never sees it (a template that writes it is named by the objective's option "
            "chat_template)",
        )
    if num_unlearnt:
        findings.add(
            "note",
            f"{num_unlearnt} turns of others than the assistant say train: true; they are read and "
            "not learnt",
        )


def left_out_of(tokenizer: PreTrainedTokenizerBase, row: Row) -> Iterator[str]:
    """Names of what the template leaves out of a row, one for each time. A row that it refuses says
    nothing here."""
    tool_list = tools(row)
    for messages in conversations(row):
        try:
            yield from _left_out(tokenizer, messages, tool_list)
        # whatever a template raises is its way to refuse, which the objective tells
        except Exception:
            return


def conversations(row: Row) -> list[list[Message]]:
    """The whole conversations of a row of any form; of a preference there are two."""
    if "messages" in row and row.get("chosen") is None and row.get("prompt") is None:
        return [list(row["messages"])]
    if row.get("chosen") is not None:
        return [[*row["prompt"], *row[side]] for side in ("chosen", "rejected")]
    if row.get("messages") is not None:
        return [list(row["messages"])]
    return [[*row["prompt"], *(row.get("completion") or ())]]


def _left_out(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tool_list: Tools
) -> Iterator[str]:
    render = _Renderer(tokenizer, messages, tool_list)
    if tool_list and render.is_same(messages, None):
        yield "the tools"
    for index, turn in enumerate(messages):
        text = content_text(turn).strip()
        # a short text ("yes", "42") may be that of another turn
        is_written = len(text) >= LONG and text in render.whole
        if text and not is_written and render.ignores_content(index):
            yield f"a turn of the role '{turn['role']}'"
        if turn.get("tool_calls") and render.ignores_fields(index, ("tool_calls",)):
            yield "calls of tools"
        if reasoning(turn) and render.ignores_fields(index, REASONING):
            yield "reasoning"
        for name in turn:
            if name not in SILENT and render.ignores_fields(index, (name,)):
                yield f"the field '{name}' of messages"


class _Renderer:
    """A conversation as the chat template renders it, whole or without a part."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tool_list: Tools
    ) -> None:
        self.tokenizer = tokenizer
        self.messages = messages
        self.tool_list = tool_list
        self.whole = self._render(messages, tool_list)

    def is_same(self, messages: Sequence[Message], tool_list: Tools) -> bool:
        """Whether these are rendered like the whole."""
        return self._render(messages, tool_list) == self.whole

    def ignores_content(self, index: int) -> bool:
        """Whether the text stays the same without the content of one message."""
        return self._ignores(index, {**self.messages[index], "content": ""})

    def ignores_fields(self, index: int, names: Sequence[str]) -> bool:
        """Whether the text stays the same without some fields of one message."""
        fields = self.messages[index].items()
        return self._ignores(index, {name: value for name, value in fields if name not in names})

    def _ignores(self, index: int, changed: Any) -> bool:
        try:
            messages = [*self.messages[:index], changed, *self.messages[index + 1 :]]
            return self.is_same(messages, self.tool_list)
        except Exception:  # a template that refuses the message reads what it lacks
            return False

    def _render(self, messages: Sequence[Message], tool_list: Tools) -> str:
        specials = self.tokenizer.special_tokens_map
        template = self.tokenizer.get_chat_template(tools=tool_list)
        prepared = rendering.for_template(messages, template, specials)
        return rendering.render(template, prepared, tool_list, specials)[0]


def _count_others_trained(row: Row) -> int:
    """Turns of others than the assistant that ask to be learnt."""
    count = 0
    for messages in conversations(row):
        for turn in messages:
            asks = True in (turn.get("train"), turn.get("training"))
            count += asks and turn["role"] != "assistant"
    return count
