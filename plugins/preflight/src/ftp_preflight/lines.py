"""The sequences of a batch, token by token: which are trained, and what they are to give. Heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from ftp import heads as head_specs
from ftp.types import Batch, Model

if TYPE_CHECKING:
    import torch


Inputs = dict[str, "torch.Tensor"]
"""What a batch holds: `Batch.inputs`."""


@dataclass(frozen=True)
class Line:
    """One sequence as it lies in a batch.

    Args:
        ids: token ids.
        trained: [tokens] whether it is trained.
        hidden: token -> its target, where that is another token (a hidden one).
    """

    ids: tuple[int, ...]
    trained: tuple[bool, ...]
    hidden: dict[int, int]

    @property
    def is_trained(self) -> bool:
        """Whether any of its tokens is trained."""
        return any(self.trained)


def lines_of(model: Model, batch: Batch) -> list[Line]:
    """The sequences of a batch, from its tensors. Without `where` and `target` in it no token is
    trained by itself."""
    from ftp.net import layout

    inputs: Inputs = dict(batch.inputs)
    if inputs["input_ids"].dim() > 2:  # rows of several sequences each, as the choices of a question
        for name in ("input_ids", "attention_mask"):
            inputs[name] = inputs[name].flatten(0, -2)
    ids = layout.real(inputs, inputs["input_ids"]).tolist()
    limits = layout.bounds(inputs).tolist()
    if "decoder_input_ids" in inputs:
        return _lines_of_encoder_decoder(inputs, ids, limits)
    trained, hidden = _targets(model, inputs, ids)
    sequences = []
    for start, end in pairwise(limits):
        is_trained = tuple(token in trained for token in range(start, end))
        hidden_here = {}
        for token, target in hidden.items():
            if start <= token < end:
                hidden_here[token - start] = target
        sequences.append(Line(tuple(ids[start:end]), is_trained, hidden_here))
    return sequences


def _lines_of_encoder_decoder(inputs: Inputs, ids: Sequence[int], limits: Sequence[int]) -> list[Line]:
    """The prompt that an encoder reads, and behind it the answer that a decoder learns."""
    answers: list[list[int]] = [[] for _ in limits[1:]]
    for row, target in zip(inputs["of"].tolist(), inputs["target"].tolist(), strict=True):
        answers[row].append(target)
    sequences = []
    for (start, end), answer in zip(pairwise(limits), answers, strict=True):
        trained = (*[False] * (end - start), *[True] * len(answer))
        sequences.append(Line((*ids[start:end], *answer), trained, {}))
    return sequences


def _targets(model: Model, inputs: Inputs, ids: Sequence[int]) -> tuple[set[int], dict[int, int]]:
    """Tokens of a batch that are trained, and the targets of those that are to give another
    token."""
    from ftp.net import heads, layout

    trained: set[int] = set()
    hidden: dict[int, int] = {}
    if "where" not in inputs or "target" not in inputs:
        return trained, hidden
    # a causal model says at each token what the next one is
    head = head_specs.get(model.head)
    shift = int(head.writes_text and heads.shifts(model.net))
    slots = layout.real(inputs, _slot_numbers(inputs)).tolist()
    token_of_slot = {slot: token for token, slot in enumerate(slots)}
    for slot, target in zip(inputs["where"].tolist(), inputs["target"].tolist(), strict=True):
        token = token_of_slot.get(slot, -1) + shift
        if not 0 <= token < len(ids):
            continue
        trained.add(token)
        # targets of other heads number classes, which are no entries of the vocabulary
        if head.is_over_vocabulary and ids[token] != target:
            hidden[token] = target
    return trained, hidden


def _slot_numbers(inputs: Inputs) -> torch.Tensor:
    """The number of each slot, laid like `input_ids`."""
    import torch

    ids = inputs["input_ids"]
    return torch.arange(ids.numel(), device=ids.device).reshape(ids.shape)
