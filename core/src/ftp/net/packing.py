"""Whether a network keeps packed rows apart, measured on the network itself. Heavy: imports torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ftp.net import packed_attention
from ftp.net.heads import classify, hidden, logits_at, token_logits, whole_logits
from ftp.net.layout import Inputs, bounds, count_rows, is_packed, lay, real
from ftp.net.network_parts import parts_of
from ftp.net.positions import tokens_that_fit

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["can_pack"]


LENGTHS = (7, 3, 19, 1, 12)
"""Tokens of the random rows."""
CHANGED = 2
"""The number of the random row that is changed."""


@dataclass(frozen=True)
class RandomRows:
    """Rows of several lengths; `changed`: the same with one of them turned around. `pad_id`: the token that pads."""

    rows: list[list[int]]
    changed: list[list[int]]
    pad_id: int


def can_pack(net: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[bool, str]:
    """Measure on this very network whether packed rows get what one plain pass a row gives, and keep apart.

    Some random rows go through the network as it came, one at a time; then packed, where states and logits must agree to
    1e-4 of their size (3e-2 for weights in half precision); then packed with one row changed, where those of the others must
    stay. Leaves a network that came with `sdpa` on `ftp_packed`, which is the same for padded rows, with fp32 attention on a
    CPU; its mode and the random state are untouched.

    Args:
        net: the network, in a PEFT wrapper or not.
        tokenizer: its tokenizer, of which special tokens are read.

    Returns:
        (True, ""), or False with the reason in words.
    """
    parts = parts_of(net)
    attention = parts.inner.config._attn_implementation
    if attention not in ("sdpa", packed_attention.NAME):
        return False, f"its attention is '{attention}', not 'sdpa'"
    is_training = net.training
    net.eval()
    try:
        return _measure(net, tokenizer)
    except Exception as error:  # whatever a network says to packed rows is the reason
        return False, f"it does not run packed: {type(error).__name__}: {str(error)[:200]}"
    finally:
        net.train(is_training)


def _measure(net: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[bool, str]:
    """What `can_pack` gives, of a network in evaluation mode."""
    parts = parts_of(net)
    inner = parts.inner
    samples = _random_rows(inner, tokenizer)
    device = inner.get_input_embeddings().weight.device

    def answers(rows: Sequence[Sequence[int]], is_packed: bool) -> list[list[Tensor]]:
        with torch.no_grad():
            return _answers(net, lay(rows, packed=is_packed, pad_id=samples.pad_id, device=device))

    # as the network came, before its attention is exchanged
    single = []
    if parts.backbone is not None:
        for row in samples.rows:
            single += answers([row], is_packed=False)
    inner.set_attn_implementation(packed_attention.NAME)
    if parts.backbone is None:
        return False, "its states cannot be taken apart from its head (encoder-decoder or learnt prompt)"
    # attention of other kinds (sliding windows) has no packed form here
    layers = getattr(inner.config.get_text_config(), "layer_types", None) or ()
    other_layers = set(layers) - {"full_attention"}
    if other_layers:
        return False, f"it has layers of {', '.join(sorted(other_layers))}"
    # the same answers as one by one, up to rounding
    packed = answers(samples.rows, is_packed=True)
    packed_changed = answers(samples.changed, is_packed=True)
    tolerance = 1e-4 if packed[0][0].dtype == torch.float32 else 3e-2
    distance = max(_distances(packed, single))
    if distance > tolerance:
        return False, f"packed rows do not get the answers of single rows (apart by {distance:.1e} of their size)"
    # the rows beside the one that was changed are computed alike, so that rounding moves them hardly at all
    moves = _distances(packed, packed_changed)
    del moves[CHANGED]
    if max(moves) > 1e-6:
        return False, f"packed rows read each other (changing one moves the others by {max(moves):.1e} of their size)"
    return True, ""


def _random_rows(inner: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> RandomRows:
    """Rows of ordinary tokens, no longer than the network takes."""
    special = set(getattr(tokenizer, "all_special_ids", ()))
    vocabulary = range(inner.get_input_embeddings().weight.shape[0])
    words = [token for token in vocabulary if token not in special]
    generator = torch.Generator().manual_seed(0)
    limit = tokens_that_fit(inner) or max(LENGTHS)
    rows = []
    # any tokens do: what is compared is the same network on the same rows
    for length in LENGTHS:
        draws = torch.randint(len(words), (min(length, limit),), generator=generator)
        rows.append([words[draw] for draw in draws.tolist()])
    changed = list(rows)
    changed[CHANGED] = rows[CHANGED][::-1]
    return RandomRows(rows, changed, getattr(tokenizer, "pad_token_id", None) or 0)


def _answers(net: PreTrainedModel, inputs: Inputs) -> list[list[Tensor]]:
    """For each row its states, and its logits where the network has a head."""
    limits = bounds(inputs).tolist()
    per_token = [real(inputs, hidden(net, inputs))]
    per_row = []
    parts = parts_of(net)
    inner = parts.inner
    if type(inner).__name__.endswith("ForSequenceClassification"):
        per_row.append(classify(net, inputs) if is_packed(inputs) else whole_logits(net, inputs))
    elif inner.get_output_embeddings() is not None and is_packed(inputs):
        per_token.append(logits_at(net, inputs, torch.arange(limits[-1], device=inputs["input_ids"].device)))
    elif inner is not parts.backbone:
        per_token.append(token_logits(net, inputs)[0])
    # columns of tokens are cut where rows begin; the logits of a classifier are one a row
    answers = []
    for row in range(count_rows(inputs)):
        of_tokens = [column[limits[row] : limits[row + 1]] for column in per_token]
        answers.append([*of_tokens, *(column[row] for column in per_row)])
    return answers


def _distances(ours: Sequence[Sequence[Tensor]], theirs: Sequence[Sequence[Tensor]]) -> list[float]:
    """Of each row the largest difference, as a share of the largest value that any row has there: the logits of one row may be
    close to 0. What is not a number is infinitely far."""
    sizes = [max(float(tensor.float().abs().max()) for tensor in of_rows) for of_rows in zip(*theirs, strict=True)]
    distances = []
    for row, other in zip(ours, theirs, strict=True):
        largest = 0.0
        for a, b, size in zip(row, other, sizes, strict=True):
            share = float((a.float() - b.float()).abs().max()) / max(size, 1e-12)
            largest = max(largest, math.inf if math.isnan(share) else share)
        distances.append(largest)
    return distances
