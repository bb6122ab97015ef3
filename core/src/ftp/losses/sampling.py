"""Completions sampled from a network. Heavy: imports torch.

Every token is drawn with a number of its own, from (seed, rollout, prompt, completion, place): the completion of a prompt does
not depend on which others are beside it, on which process, or on what was drawn before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from ftp.net import layout
from ftp.types import Model

__all__ = ["Completion", "Sampler", "Sampling", "ended", "sample"]


@dataclass(frozen=True)
class Completion:
    """What was sampled after a prompt: token ids with the one that ended it, where one did (`ended`)."""

    ids: list[int]
    ended: bool


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; the names are those of Transformers. `stop`: ids that end a completion."""

    max_completion_length: int
    temperature: float
    top_p: float
    top_k: int
    stop: tuple[int, ...]


Sampler = Callable[[Model, Sequence[Sequence[int]], Sequence[Sequence[int]], Sampling, int], list[Completion]]
"""What makes one completion of each prompt; see `sample`."""


def sample(
    model: Model, prompts: Sequence[Sequence[int]], keys: Sequence[Sequence[int]], how: Sampling, batch_tokens: int
) -> list[Completion]:
    """One completion of each prompt (token ids); `keys`: the numbers from which its tokens are drawn. At most `batch_tokens`
    tokens are generated side by side, prompts padded on the left."""
    order = sorted(range(len(prompts)), key=lambda number: (-len(prompts[number]), number))
    made: list[Completion] = [Completion([], False)] * len(prompts)
    training = model.net.training
    model.net.eval()
    try:
        while order:
            most = max(1, batch_tokens // (len(prompts[order[0]]) + how.max_completion_length))
            part, order = order[:most], order[most:]
            lines = _generate(model, [prompts[n] for n in part], [keys[n] for n in part], how)
            for number, line in zip(part, lines, strict=True):
                made[number] = ended(line, how.stop)
    finally:
        model.net.train(training)
    return made


def ended(line: Sequence[int], stop: Sequence[int]) -> Completion:
    """Generated ids up to the first that ends a completion, which is kept: it is a choice of the network as well."""
    for place, token in enumerate(line):
        if token in stop:
            return Completion(list(line[: place + 1]), True)
    return Completion(list(line), False)


def _generate(model: Model, prompts: Sequence[Sequence[int]], keys: Sequence[Sequence[int]], how: Sampling) -> list[list[int]]:
    net: Any = model.net
    pad = model.tokenizer.pad_token_id or 0
    laid = layout.lay(prompts, packed=False, pad_id=pad, padding_side="left", device=next(net.parameters()).device)
    draw = Draw(keys, laid["input_ids"].shape[1], how)
    with torch.no_grad():
        out = net.generate(
            input_ids=laid["input_ids"], attention_mask=laid["attention_mask"], logits_processor=LogitsProcessorList([draw]),
            generation_config=GenerationConfig(max_new_tokens=how.max_completion_length, do_sample=False, num_beams=1,
                                               use_cache=True, eos_token_id=list(how.stop), pad_token_id=pad))
    lines: list[list[int]] = out[:, laid["input_ids"].shape[1] :].tolist()
    return lines


class Draw(LogitsProcessor):  # type: ignore[misc,unused-ignore]
    """Draws each row's next token from its own numbers, and leaves greedy search no other choice."""

    def __init__(self, keys: Sequence[Sequence[int]], start: int, how: Sampling) -> None:
        self.numbers = torch.tensor(np.stack([np.random.default_rng(key).random(how.max_completion_length) for key in keys]))
        self.start = start
        self.warpers = [TemperatureLogitsWarper(float(how.temperature))] if how.temperature != 1 else []
        self.warpers += [TopKLogitsWarper(how.top_k)] if how.top_k else []
        self.warpers += [TopPLogitsWarper(how.top_p)] if how.top_p < 1 else []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        logits = scores.float()
        for warp in self.warpers:
            logits = warp(input_ids, logits)
        cumulative = logits.softmax(-1).double().cumsum(-1)
        numbers = self.numbers[:, input_ids.shape[1] - self.start, None].to(scores.device)
        token = torch.searchsorted(cumulative, numbers * cumulative[:, -1:], right=True).clamp(max=scores.shape[1] - 1)
        return torch.full_like(scores, float("-inf")).scatter_(1, token, 0.0)
