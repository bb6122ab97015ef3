"""What objectives on tokens share: rows with some tokens trained, as batches, as losses, and as generated answers.

An encoded row has `input_ids`, and `spans`: the trained stretches of it, flat ([start, end, start, end, ...]); or nothing,
where all tokens are trained. `segments` (lengths that sum to the row's) says that a row holds several texts, which are laid
out each on its own: none attends to another or predicts another's first token. The rows of networks with
an encoder and a decoder are of another kind, see `ftp.losses.encoder_decoder`. Heavy: imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise, takewhile

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig

from ftp.errors import UserError
from ftp.losses import encoder_decoder
from ftp.losses.common import TokenRow
from ftp.model.modes import evaluating
from ftp.net import heads, layout
from ftp.net.logits import VocabularyLogits
from ftp.types import Batch, LossOut, Metric, Model

__all__ = ["SHARE_OF_TOKENS", "collate", "compute", "generate", "lay", "refuse_encoder_decoder"]


SHARE_OF_TOKENS = Metric("max", over="terms")
"""The share of predicted tokens that are right, of all of them (not a mean of rows' shares)."""


def refuse_encoder_decoder(model: Model, objective: str) -> None:
    """Refuse a network with an encoder and a decoder, for an objective that one text goes into.

    `clm` and rollouts go on with a text, for which an encoder has no use; preferences and rewards compare answers that stand
    behind their prompt in one row, as in TRL, whose trainers have dropped encoder-decoders.

    Args:
        model: the model.
        objective: the plugin, for the message.

    Raises:
        UserError: the network has an encoder and a decoder.
    """
    if encoder_decoder.applies(model.net):
        raise UserError(f"{objective} trains networks with one stack of layers; {model.name or type(model.net).__name__} has an "
                        "encoder and a decoder", "name a causal model (--model), as GPT-2, Llama or Qwen are; this one learns "
                        "answers by sft, and labels, tags or spans from rows that have them")


def labels(ids: Sequence[int], spans: Sequence[int] | None) -> list[int]:
    """The token ids of a row where they are trained, -100 elsewhere. Without `spans` all are."""
    if spans is None:
        return list(ids)
    trained = [layout.IGNORED] * len(ids)
    for start, end in zip(spans[::2], spans[1::2], strict=True):
        trained[start:end] = ids[start:end]
    return trained


def collate(model: Model, rows: Sequence[TokenRow], **more: object) -> Batch:
    """Rows as a batch for `compute`: laid out (packed where the network can), and where its losses are taken.

    Args:
        model: the model that reads them.
        rows: encoded rows; those of a network with an encoder and a decoder are as `ftp.losses.encoder_decoder` makes them.
        more: is kept in the batch's `inputs`.

    Returns:
        A batch whose `count` is the number of tokens that are predicted.
    """
    if encoder_decoder.applies(model.net):
        return encoder_decoder.collate(model, rows, **more)
    return lay(model, rows, [row["input_ids"] for row in rows], [labels(row["input_ids"], row.get("spans")) for row in rows],
               shift=heads.shifts(model.net), **more)


def lay(
    model: Model, rows: Sequence[TokenRow], ids: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]], *, shift: bool,
    **more: object,
) -> Batch:
    """Token ids and labels of each row as a batch.

    Args:
        model: the model that reads them.
        rows: the encoded rows, of which only `segments` are read.
        ids: the token ids of each row.
        wanted: the labels of each row, -100 where nothing is learnt.
        shift: whether a token is predicted from the slot before it.
        more: is kept in the batch's `inputs`.

    Returns:
        A batch with `where` (slots whose logits count), `target` (token ids) and `of` (rows) in its `inputs`, each
        `[terms] int64`.
    """
    row_of_text: list[int] = []  # a row of several segments is several texts
    for row_index, row in enumerate(rows):
        row_of_text += [row_index] * len(row.get("segments") or (0,))
    texts = _parted(ids, rows)
    marks = _parted(wanted, rows)
    inputs = layout.lay(texts, packed=model.packed, pad_id=model.tokenizer.pad_token_id or 0, padding_side="right",
                         beside={"labels": (marks, layout.IGNORED)})
    where, target, text = layout.targets(inputs, inputs.pop("labels"), shift=shift)
    inputs |= {"where": where, "target": target, "of": torch.tensor(row_of_text)[text]}
    laid = layout.to_device(inputs, next(model.net.parameters()).device)
    return Batch({**laid, **more}, count=len(where), rows=len(rows), tokens=sum(map(len, texts)))


def _parted(column: Sequence[Sequence[int]], rows: Sequence[TokenRow]) -> list[Sequence[int]]:
    """A column of rows as one of segments."""
    parts: list[Sequence[int]] = []
    for values, row in zip(column, rows, strict=True):
        bounds = accumulate(row.get("segments") or (len(values),), initial=0)
        parts += [values[start:end] for start, end in pairwise(bounds)]
    return parts


