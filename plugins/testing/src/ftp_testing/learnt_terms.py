"""Which tokens a loss would make likelier, read from the gradient at the logits. Heavy: imports torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ftp.types import Row
from ftp_testing.outcome import Fault, NotApplicable
from ftp_testing.scene import Scene


@dataclass(frozen=True)
class Learnt:
    """A token whose probability the loss would change. `likelier`: whether it would get likelier. `behind`: the token that
    stands right behind what it is predicted from; None where nothing does, or where that was not asked."""

    token: int
    likelier: bool
    behind: int | None = None


def learnt_tokens(scene: Scene, rows: Sequence[Row], *, placed: int = 0) -> list[Learnt]:
    """The tokens whose probability the loss of these rows would change, read from the gradient at the logits.

    Where a token is learnt, the gradient of the logits is largest at that token (its share is p - 1, that of others p), however
    the rows are laid out and whether it is to be likelier or less likely. `placed`: of a causal network, about as many of them,
    with what stands behind each. Raises `NotApplicable` where no head is to be seen.
    """
    net = scene.model.net
    head = net.get_output_embeddings()
    if head is None:
        raise NotApplicable(f"the network has no output over tokens (head {scene.model.head})")
    outputs: list[Tensor] = []
    read: list[Read] = []

    def keep_logits(module: nn.Module, arguments: tuple[Tensor, ...], logits: Tensor) -> None:
        if logits.requires_grad:
            logits.retain_grad()
            outputs.append(logits)

    def keep_embeddings(module: nn.Module, arguments: tuple[Tensor, ...], states: Tensor) -> Tensor:
        # a frozen table gives states without a gradient, which is needed here
        if not states.requires_grad:
            states = states.detach().requires_grad_(torch.is_grad_enabled())
        if states.requires_grad:
            read.append(Read(arguments[0], states))
        return states

    # logits and embeddings are seen by hooks, so that any objective can be looked at, however it lays out its rows
    with hooked(head, keep_logits), hooked(net.get_input_embeddings(), keep_embeddings), torch.enable_grad():
        scene.loss.compute(scene.batch(rows)).total.backward(retain_graph=placed > 0)
    net.zero_grad(set_to_none=True)
    terms = _terms(outputs)
    if not terms:
        raise Fault("no logit of the network's output gets a gradient from the loss",
                    "compute the loss from the network that is in `model`, with its own head")
    learnt: list[Learnt] = []
    # each of them costs a backward pass
    every = max(1, len(terms) // placed) if placed else 1
    for logits, slopes in terms[::every]:
        token = int(slopes.abs().argmax())
        learnt.append(Learnt(token, bool(slopes[token] < 0), _behind(logits[token], read) if placed else None))
    return learnt


class Read(NamedTuple):
    """Token ids that went into the network, and what was looked up for them."""

    ids: Tensor
    states: Tensor


def _terms(outputs: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """The logits of each slot that the loss depends on, with their gradient: [vocabulary] each."""
    passes: list[tuple[Tensor, Tensor]] = []
    for output in outputs:
        if output.grad is None:
            continue
        logits, slopes = output.flatten(0, -2), output.grad.flatten(0, -2)
        for number, (others, of_others) in enumerate(passes):
            # two parts of a loss that each ask for the same logits: what counts is their sum
            if torch.equal(others, logits):
                passes[number] = (others, of_others + slopes)
                break
        else:
            passes.append((logits, slopes))
    largest = max((float(slopes.abs().max()) for _, slopes in passes), default=0.0)
    terms: list[tuple[Tensor, Tensor]] = []
    for logits, slopes in passes:
        size = slopes.abs().amax(-1)
        if float(size.max()) < 1e-2 * largest:  # a pass that is compared with itself: its slopes are rounding alone
            continue
        is_term = size > 1e-6 * max(largest, 1e-12)
        terms += zip(logits[is_term], slopes[is_term], strict=True)
    return terms


def _behind(logit: Tensor, read: Sequence[Read]) -> int | None:
    """The token behind the last one that a logit of a causal network depends on."""
    slopes = torch.autograd.grad(logit, [part.states for part in read], retain_graph=True, allow_unused=True)
    for part, slope in zip(read, slopes, strict=True):
        if slope is None:
            continue
        slots = slope.abs().amax(-1).nonzero()
        if slots.numel():
            row, slot = slots[-1].tolist()
            return int(part.ids[row, slot + 1]) if slot + 1 < part.ids.shape[1] else None
    return None


@contextlib.contextmanager
def hooked(module: nn.Module, hook: Callable[..., Tensor | None]) -> Iterator[None]:
    """A forward hook on a module."""
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
