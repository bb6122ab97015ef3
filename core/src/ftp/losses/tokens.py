"""What objectives on tokens share: rows with some tokens trained, as batches, as losses, and as generated answers.

An encoded row has `input_ids`, and `spans`: the trained stretches of it, flat ([start, end, start, end, ...]); or nothing,
where all tokens are trained. `segments` (lengths that sum to the row's) says that a row holds several texts, which are laid
out each on its own: none attends to another or predicts another's first token. The rows of networks with
an encoder and a decoder are of another kind, see `ftp.losses.encoder_decoder`. Heavy: imports torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ftp.errors import UserError
from ftp.losses import encoder_decoder
from ftp.losses.common import TokenRow
from ftp.net import heads, layout
from ftp.net.logits import VocabularyLogits
from ftp.types import Batch, LossOut, Metric, Model

if TYPE_CHECKING:
    from ftp.losses.stretches import Span

__all__ = ["SHARE_OF_TOKENS", "collate", "compute", "generate", "lay", "refuse_encoder_decoder"]


SHARE_OF_TOKENS = Metric("max", over="terms")
"""The share of predicted tokens that are right, of all of them (not a mean of rows' shares)."""


def refuse_encoder_decoder(model: Model, objective: str) -> None:
    """Raise `UserError` for a network with an encoder and a decoder, from an objective that one text goes into.

    `clm` and rollouts go on with a text, for which an encoder has no use; preferences and rewards compare answers that stand
    behind their prompt in one row, as in TRL, whose trainers have dropped encoder-decoders.
    """
    if encoder_decoder.applies(model.net):
        raise UserError(f"{objective} trains networks with one stack of layers; {model.name or type(model.net).__name__} has an "
                        "encoder and a decoder", "name a causal model (--model), as GPT-2, Llama or Qwen are; this one learns "
                        "answers by sft, and labels, tags or spans from rows that have them")


def flat(spans: Iterable[Span]) -> list[int]:
    """Stretches as a column of an encoded row."""
    return list(chain.from_iterable(spans))


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

    Its `count` is the number of tokens that are predicted. `more` is kept in its `inputs`. The rows of a network with an
    encoder and a decoder are those of `ftp.losses.encoder_decoder`.
    """
    if encoder_decoder.applies(model.net):
        return encoder_decoder.collate(model, rows, **more)
    return lay(model, rows, [row["input_ids"] for row in rows], [labels(row["input_ids"], row.get("spans")) for row in rows],
               shift=heads.shifts(model.net), **more)


def lay(
    model: Model, rows: Sequence[TokenRow], ids: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]], *, shift: bool,
    **more: object,
) -> Batch:
    """Token ids and labels of each row as a batch; `inputs` has `where` (slots whose logits count), `target` (token ids)
    and `of` (rows), each [terms]. With `shift` a token is predicted from the slot before it."""
    row_of_text: list[int] = []  # a row of several segments is several texts
    for row_index, row in enumerate(rows):
        row_of_text += [row_index] * len(row.get("segments") or (0,))
    texts, marks = _parted(ids, rows), _parted(wanted, rows)
    inputs = layout.lay(texts, packed=model.packed, pad_id=model.tokenizer.pad_token_id or 0, padding_side="right",
                         beside={"labels": (marks, layout.IGNORED)})
    where, target, text = layout.targets(inputs, inputs.pop("labels"), shift=shift)
    inputs |= {"where": where, "target": target, "of": torch.tensor(row_of_text)[text]}
    device = next(model.net.parameters()).device
    laid = {name: column.to(device, non_blocking=True) for name, column in inputs.items()}
    return Batch({**laid, **more}, count=len(where), rows=len(rows), tokens=sum(map(len, texts)))


def _parted(column: Sequence[Sequence[int]], rows: Sequence[TokenRow]) -> list[Sequence[int]]:
    """A column of rows as one of segments."""
    parts: list[Sequence[int]] = []
    for values, row in zip(column, rows, strict=True):
        bounds = accumulate(row.get("segments") or (len(values),), initial=0)
        parts += [values[start:end] for start, end in pairwise(bounds)]
    return parts


def compute(model: Model, batch: Batch, accuracy: str = "") -> LossOut:
    """Cross entropy of the predicted tokens, in nats; its sum, and that of each row.

    `accuracy`: the name of a metric for the predicted tokens that are the network's first choice (`SHARE_OF_TOKENS`). It is
    measured where no gradient is asked for, as it needs the logits once more.
    """
    inputs, metrics = batch.inputs, dict[str, Tensor]()
    where, target, of = inputs["where"], inputs["target"], inputs["of"]
    counts = torch.zeros(batch.rows, device=of.device).index_add_(0, of, torch.ones_like(of, dtype=torch.float))
    head = heads.head_at(model.net, inputs, where)
    if accuracy and not torch.is_grad_enabled():
        losses, hits = losses_and_hits(model.net, head, target)
        metrics[accuracy] = hits.float().sum()
    else:
        losses = heads.losses_of(model.net, head, target)
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
    """The network's greedy continuations of token ids, without the token that ended them.

    Prompts go side by side, padded on the left. An answer ends at one of `stop`, after `max_new_tokens`, or where the
    network takes no more (`limit` tokens in all); a prompt that leaves no room for that is continued alone. Of an
    encoder-decoder `limit` is that of the answer alone, and prompts are padded on the right.
    """
    from transformers import GenerationConfig

    net = model.net
    pad = model.tokenizer.pad_token_id or 0
    apart = encoder_decoder.applies(net)
    device = next(net.parameters()).device
    begin = {"decoder_start_token_id": encoder_decoder.start(model)} if apart else {}
    # numbers of the prompts that are continued side by side: one padded to the length of a longer
    # one would lose room for its answer, so that prompts without room for a whole one go alone
    together: list[int] = []
    alone: list[list[int]] = []
    for n, prompt in enumerate(prompts):
        if apart or limit is None or len(prompt) + max_new_tokens <= limit:
            together.append(n)
        else:
            alone.append([n])
    groups = [together, *alone] if together else alone
    answers: list[list[int]] = [[] for _ in prompts]
    training = net.training
    net.eval()
    try:
        for group in groups:
            longest = 0 if apart else max(len(prompts[n]) for n in group)
            room = max_new_tokens if limit is None else min(max_new_tokens, limit - longest)
            if room < 1:
                raise UserError(f"a prompt has {longest} tokens, and the model takes {limit} in all: no room for an answer",
                                "shorten it, or raise --max-length if the model takes more")
            laid = layout.lay([prompts[n] for n in group], packed=False, pad_id=pad, padding_side="right" if apart else "left",
                               device=device)
            with torch.no_grad():
                generated: Any = net.generate(
                    input_ids=laid["input_ids"], attention_mask=laid["attention_mask"],
                    generation_config=GenerationConfig(max_new_tokens=room, do_sample=False, num_beams=1, use_cache=True,
                                                       eos_token_id=list(stop) or None, pad_token_id=pad, **begin))
            # a row holds the prompt, or a decoder's start token, before the answer
            for n, answer in zip(group, generated[:, longest + len(begin) :].tolist(), strict=True):
                ends = [position for position, token in enumerate(answer) if token in stop]
                answers[n] = answer[: ends[0]] if ends else answer
    finally:
        net.train(training)
    return answers
