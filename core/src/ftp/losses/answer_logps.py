"""Log probabilities of answers, under the network and under its reference. Heavy: imports torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ftp.errors import UserError
from ftp.losses import tokens
from ftp.net import heads, layout
from ftp.types import Model, StartedRun

__all__ = ["kept_under", "lay", "logps", "precompute", "reference_logps"]


def lay(model: Model, ids: Sequence[Sequence[int]], spans: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Answers with their prompts as inputs on the network's device; `spans`: the stretches of each that count, flat.

    Beside the layout: `where` and `target`, the slots and token ids of the tokens that count, answer after answer, and
    `lengths`, how many there are of each answer.
    """
    labels = [tokens.labels(row, places) for row, places in zip(ids, spans, strict=True)]
    inputs = layout.lay(ids, packed=model.packed, pad_id=model.tokenizer.pad_token_id or 0,
                         padding_side=model.tokenizer.padding_side, beside={"labels": (labels, layout.IGNORED)})
    where, target, row = layout.targets(inputs, inputs.pop("labels"), shift=heads.shifts(model.net))
    device = next(model.net.parameters()).device
    laid: dict[str, Any] = {**inputs, "where": where, "target": target}
    laid = {name: tensor.to(device, non_blocking=True) for name, tensor in laid.items()}
    return {**laid, "lengths": torch.bincount(row, minlength=len(labels)).tolist()}


def logps(net: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
    """[answers] fp32 log probability of each answer given its prompt: the sum over its tokens, in nats. The same inputs
    and weights give the same bits (nothing is added in a random order)."""
    losses = heads.losses_at(net, inputs, inputs["where"], inputs["target"])
    return -pad_sequence(losses.split(inputs["lengths"]), batch_first=True).sum(1)


def reference_logps(model: Model, inputs: Mapping[str, Any]) -> Tensor:
    """`logps` under the weights as they were before this run, without dropout and without gradients."""
    if model.reference is None:
        raise UserError("the weights that the model had before its run are not at hand, and this loss compares with them",
                        "a finished run can be used and scored by other plugins: its model/ folder is a plain model")
    with model.reference() as net, torch.no_grad():
        return logps(net, inputs)


def precompute(run: StartedRun, model: Model, rows: Sequence[Any], columns: Mapping[str, tuple[str, str]]) -> None:
    """Put the reference's log probabilities into encoded rows, in batches of rows of similar length.

    `columns`: for each column to write, those of the answers' ids and spans. A second copy of the weights goes off the
    device afterwards.
    """
    order = sorted(range(len(rows)), key=lambda place: -rows[place]["length"])
    while order:
        most = max(1, run.settings.eval_batch_tokens // rows[order[0]]["length"])
        part, order = [rows[place] for place in order[:most]], order[most:]
        for column, (ids, spans) in columns.items():
            values, have = [0.0] * len(part), [place for place, row in enumerate(part) if row[ids]]
            if have:
                inputs = lay(model, [part[n][ids] for n in have], [part[n][spans] for n in have])
                with run.accelerator.autocast():
                    found = reference_logps(model, inputs).tolist()
                for place, value in zip(have, found, strict=True):
                    values[place] = value
            for row, value in zip(part, values, strict=True):
                row[column] = value
    if model.reference is not None:
        with model.reference() as net:
            if net is not model.net:
                net.to("cpu")


def kept_under(run: StartedRun, model: Model) -> tuple[str, str]:
    """What precomputed log probabilities depend on: the weights, and the precision that they were computed in."""
    return fingerprint(model.net), str(run.accelerator.mixed_precision)


def fingerprint(net: nn.Module) -> str:
    """A hash of all weights."""
    digest = hashlib.sha256()
    for name, weight in net.state_dict().items():
        digest.update(f"{name}|{weight.dtype}|{tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
