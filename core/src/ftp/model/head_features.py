"""What a head reads of rows: as it is, and the means over tokens that it could read. Heavy: imports torch."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ftp import forms, heads
from ftp.model import mean_layer
from ftp.model.head_fit import Features
from ftp.model.linear_fit import Numbers
from ftp.model.modes import evaluating
from ftp.types import Batch, Data, Model, Row, StartedRun

ROWS_AT_ONCE = 32
TERMS_AT_MOST = 20_000
"""Words that a head of words is fitted on at most."""
FEWEST_LETTERS = 3
"""Letters of the name of a class at least that says what the class is."""


class Fitted(Protocol):
    """What a loss needs to have so that a head can be fitted for it; the losses of `labels` and `tags` have it."""

    def encode(self, rows: Sequence[Row]) -> Iterator[Any]: ...

    def collate(self, rows: Sequence[Any]) -> Batch: ...

    def logits_of(self, batch: Batch) -> Tensor:
        """[terms, outputs] what the head says."""

    def targets_of(self, batch: Batch) -> Tensor:
        """[terms] or [terms, outputs] what it should say."""


def names_as_rows(data: Data, model: Model) -> list[Row]:
    """The names of the classes as rows of these; none where rows are not single texts, or a name says nothing (a number)."""
    spec = heads.get(model.head)
    columns = forms.get(data.form).of_kind("text")
    present = data.splits["train"].column_names
    texts = [column.name for column in columns if not column.is_answer and column.name in present]
    if spec.picks_class_of != "row" or len(texts) != 1:
        return []
    rows: list[Row] = []
    for number, name in enumerate(model.labels):
        words = re.sub(r"[\W_]+", " ", name).strip()
        says_nothing = re.fullmatch(r"(class|label|category)?[\d ]*", words.lower()) is not None
        if says_nothing or len(re.sub(r"[\W\d_]", "", words)) < FEWEST_LETTERS:
            return []
        rows.append({texts[0]: words, "label": number})
    return rows


def read(
    run: StartedRun, model: Model, layer: nn.Linear, loss: Fitted, rows: Sequence[Any], names: Sequence[Any]
) -> Features:
    """What the head reads of rows and of the names of classes."""
    values, targets = read_features(run, model, layer, loss, rows)
    if not names:
        return Features(values, targets)
    of_names, classes = read_features(run, model, layer, loss, names)
    return Features(np.concatenate([values, of_names]), np.concatenate([targets, classes]), len(names))


def read_means(
    run: StartedRun, model: Model, parts: mean_layer.Parts, numbers: Sequence[int], loss: Fitted, rows: Sequence[Any],
    names: Sequence[Any], like: Features,
) -> dict[int, Features]:
    """The mean over the tokens of each row behind some layers, by their numbers.

    Args:
        like: what the head reads now of the same rows, in the same order.
    """
    means = _layer_means(run, model, parts, numbers, loss, rows)
    if names:
        of_names = _layer_means(run, model, parts, numbers, loss, names)
        means = {number: np.concatenate([means[number], of_names[number]]) for number in numbers}
    return {number: Features(values, like.targets, like.num_names) for number, values in means.items()}


def _layer_means(
    run: StartedRun, model: Model, parts: mean_layer.Parts, numbers: Sequence[int], loss: Fitted, encoded: Sequence[Any]
) -> dict[int, Numbers]:
    """Layer -> `[rows, width] float32` the normalised mean over the tokens of each row, in the order of `read_features`."""
    means: dict[int, list[Numbers]] = {number: [] for number in numbers}
    masks: list[Tensor] = []

    def keep_mask(module: nn.Module, args: tuple[Any, ...], named: Mapping[str, Tensor]) -> None:
        masks[:] = [named["attention_mask"].unsqueeze(-1)]

    def keep_mean(number: int, output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        mask = masks[0]
        sums = (states.float() * mask).sum(1) / mask.sum(1)
        # as the layer norm of an averaging layer gives them
        means[number].append(torch.nn.functional.layer_norm(sums, sums.shape[-1:]).cpu().numpy())

    layers = mean_layer.layers_of(model.net, parts)
    with contextlib.ExitStack() as stack:
        stack.callback(model.net.register_forward_pre_hook(keep_mask, with_kwargs=True).remove)
        for number in numbers:
            handle = layers[number - 1].register_forward_hook(
                lambda module, args, output, number=number: keep_mean(number, output))
            stack.callback(handle.remove)
        with evaluating(model.net), torch.no_grad(), run.accelerator.autocast():
            for batch in _batches(loss, encoded):
                loss.logits_of(batch)
    order = _order(run, len(encoded))
    return {number: np.concatenate(parts_of_it)[order] for number, parts_of_it in means.items()}


def _batches(loss: Fitted, encoded: Sequence[Any]) -> Iterator[Batch]:
    """Rows in batches, the longest first."""
    longest_first = sorted(encoded, key=lambda row: -len(row["input_ids"]))
    for start in range(0, len(longest_first), ROWS_AT_ONCE):
        yield loss.collate(longest_first[start : start + ROWS_AT_ONCE])


def _order(run: StartedRun, num_terms: int) -> NDArray[np.int64]:
    """A random order of terms, so that the first of them are a sample."""
    return np.random.default_rng(run.settings.seed).permutation(num_terms)[:TERMS_AT_MOST]


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
    features: list[Numbers] = []
    targets: list[Numbers] = []
    # the layer lets through what it reads, so that the head's own code says where its terms are
    handle = layer.register_forward_hook(lambda module, inputs, output: inputs[0])
    try:
        with evaluating(model.net), torch.no_grad(), run.accelerator.autocast():
            for batch in _batches(loss, encoded):
                features.append(loss.logits_of(batch).float().cpu().numpy())
                targets.append(loss.targets_of(batch).cpu().numpy())
    finally:
        handle.remove()
    order = _order(run, sum(map(len, targets)))
    return np.concatenate(features)[order], np.concatenate(targets)[order]
