"""Completions sampled from a network. Heavy: imports torch.

Every token is drawn with a number of its own, from (seed, rollout, prompt, completion, place): the completion of a prompt does
not depend on which others are beside it, on which process, or on what was drawn before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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

from ftp.model.modes import evaluating
from ftp.net import layout
from ftp.types import Model

__all__ = ["Completion", "Sampler", "Sampling", "ended", "sample"]


@dataclass(frozen=True)
class Completion:
    """What was sampled after a prompt.

    Attributes:
        ids: token ids, with the one that ended it, where one did.
        ended: whether one did.
    """

    ids: list[int]
    ended: bool


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; the names are those of Transformers and TRL.

    Attributes:
        max_completion_length: tokens of a completion at most.
        temperature: what logits are divided by.
        top_p: share of the probability that the likeliest tokens have, of which one is drawn; 1: of all.
        top_k: how many of the likeliest tokens one is drawn of; 0: of all.
        stop: ids that end a completion.
    """

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
    """One completion of each prompt, drawn in evaluation mode.

    Args:
        model: a causal language model.
        prompts: token ids of each, which are padded on the left.
        keys: of each the numbers from which its tokens are drawn.
        how: how tokens are drawn.
        batch_tokens: tokens at most of prompts and completions that are generated side by side.
    """
    longest_first = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    completions: list[Completion] = [Completion([], False)] * len(prompts)
    # rows of similar length side by side have little padding
    with evaluating(model.net):
        start = 0
        while start < len(prompts):
            longest = len(prompts[longest_first[start]]) + how.max_completion_length
            part = longest_first[start : start + max(1, batch_tokens // longest)]
            lines = _generate(model, [prompts[index] for index in part], [keys[index] for index in part], how)
            for index, line in zip(part, lines, strict=True):
                completions[index] = ended(line, how.stop)
            start += len(part)
    return completions


def ended(line: Sequence[int], stop: Sequence[int]) -> Completion:
    """Generated ids up to the first that ends a completion, which is kept: it is a choice of the network as well.

    Args:
        line: the generated ids.
        stop: ids that end a completion.
    """
    for position, token in enumerate(line):
        if token in stop:
            return Completion(list(line[: position + 1]), True)
    return Completion(list(line), False)


def _generate(model: Model, prompts: Sequence[Sequence[int]], keys: Sequence[Sequence[int]], how: Sampling) -> list[list[int]]:
    """The ids that the network generates after each prompt, with what follows the token that ends them."""
    net = model.net
    pad = model.tokenizer.pad_token_id or 0
    laid = layout.lay(prompts, packed=False, pad_id=pad, padding_side="left", device=next(net.parameters()).device)
    start = laid["input_ids"].shape[1]
    # greedy search, which `Draw` leaves no other choice than the token that was drawn
    config = GenerationConfig(max_new_tokens=how.max_completion_length, do_sample=False, num_beams=1, use_cache=True,
                              eos_token_id=list(how.stop), pad_token_id=pad)
    with torch.no_grad():
        generated = net.generate(
            input_ids=laid["input_ids"], attention_mask=laid["attention_mask"], generation_config=config,
            logits_processor=LogitsProcessorList([Draw(keys, start, how)]))
    lines: list[list[int]] = generated[:, start:].tolist()
    return lines


class Draw(LogitsProcessor):  # type: ignore[misc,unused-ignore]
    """Draws each row's next token from its own numbers, and leaves greedy search no other choice."""

    def __init__(self, keys: Sequence[Sequence[int]], start: int, how: Sampling) -> None:
        numbers = [np.random.default_rng(key).random(how.max_completion_length) for key in keys]
        self.numbers = torch.tensor(np.stack(numbers))  # [rows, length] from 0 to 1
        self.start = start
        self.warpers: list[LogitsProcessor] = []
        if how.temperature != 1:
            self.warpers.append(TemperatureLogitsWarper(float(how.temperature)))
        if how.top_k:
            self.warpers.append(TopKLogitsWarper(how.top_k))
        if how.top_p < 1:
            self.warpers.append(TopPLogitsWarper(how.top_p))

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        logits = scores.float()
        for warp in self.warpers:
            logits = warp(input_ids, logits)
        # the token at which the cumulative probability passes the row's number; in fp64, as there may be many tokens
        cumulative = logits.softmax(-1).double().cumsum(-1)
        numbers = self.numbers[:, input_ids.shape[1] - self.start, None].to(scores.device)
        token = torch.searchsorted(cumulative, numbers * cumulative[:, -1:], right=True).clamp(max=scores.shape[1] - 1)
        return torch.full_like(scores, float("-inf")).scatter_(1, token, 0.0)
