"""Log probabilities of answers, under the network and under its reference. Heavy: imports torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ftp.errors import UserError
from ftp.losses import tokens
from ftp.net import heads, layout
from ftp.types import Model, StartedRun

AnswerInputs = Mapping[str, Tensor | list[int]]
"""What `lay` gives."""

__all__ = ["kept_under", "lay", "logps", "precompute", "reference_logps"]


def lay(model: Model, ids: Sequence[Sequence[int]], spans: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Answers with their prompts as inputs on the network's device.

    Args:
        model: the model that scores them.
        ids: the token ids of each prompt with its answer.
        spans: the stretches of each that count, flat (`[start, end, start, end, ...]`).

    Returns:
        What `ftp.net.layout.lay` gives, and beside it `where` and `target` `[tokens] int64`, the slots and ids of the tokens
        that count, answer after answer, and `lengths`, how many of them each answer has.
    """
    labels = [tokens.labels(row, stretches) for row, stretches in zip(ids, spans, strict=True)]
    inputs = layout.lay(ids, packed=model.packed, pad_id=model.tokenizer.pad_token_id or 0,
                         padding_side=model.tokenizer.padding_side, beside={"labels": (labels, layout.IGNORED)})
    where, target, row = layout.targets(inputs, inputs.pop("labels"), shift=heads.shifts(model.net))
    device = next(model.net.parameters()).device
    laid = layout.to_device({**inputs, "where": where, "target": target}, device)
    # counted on the CPU, before anything has to wait for a device
    return {**laid, "lengths": torch.bincount(row, minlength=len(labels)).tolist()}


def logps(net: nn.Module, inputs: AnswerInputs) -> Tensor:
    """The log probability of each answer given its prompt: the sum over its tokens.

    The same inputs and weights give the same bits, as nothing is added in a random order.

    Args:
        net: a causal language model.
        inputs: what `lay` gives.

    Returns:
        `[answers] float32`, in nats.
    """
    losses = heads.losses_at(net, inputs, inputs["where"], inputs["target"])
    return -pad_sequence(losses.split(inputs["lengths"]), batch_first=True).sum(1)


def reference_logps(model: Model, inputs: AnswerInputs) -> Tensor:
    """`logps` under the weights as they were before this run, without dropout and without gradients.

    Args:
        model: the model, whose `reference` has these weights.
        inputs: what `lay` gives.

    Returns:
        `[answers] float32`, in nats.

    Raises:
        UserError: nothing has the weights from before the run.
    """
    if model.reference is None:
        raise UserError("the weights that the model had before its run are not at hand, and this loss compares with them",
                        "a finished run can be used and scored by other plugins: its model/ folder is a plain model")
    with model.reference() as net, torch.no_grad():
        return logps(net, inputs)


def precompute(run: StartedRun, model: Model, rows: Sequence[Any], columns: Mapping[str, tuple[str, str]]) -> None:
    """Put the reference's log probabilities into encoded rows, in batches of rows of similar length.

    A second copy of the weights goes off the device afterwards.

    Args:
        run: the run, whose precision and `--eval-batch-tokens` are used.
        model: the model, whose `reference` has the weights.
        rows: encoded rows, which are changed; each has `length`, its number of tokens.
        columns: for each column to write, those of the answers' ids and spans; 0 is written where a row has no such answer.
    """
    for batch in _by_length(rows, run.settings.eval_batch_tokens):
        for column, (ids, spans) in columns.items():
            for row in batch:
                row[column] = 0.0
            answered = [row for row in batch if row[ids]]
            if not answered:
                continue
            inputs = lay(model, [row[ids] for row in answered], [row[spans] for row in answered])
            with run.accelerator.autocast():
                values = reference_logps(model, inputs).tolist()
            for row, value in zip(answered, values, strict=True):
                row[column] = value
    # the reference is not asked again; one that is the network itself, with its adapter off, stays
    if model.reference is not None:
        with model.reference() as net:
            if net is not model.net:
                net.to("cpu")


def _by_length(rows: Sequence[Any], batch_tokens: int) -> Iterator[Sequence[Any]]:
    """The rows in batches, longest first, each of as many as `batch_tokens` hold beside its longest."""
    longest_first = sorted(rows, key=lambda row: -row["length"])
    start = 0
    while start < len(longest_first):
        most = max(1, batch_tokens // longest_first[start]["length"])
        yield longest_first[start : start + most]
        start += most


def kept_under(run: StartedRun, model: Model) -> tuple[str, str]:
    """What precomputed log probabilities depend on, as parts of a key of the cache.

    Args:
        run: the run, of which the precision counts.
        model: the model, of which the weights count.

    Returns:
        A hash of all weights, and the name of the precision.
    """
    return fingerprint(model.net), str(run.accelerator.mixed_precision)


def fingerprint(net: nn.Module) -> str:
    """A hash of all weights."""
    digest = hashlib.sha256()
    for name, weight in net.state_dict().items():
        digest.update(f"{name}|{weight.dtype}|{tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
