"""Networks with an encoder and a decoder (T5, BART and kin): all in which their rows differ from those of decoders.

A decoder reads prompt and answer as one text. Here they part:

    encoder  What is the capital of Norway ? </s>       `input_ids` of an encoded row
    decoder  <start> Oslo .  ->  Oslo . </s>            its `labels`: the answer with its end, all of it learnt

Each turn of the assistant is an encoded row of its own, given everything that was said before it. In a batch `where` are slots
of `decoder_input_ids`, so all that comes after it (losses, accuracy, a teacher) is the code of decoders. Heavy: imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ftp.errors import UserError
from ftp.losses import rendering
from ftp.losses.blocks import ends
from ftp.net import layout
from ftp.net.network_parts import is_encoder_decoder
from ftp.types import Batch, Model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ftp.losses.common import TokenRow

PLAIN = (
    rendering.SAID
    + "{% set answered = messages[-1]['role'] == 'assistant' and not add_generation_prompt %}"
    "{% set asked = messages[:-1] if answered else messages %}"
    "{{ READ }}"
    + rendering.TOOLS
    + "{% if asked | length == 1 and asked[0]['content'] is string %}{{ asked[0]['content'] }}"
    "{% else %}"
    "{% for message in asked %}"
    "{{ message['role'] | capitalize + ': ' + said(message) | trim + ('' if loop.last else '\\n\\n') }}"
    "{% endfor %}"
    "{% endif %}"
    "{{ READ_END }}"
    "{% if answered %}{% generation %}{{ WRITTEN + said(messages[-1]) | trim + WRITTEN_END }}{% endgeneration %}{% endif %}"
)
"""Our chat template for tokenizers without one. A single prompt is read as it is, several turns with the names of their roles."""


def applies(net: PreTrainedModel) -> bool:
    """Whether rows are those of a network with an encoder and a decoder."""
    return is_encoder_decoder(net)


def start(model: Model) -> int:
    """The token that the decoder is given first. Raises `UserError` where nothing names one."""
    net = model.net
    tokens = [
        getattr(net.config, "decoder_start_token_id", None),
        getattr(getattr(net, "generation_config", None), "decoder_start_token_id", None),
        getattr(getattr(net.config, "decoder", None), "bos_token_id", None),  # T5Gemma
    ]
    for token in tokens:
        if token is not None:
            return int(token)
    raise UserError(f"{model.name or type(net).__name__}: its config.json names no decoder_start_token_id, the token that its "
                    "decoder begins with", "add the one that it was pre-trained with (T5: the pad token's number)")


def template(model: Model) -> str:
    """`PLAIN` with the special tokens that the tokenizer puts around what is read and what is written; less the start
    token, which `collate` gives the decoder."""
    tokenizer = model.tokenizer
    read, read_end = ends(tokenizer)
    written, written_end = ends(tokenizer, "text_target")
    if written[:1] == [start(model)]:
        written = written[1:]
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in written_end:
        written_end = [*written_end, int(tokenizer.eos_token_id)]
    filled = PLAIN
    # the longer names first, as they begin with the shorter ones
    for name, ids in (("WRITTEN_END", written_end), ("WRITTEN", written), ("READ_END", read_end), ("READ", read)):
        filled = filled.replace(name, json.dumps("".join(tokenizer.convert_ids_to_tokens(ids))))
    return filled


def default_template(model: Model) -> Callable[[], str] | None:
    """What makes the chat template of a network with an encoder and a decoder; None for any other network."""
    return partial(template, model) if applies(model.net) else None


def encoded(
    tokenizer: PreTrainedTokenizerBase, answers: Iterable[tuple[list[int], list[int], int]], limit: int
) -> list[TokenRow]:
    """One encoded row for each answer of a conversation.

    Args:
        answers: token ids of the prompt, those of the answer with its end, and the number of messages in the prompt.
        limit: most tokens of a prompt, and of an answer.

    A prompt that is longer loses its end, as the tokenizer would cut it; one of several turns its beginning, so that the
    question is kept. An answer that is longer loses its end.
    """
    rows: list[TokenRow] = []
    for whole_prompt, whole_answer, turns in answers:
        side = "left" if turns > 1 else tokenizer.truncation_side
        prompt = _fitted(tokenizer, whole_prompt, limit, side)
        answer = whole_answer[:limit]
        lost = len(whole_answer) - len(answer)
        rows.append({"input_ids": prompt, "labels": answer, "length": len(prompt) + len(answer),
                     "cut": len(whole_prompt) - len(prompt) + lost, "answer_cut": lost})
    return rows


def _fitted(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], limit: int, side: str) -> list[int]:
    """At most `limit` of the tokens, cut at a side, with the special ones around them."""
    ids = list(ids)
    over = len(ids) - limit
    if over <= 0:
        return ids
    before, after = ends(tokenizer)
    if side == "left":
        first = len(before) if ids[: len(before)] == before else 0
        return [*ids[:first], *ids[first + over :]]
    has_end = ids[len(ids) - len(after) :] == after
    last = len(ids) - len(after) if has_end else len(ids)
    return [*ids[: last - over], *ids[last:]]


def collate(model: Model, rows: Sequence[TokenRow], **more: object) -> Batch:
    """`ftp.losses.tokens.collate` for encoded rows with `labels`; padded on the right, as an encoder counts positions from
    the first column. Rows that are asked have no labels. Raises `UserError` for rows of a decoder."""
    is_of_decoder = any(row.get("labels") is None and not row.get("asked") for row in rows)
    if is_of_decoder:
        raise UserError(f"{model.name or type(model.net).__name__} has an encoder and a decoder, and this objective lays rows "
                        "out for networks with one stack of layers", "name a causal model (--model), or sft")
    begin = start(model)
    pad = model.tokenizer.pad_token_id or 0
    # a row that is asked has one slot, of which nothing is learnt
    answers = [list(row.get("labels") or (layout.IGNORED,)) for row in rows]
    read = layout.lay([row["input_ids"] for row in rows], packed=False, pad_id=pad)
    # a token is predicted from the one before it, the first from the start token
    written = layout.lay([[begin, *answer[:-1]] for answer in answers], packed=False, pad_id=pad,
                          beside={"labels": (answers, layout.IGNORED)})
    where, target, of = layout.targets(written, written["labels"], shift=False)
    inputs = {**read, "decoder_input_ids": written["input_ids"], "where": where, "target": target, "of": of}
    laid = layout.to_device(inputs, next(model.net.parameters()).device)
    tokens = sum(len(row["input_ids"]) for row in rows) + sum(map(len, answers))
    return Batch({**laid, **more}, count=len(where), rows=len(rows), tokens=tokens)
