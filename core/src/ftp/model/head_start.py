"""How a new head begins: as a linear model fitted on the features that it reads, not with random numbers (Kumar et al. 2022,
arXiv:2202.10054). Heavy: imports torch.

Random numbers in the head send gradients of no meaning into the body, which forgets what it knew before the head has learnt to
read it. A fitted head begins where a linear model on frozen features ends, so that training can only add to it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedModel

from ftp import forms, heads
from ftp.folder.files import Folder
from ftp.model import linear_fit, mean_layer
from ftp.model.linear_fit import Numbers, Target
from ftp.model.modes import evaluating
from ftp.net.heads import output_layers
from ftp.types import Batch, Data, Model, Row, Run, StartedRun

FEWEST_ROWS = 8
"""Rows from which a head is fitted."""
ROWS_AT_MOST = 2000
ROWS_COMPARED = 600
"""Rows on which ways of fitting are compared with one another."""
MOST_NUMBERS = 2e8
"""Rows times width times outputs at most: a minute or so of fitting."""
STRENGTHS = (0.01, 0.1, 1.0)
"""Inverse penalties (scikit-learn's `C`) that are tried."""
ROWS_AT_ONCE = 32
TERMS_AT_MOST = 20_000
"""Words that a head of words is fitted on at most."""

FACT = "head_start"
"""What run.json keeps of the choice."""
AS_IT_IS = "as the head reads them"
MEAN = "mean of all tokens"


class Fitted(Protocol):
    """What a loss needs to have so that a head can be fitted for it; the losses of `labels` and `tags` have it."""

    def encode(self, rows: Sequence[Row]) -> Iterator[Any]: ...

    def collate(self, rows: Sequence[Any]) -> Batch: ...

    def logits_of(self, batch: Batch) -> Tensor:
        """[terms, outputs] what the head says."""

    def targets_of(self, batch: Batch) -> Tensor:
        """[terms] or [terms, outputs] what it should say."""


def begin(run: StartedRun, data: Data, model: Model) -> Model:
    """The model with its new head fitted on the training rows, told in the log.

    As it is where the head is not new, where it cannot be fitted, or with `--head-init random`.

    Args:
        run: the run, for its settings and its device.
        data: the rows; those of `train` are fitted on, 2,000 at most.
        model: a model on any device, whose network is changed.
    """
    spec = heads.get(model.head)
    if run.settings.head_init == "random" or not spec.probe or not model.fresh or spec.default_loss is None:
        return model
    train = data.splits.get("train")
    is_stored = hasattr(train, "num_rows")
    if train is None or not is_stored or forms.get(data.form).default_head != model.head:
        return model
    layers = output_layers(model.net, len(model.labels) or 1)
    if not layers:
        return model
    if len(train) < FEWEST_ROWS:
        run.tell(f"the new head begins with random numbers: {len(train)} training rows are too few to fit it on")
        return model
    model.net.to(run.accelerator.device)
    loss: Any = spec.default_loss(run, data, model)
    return _fitted(run, model, spec.probe, layers, loss, train)


def tell_what_may_change(run: Run, model: Model) -> None:
    """Say which layer a run may train and save beside the new head, where nobody knows it before rows were read.

    Args:
        run: the run, for its settings.
        model: the model, with weights or without.
    """
    spec = heads.get(model.head)
    if run.settings.head_init == "random" or not spec.reads_first_token or not model.fresh:
        return
    parts = mean_layer.parts_of(model.net)
    if parts is None:
        return
    numbers = sum(weight.numel() for name in parts.changed for weight in model.net.get_submodule(name).parameters())
    run.tell(f"where the mean of all tokens says more of the training rows than the first token, {' and '.join(parts.changed)} "
             f"({numbers:,} parameters) are new as the head is, and are trained and saved with it; --head-init random: never")


def _fitted(
    run: StartedRun, model: Model, target: Target, layers: Sequence[nn.Linear], loss: Fitted, train: Dataset
) -> Model:
    layer = layers[0]
    draw = np.random.default_rng(run.settings.seed)
    rows_at_most = int(min(ROWS_AT_MOST, max(200, MOST_NUMBERS / layer.in_features / layer.out_features)))
    chosen = draw.permutation(len(train))[:rows_at_most]
    encoded = list(loss.encode([dict(row) for row in train.select(chosen)]))

    # What the head reads now, and what it would read where the last layer averages.
    features, targets = read_features(run, model, layer, loss, encoded)
    if not np.isfinite(features).all():
        run.tell("the new head begins with random numbers: what it reads of some rows is not finite")
        return model
    if target == "class" and len(np.unique(targets)) < 2:
        run.tell("the new head begins with random numbers: the training rows are all of one class")
        return model
    kinds = {AS_IT_IS: features}
    parts = mean_layer.parts_of(model.net) if heads.get(model.head).reads_first_token else None
    before: Mapping[str, Tensor] = {}
    if parts is not None:
        before = mean_layer.average(model.net, parts)
        of_mean, _ = read_features(run, model, layer, loss, encoded)
        kinds[MEAN] = mean_layer.standardise(model.net, parts, of_mean)

    # The better of the two on rows that were not fitted, each with the penalty that suits it.
    has_bias = layer.bias is not None
    scores: dict[tuple[str, float], float] = {}
    for kind, of_kind in kinds.items():
        for strength in STRENGTHS:
            few = of_kind[:ROWS_COMPARED]
            scores[kind, strength] = linear_fit.cross_validated(
                target, few, targets[:ROWS_COMPARED], layer.out_features, strength, has_bias)
    kind, strength = _as_begun(run, max(scores, key=scores.__getitem__))
    if before and kind != MEAN:
        mean_layer.put_back(model.net, before)

    # PEFT is not there yet; a network that another plugin made may hold copies of its head.
    fit = linear_fit.fit(target, kinds[kind], targets, layer.out_features, strength, has_bias)
    with torch.no_grad():
        for same in layers:
            same.weight.copy_(torch.from_numpy(fit.weight))
            if same.bias is not None:
                same.bias.copy_(torch.from_numpy(fit.bias))
    run.tell(f"the new head begins as a linear model of {len(chosen)} training rows, on features {_named(kind, parts)} "
             f"(--head-init random: with random numbers)")
    averaging = parts.changed if parts is not None and kind == MEAN else ()
    fresh = tuple(dict.fromkeys([*model.fresh, *averaging]))
    weights = {}
    for name, weight in model.net.named_parameters():
        if any(f"{name}.".startswith(f"{module}.") for module in fresh):
            weights[name] = weight.detach().clone()
    return dataclasses.replace(model, fresh=fresh, has_fitted_head=True, averaging=averaging,
                               reference=_with_weights(model.reference, weights))


def _as_begun(run: StartedRun, chosen: tuple[str, float]) -> tuple[str, float]:
    """The features and the penalty that a run began with, where it goes on; else what was chosen now, which is kept.

    Another machine may find another choice the better one by the last digits, which would train other layers.
    """
    facts = Folder(run.out).read_facts()
    choice: list[Any] = [facts.get(FACT, {"features": chosen[0], "strength": chosen[1]})]
    if run.accelerator.num_processes > 1:
        from accelerate.utils import broadcast_object_list

        broadcast_object_list(choice)
    # a folder that has no facts is not that of a run
    if facts and FACT not in facts and run.accelerator.is_main_process:
        Folder(run.out).write_facts(**{FACT: choice[0]})
    return choice[0]["features"], choice[0]["strength"]


def _named(kind: str, parts: mean_layer.Parts | None) -> str:
    """The features in words."""
    if kind == MEAN and parts is not None:
        return f"that are the mean of all tokens, which the last layer ({parts.layer}) now gives"
    return kind


def read_features(
    run: StartedRun, model: Model, layer: nn.Linear, loss: Fitted, encoded: Sequence[Any]
) -> tuple[Numbers, Numbers]:
    """What the last layer of a head reads, and what it should say.

    Args:
        run: the run, for its precision.
        model: the model.
        layer: the last layer of its head.
        loss: encodes rows, and says what the head gives.
        encoded: rows as the loss encodes them.

    Returns:
        `[terms, width] float32` and `[terms, ...]`, 20,000 at most, in an order that depends on the seed alone.
    """
    longest_first = sorted(encoded, key=lambda row: -len(row["input_ids"]))
    features: list[Numbers] = []
    targets: list[Numbers] = []
    # the layer lets through what it reads, so that the head's own code says where its terms are
    handle = layer.register_forward_hook(lambda module, inputs, output: inputs[0])
    try:
        with evaluating(model.net), torch.no_grad(), run.accelerator.autocast():
            for start in range(0, len(longest_first), ROWS_AT_ONCE):
                batch = loss.collate(longest_first[start : start + ROWS_AT_ONCE])
                features.append(loss.logits_of(batch).float().cpu().numpy())
                targets.append(loss.targets_of(batch).cpu().numpy())
    finally:
        handle.remove()
    # in random order, so that the first of them are a sample
    order = np.random.default_rng(run.settings.seed).permutation(sum(map(len, targets)))[:TERMS_AT_MOST]
    return np.concatenate(features)[order], np.concatenate(targets)[order]


def _with_weights(
    reference: Callable[[], AbstractContextManager[PreTrainedModel]] | None, weights: Mapping[str, Tensor]
) -> Callable[[], AbstractContextManager[PreTrainedModel]] | None:
    """`Model.reference` with the head as this run began: the checkpoint has none."""
    if reference is None:
        return None

    @contextlib.contextmanager
    def with_weights() -> Iterator[PreTrainedModel]:
        with reference() as net:
            with torch.no_grad():
                for name, value in weights.items():
                    net.get_parameter(name).copy_(value)
            yield net

    return with_weights
