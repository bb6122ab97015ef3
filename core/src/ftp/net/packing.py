"""Whether a network keeps packed rows apart, measured on the network itself. Heavy: imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ftp.net import packed_attention
from ftp.net.heads import classify, hidden, logits_at, parts_of, token_logits, whole_logits
from ftp.net.layout import Inputs, bounds, count_rows, is_packed, lay, real
from ftp.net.positions import tokens_that_fit

__all__ = ["can_pack"]


def can_pack(net: Any, tokenizer: Any) -> tuple[bool, str]:
    """Measure on this very network whether packed rows get what one plain pass a row gives, and keep apart.

    Gives (True, "") or (False, the reason). Some random rows go through the network as it came, one at a time; then
    packed, where states and logits must agree to 1e-4 of their size (3e-2 for weights in half precision); then packed
    with one row changed, where those of the others must stay. Leaves a network that came with `sdpa` on `ftp_packed`,
    which is the same for padded rows, with fp32 attention on a CPU; its mode and the random state are untouched.
    """
    parts = parts_of(net)
    inner, config = parts.inner, parts.inner.config.get_text_config()
    if inner.config._attn_implementation not in ("sdpa", packed_attention.NAME):
        return False, f"its attention is '{inner.config._attn_implementation}', not 'sdpa'"
    others = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    training = net.training
    net.eval()
    try:
        samples, changed, pad_id = _random_rows(inner, tokenizer)
        device = inner.get_input_embeddings().weight.device

        def answers(rows: Sequence[Sequence[int]], packed: bool) -> list[list[Tensor]]:
            with torch.no_grad():
                return _answers(net, lay(rows, packed=packed, pad_id=pad_id, device=device))

        plain = [] if parts.backbone is None else [answers([row], packed=False)[0] for row in samples]
        inner.set_attn_implementation(packed_attention.NAME)
        if parts.backbone is None:
            return False, "its states cannot be taken apart from its head (encoder-decoder or learnt prompt)"
        if others:
            return False, f"it has layers of {', '.join(sorted(others))}"
        packed, moved = answers(samples, packed=True), answers(changed, packed=True)
    except Exception as error:  # whatever a network says to packed rows is the reason
        return False, f"it does not run packed: {type(error).__name__}: {str(error)[:200]}"
    finally:
        net.train(training)
    tolerance = 1e-4 if packed[0][0].dtype == torch.float32 else 3e-2
    if (apart := max(map(_distance, packed, plain))) > tolerance:
        return False, f"packed rows do not get the answers of single rows (apart by {apart:.1e} of their size)"
    same = [number for number, row in enumerate(samples) if row == changed[number]]
    if (apart := max(_distance(packed[number], moved[number]) for number in same)) > 1e-6:
        return False, f"packed rows read each other (changing one moves the others by {apart:.1e} of their size)"
    return True, ""


def _random_rows(inner: Any, tokenizer: Any) -> tuple[list[list[int]], list[list[int]], int]:
    """Rows of several lengths, the same with one changed, and the id that pads."""
    special = set(getattr(tokenizer, "all_special_ids", ()))
    words = [i for i in range(inner.get_input_embeddings().weight.shape[0]) if i not in special]
    generator = torch.Generator().manual_seed(0)
    fits = tokens_that_fit(inner)
    limit = 19 if fits is None else min(19, fits)
    rows = [
        [words[int(i)] for i in torch.randint(len(words), (min(length, limit),), generator=generator)]
        for length in (7, 3, 19, 1, 12)
    ]
    changed = [*rows[:2], rows[2][::-1], *rows[3:]]
    return rows, changed, getattr(tokenizer, "pad_token_id", None) or 0


def _answers(net: Any, inputs: Inputs) -> list[list[Tensor]]:
    """For each row its states, and its logits where the network has a head."""
    limits = bounds(inputs).tolist()
    per_token = [real(inputs, hidden(net, inputs))]
    per_row = []
    inner, backbone = (parts := parts_of(net)).inner, parts.backbone
    if type(inner).__name__.endswith("ForSequenceClassification"):
        per_row.append(classify(net, inputs) if is_packed(inputs) else whole_logits(net, inputs))
    elif inner.get_output_embeddings() is not None and is_packed(inputs):
        per_token.append(logits_at(net, inputs, torch.arange(limits[-1], device=inputs["input_ids"].device)))
    elif inner is not backbone:
        per_token.append(token_logits(net, inputs)[0])
    return [
        [x[limits[row] : limits[row + 1]] for x in per_token] + [x[row] for x in per_row]
        for row in range(count_rows(inputs))
    ]


def _distance(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """The largest difference as a share of the largest value; what is not a number is infinitely far."""
    shares = [
        float((a.float() - b.float()).abs().max() / b.float().abs().max().clamp(min=1e-12))
        for a, b in zip(ours, theirs, strict=True)
    ]
    return max(share if share == share else float("inf") for share in shares)
