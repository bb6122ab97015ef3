"""Conversations to learn from, questions to a network that talks, and its answers by generation: what objectives on
conversations share. Heavy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ftp.data.chat_rows import asked, conversation
from ftp.data.turns import Message, Unfit, words
from ftp.errors import UserError
from ftp.losses import encoder_decoder, tokens
from ftp.losses.common import TokenRow
from ftp.losses.conversations import Chat, Tool, tools_of, truncated
from ftp.losses.stretches import Encoded, Which, flat
from ftp.types import Batch, Model, Prediction, Row

__all__ = ["answers", "beginning", "collate", "learnt", "prompts", "question"]

SHOWN = 60
"""Characters of a row that name it."""


def learnt(
    chat: Chat, conversations: Sequence[Sequence[Message]], tools: Sequence[Sequence[Tool] | None], which: Which, limit: int
) -> Iterable[list[TokenRow] | Unfit]:
    """Conversations as encoded rows to learn from.

    Args:
        chat: the run's tokenizer with its chat template.
        conversations: the messages of each.
        tools: the tools of each; None where it has none.
        which: whose tokens are learnt: "answers", the "last" answer, or "all".
        limit: tokens of a row at most.

    Returns:
        For each conversation its encoded rows, or why it cannot be learnt from: one row for a decoder, with the answers in
        its `spans`; one for each answer where an encoder reads the prompt.
    """
    if not chat.apart:
        for encoded in chat.encode(conversations, tools, which):
            if isinstance(encoded, Unfit):
                yield encoded
            else:
                yield [_cut(truncated(encoded, limit), limit)]
        return
    for messages, own_tools in zip(conversations, tools, strict=True):
        try:
            yield encoder_decoder.encoded(chat.tokenizer, chat.pairs(messages, own_tools, which), limit)
        except Unfit as error:
            yield error


def _cut(encoded: Encoded, limit: int) -> TokenRow:
    """A conversation for a decoder, in so far as it fits."""
    if not encoded.spans:
        why = f"their first {limit} tokens hold nothing of an answer; see --max-length"
        return {"left_out": why, "answer_cut": encoded.answer_cut}
    return {"input_ids": encoded.ids, "spans": flat(encoded.spans), "cut": encoded.cut,
            "answer_cut": encoded.answer_cut}


def prompts(chat: Chat, rows: Iterable[Row], limit: int) -> Iterator[TokenRow]:
    """Rows to answer (see `question`), encoded; each has `prompt`, the ids to go on from.

    Args:
        chat: the run's tokenizer with its chat template.
        rows: conversations, prompts or plain texts.
        limit: tokens of a prompt and its answer at most; of a prompt alone where an encoder reads it.

    Raises:
        UserError: a row asks nothing, or leaves no room for an answer.
    """
    for row_index, row in enumerate(rows):
        try:
            ids = chat.prompt(question(row), tools_of(row))
        except Unfit as error:
            raise UserError(f"{beginning(row)}: {error}", 'give a text, or {"messages": [{"role": "user", ...}]}') from error
        if len(ids) >= limit + chat.apart:  # an encoder may be filled
            taken = f"{limit}" if chat.apart else f"{limit} with the answer"
            raise UserError(f"{beginning(row)}: {len(ids)} tokens, and the model takes {taken}", "shorten it")
        yield {"row": row_index, "input_ids": ids, "spans": [], "prompt": ids}


def question(row: Row) -> list[Message]:
    """The turns of a row to answer, up to its last question.

    Args:
        row: a conversation in any spelling, a prompt, or a plain text, which is a user's turn.

    Raises:
        Unfit: the row asks nothing.
    """
    if row.get("text") is not None and "messages" not in row:
        return [{"role": "user", "content": str(row["text"])}]
    # columns that hold a whole conversation, rather than a prompt beside an answer
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
    """Rows that `prompts` encoded as a batch for `answers`.

    Args:
        model: the model that answers.
        rows: the encoded rows.
    """
    prompts_by_row = {row_index: row["prompt"] for row_index, row in enumerate(rows)}
    return tokens.collate(model, rows, prompts=prompts_by_row)


def answers(model: Model, chat: Chat, batch: Batch, *, max_new_tokens: int, limit: int) -> list[Prediction]:
    """The network's answers in words, generated greedily.

    Args:
        model: the model that answers.
        chat: its tokenizer with the chat template, which says what ends an answer.
        batch: rows, of which those are answered whose `prompts` (token ids by row) are in its inputs.
        max_new_tokens: tokens of an answer at most.
        limit: tokens of a prompt with its answer at most; of the answer alone where an encoder reads the prompt.

    Returns:
        A prediction for each row of the batch; None in it for a row without a prompt.
    """
    asked = batch.inputs.get("prompts", {})
    texts = tokens.generate(model, list(asked.values()), stop=chat.stop, max_new_tokens=max_new_tokens, limit=limit)
    words: dict[int, str] = {}
    for row_index, ids in zip(asked, texts, strict=True):
        words[row_index] = model.tokenizer.decode(ids, skip_special_tokens=True).strip()
    return [Prediction(words.get(row_index)) for row_index in range(batch.rows)]


def beginning(row: Row) -> str:
    """Some first words of a row, to know it by.

    Args:
        row: a row of any form.
    """
    content = row.get("messages") or row.get("prompt") or next(filter(None, row.values()), "")
    text = str(content)
    if isinstance(content, Sequence) and content and isinstance(content[0], Mapping):
        text = words(content[0])
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "...")
