"""Conversations to learn from, questions to a network that talks, and its answers by generation: what objectives on
conversations share. Heavy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ftp.data.chat_rows import asked, conversation
from ftp.data.turns import Message, Unfit, words
from ftp.errors import UserError
from ftp.losses import encoder_decoder, tokens
from ftp.losses.common import TokenRow
from ftp.losses.conversations import Chat, Encoded, Which, tools_of, truncated
from ftp.types import Batch, Model, Prediction, Row

__all__ = ["answers", "beginning", "collate", "learnt", "prompts", "question"]


def learnt(
    chat: Chat, conversations: Sequence[Sequence[Message]], tools: Sequence[Any], which: Which, limit: int
) -> Iterable[list[TokenRow] | Unfit]:
    """Each conversation as encoded rows to learn from, or why it cannot be: one row for a decoder, with the answers in its
    `spans`; one for each answer where an encoder reads the prompt (`ftp.losses.encoder_decoder`)."""
    if not chat.apart:
        for encoded in chat.encode(conversations, tools, which):
            yield encoded if isinstance(encoded, Unfit) else [_cut(truncated(encoded, limit), limit)]
        return
    for messages, tool in zip(conversations, tools, strict=True):
        try:
            yield encoder_decoder.encoded(chat.tokenizer, chat.pairs(messages, tool, which), limit)
        except Unfit as error:
            yield error


def _cut(encoded: Encoded, limit: int) -> TokenRow:
    """A conversation for a decoder, in so far as it fits."""
    if not encoded.spans:
        why = f"their first {limit} tokens hold nothing of an answer; see --max-length"
        return {"left_out": why, "answer_cut": encoded.answer_cut}
    return {"input_ids": encoded.ids, "spans": tokens.flat(encoded.spans), "cut": encoded.cut,
            "answer_cut": encoded.answer_cut}


def prompts(chat: Chat, rows: Iterable[Row], limit: int) -> Iterator[TokenRow]:
    """Rows to answer (see `question`), encoded.

    Each has `prompt`, the ids to go on from. `UserError` for a row that asks nothing, or fills all `limit` tokens (those of
    an encoder it may fill).
    """
    for number, row in enumerate(rows):
        try:
            ids = chat.prompt(question(row), tools_of(row))
        except Unfit as error:
            raise UserError(f"{beginning(row)}: {error}", 'give a text, or {"messages": [{"role": "user", ...}]}') from error
        if len(ids) >= limit + chat.apart:
            taken = f"{limit}" if chat.apart else f"{limit} with the answer"
            raise UserError(f"{beginning(row)}: {len(ids)} tokens, and the model takes {taken}", "shorten it")
        yield {"row": number, "input_ids": ids, "spans": [], "prompt": ids}


def question(row: Row) -> list[Message]:
    """The turns of a row to answer: a conversation in any spelling up to its last question, or a plain text as a user's turn.
    Raises `Unfit` for a row that asks nothing."""
    if row.get("text") is not None and "messages" not in row:
        return [{"role": "user", "content": str(row["text"])}]
    is_whole = row.get("messages") is not None or row.get("conversations") is not None
    turns = conversation(row) if is_whole else asked(row)
    if not turns:
        raise Unfit("has an empty conversation")
    while turns and turns[-1]["role"] == "assistant":
        turns.pop()
    if not turns:
        raise Unfit("asks nothing")
    return turns


def collate(model: Model, rows: Sequence[TokenRow]) -> Batch:
    """Rows that `prompts` encoded as a batch for `answers`."""
    return tokens.collate(model, rows, prompts={number: row["prompt"] for number, row in enumerate(rows)})


def answers(model: Model, chat: Chat, batch: Batch, *, max_new_tokens: int, limit: int) -> list[Prediction]:
    """The network's words for the rows of a batch whose `prompts` (token ids by row) are in its inputs; None for the others."""
    asked = batch.inputs.get("prompts", {})
    texts = tokens.generate(model, list(asked.values()), stop=chat.stop, max_new_tokens=max_new_tokens, limit=limit)
    words: dict[int, str] = {}
    for row_index, ids in zip(asked, texts, strict=True):
        words[row_index] = model.tokenizer.decode(ids, skip_special_tokens=True).strip()
    return [Prediction(words.get(row_index)) for row_index in range(batch.rows)]


def beginning(row: Row) -> str:
    """Some first words of a row, to know it by."""
    content = row.get("messages") or row.get("prompt") or next((value for value in row.values() if value), "")
    first = content[0] if isinstance(content, Sequence) and content else None
    text = words(first) if isinstance(first, Mapping) else str(content)
    return repr(text if len(text) <= 60 else text[:60] + "...")
