"""What a network is asked to compare it with itself after it was saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ftp.types import Model

if TYPE_CHECKING:
    from torch import Tensor

TO_NET = ("input_ids", "attention_mask", "token_type_ids")
"""What a network reads of a batch."""


def probe_inputs(model: Model, texts: Sequence[str]) -> Mapping[str, Tensor]:
    """One question, the first text, with the others as its choices."""
    encoded = model.tokenizer([texts[0]] * (len(texts) - 1), list(texts[1:]), padding=True, return_tensors="pt")
    return {name: encoded[name].unsqueeze(0) for name in TO_NET if name in encoded}