def compute(model: Model, batch: Batch, accuracy: str = "") -> LossOut:
    """Cross entropy of the predicted tokens: its sum, and that of each row.

    Args:
        model: the model that was trained or is scored.
        batch: what `collate` or `lay` gives.
        accuracy: the name of a metric for the predicted tokens that are the network's first choice (`SHARE_OF_TOKENS`), which
            is measured where no gradient is asked for; empty: it is not measured.

    Returns:
        Losses in nats, summed over tokens.
    """
    inputs = batch.inputs
    metrics: dict[str, Tensor] = {}
    where, target, of = inputs["where"], inputs["target"], inputs["of"]
    counts = torch.zeros(batch.rows, device=of.device).index_add_(0, of, torch.ones_like(of, dtype=torch.float))
    head = heads.head_at(model.net, inputs, where)
    # while training it would need the logits once more
    if accuracy and not torch.is_grad_enabled():
        losses, hits = losses_and_hits(model.net, head, target)
        metrics[accuracy] = hits.float().sum()
    else:
        losses = heads.losses_of(model.net, head, target)
    # rows with few tokens and rows with many: the sums are divided once, by whoever knows all counts
    by_row = torch.zeros_like(counts).index_add_(0, of, losses.detach())
    return LossOut(losses.sum(), metrics, by_row, counts,
                   logits=VocabularyLogits(model.net, head, len(where)), targets=target)


def losses_and_hits(net: nn.Module, head: heads.Head, target: Tensor) -> tuple[Tensor, Tensor]:
    """[n] cross entropies as `heads.losses_of` gives them, and [n] whether the target has the largest logit."""

    def piece(start: int, end: int) -> tuple[Tensor, Tensor]:
        logits = head(start, end).float()
        return cross_entropy(logits, target[start:end], reduction="none"), logits.argmax(-1) == target[start:end]

    losses, hits = heads.in_pieces(net, len(target), piece)
    return losses, hits


def generate(
    model: Model, prompts: Sequence[Sequence[int]], *, stop: Sequence[int], max_new_tokens: int, limit: int | None = None
) -> list[list[int]]:
    """The network's greedy continuations of prompts, without the token that ended them.

    Prompts go side by side, padded on the left; those of an encoder-decoder on the right.

    Args:
        model: the model, which is asked in evaluation mode.
        prompts: token ids of each.
        stop: ids that end an answer.
        max_new_tokens: tokens of an answer at most.
        limit: tokens of a prompt with its answer at most, of the answer alone for an encoder-decoder; None: as many as it
            takes. A prompt that leaves no room for a whole answer is continued alone.

    Returns:
        The token ids of each answer.

    Raises:
        UserError: a prompt leaves no room for an answer.
    """
    pad = model.tokenizer.pad_token_id or 0
    is_apart = encoder_decoder.applies(model.net)
    begin = {"decoder_start_token_id": encoder_decoder.start(model)} if is_apart else {}
    answers: list[list[int]] = [[] for _ in prompts]
    with evaluating(model.net):
        for group in _groups(prompts, None if is_apart or limit is None else limit - max_new_tokens):
            longest = 0 if is_apart else max(len(prompts[index]) for index in group)
            room = max_new_tokens if limit is None else min(max_new_tokens, limit - longest)
            if room < 1:
                raise UserError(f"a prompt has {longest} tokens, and the model takes {limit} in all: no room for an answer",
                                "shorten it, or raise --max-length if the model takes more")
            laid = layout.lay([prompts[index] for index in group], packed=False, pad_id=pad,
                              padding_side="right" if is_apart else "left", device=next(model.net.parameters()).device)
            config = GenerationConfig(max_new_tokens=room, do_sample=False, num_beams=1, use_cache=True,
                                      eos_token_id=list(stop) or None, pad_token_id=pad, **begin)
            with torch.no_grad():
                generated: Tensor = model.net.generate(
                    input_ids=laid["input_ids"], attention_mask=laid["attention_mask"], generation_config=config)
            # a row holds the prompt, or a decoder's start token, before the answer
            for index, answer in zip(group, generated[:, longest + len(begin) :].tolist(), strict=True):
                answers[index] = list(takewhile(lambda token: token not in stop, answer))
    return answers


def _groups(prompts: Sequence[Sequence[int]], most: int | None) -> list[list[int]]:
    """The numbers of prompts that are continued side by side.

    One that is padded to the length of a longer one would lose room for its answer, so that prompts of more than `most` tokens
    (None: of any number) go alone.
    """
    together: list[int] = []
    alone: list[list[int]] = []
    for index, prompt in enumerate(prompts):
        if most is None or len(prompt) <= most:
            together.append(index)
        else:
            alone.append([index])
    return [together, *alone] if together else alone
