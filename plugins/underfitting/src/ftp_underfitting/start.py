"""What is noted before the first update: weights, losses of some training rows, a range test."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from ftp import heads
from ftp.types import Data, Loss, Model, StartedRun
from ftp_underfitting import weights

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

DECADES = 7
"""The range test goes from a learning rate of 1e-7 to 1, by equal factors."""
BROKEN = 4
"""The range test ends where the loss is this many times the first one."""
LEAST_FALL = 0.02
"""Share of the loss that must go in the range test for a rate to be suggested."""


@dataclass(frozen=True)
class Start:
    """The model before training.

    `snapshots`: of the trained tensors. `frozen`: new heads that are not trained. `rows`, `losses`:
    some training rows and their losses before training, in nats. `learning_rate`: what the range
    test suggests, where it was `tested`.
    """

    snapshots: dict[str, weights.Snapshot]
    frozen: tuple[str, ...]
    rows: Dataset | None = None
    losses: Any = None
    learning_rate: float | None = None
    tested: bool = False


def look_at_start(
    run: StartedRun, data: Data, model: Model, loss: Loss, *, rows: int, updates: int
) -> Start:
    """Look at the untrained model.

    Args:
        rows: training rows to score.
        updates: of the range test; 0: none.
    """
    # the weights of a sharded model are in pieces, which neither norms nor scores can read
    is_whole = not run.settings.shard
    snapshots = {}
    if is_whole:
        snapshots = weights.take_snapshots(weights.named_tensors(model.net, loss.extra))
    frozen = tuple(weights.frozen_heads(model.net, model.fresh))
    has_rows = not loss.makes_rows
    sample = None
    losses = None
    # with classes the loss of guessing is known without the model, so no row is scored
    if has_rows and rows and is_whole and not heads.get(run.task.head).picks_class_of:
        sample = sample_rows(data, rows, run.settings.seed)
        losses = score(run, model, loss, sample) if sample is not None else None
    rate = None
    is_tested = False
    if updates and has_rows and is_whole and run.accelerator.num_processes == 1:
        rate = range_test(run, data, model, loss, updates)
        is_tested = True
    return Start(snapshots, frozen, sample, losses, rate, is_tested)


def sample_rows(data: Data, count: int, seed: int) -> Dataset | None:
    """Some training rows; of a stream the first."""
    import numpy as np

    from ftp.data.tables import from_rows

    train = data.splits.get("train")
    if train is None:
        return None
    if not hasattr(train, "num_rows"):
        first = list(islice(train, count))
        return from_rows(first) if first else None
    count = min(count, len(train))
    indices = np.sort(np.random.default_rng(seed).choice(len(train), count, replace=False))
    return train.select(indices) if len(indices) else None


def score(run: StartedRun, model: Model, loss: Loss, rows: Dataset) -> Any:
    """[rows] mean loss of each row in evaluation mode, in nats; None where none could be encoded.

    Rows are encoded as held-out ones are: each by itself.
    """
    from ftp.risks import encode_split, predict

    encoded = encode_split(rows, loss.encode_to_score, "train", key=loss.key)
    if not len(encoded):
        return None
    return predict(run, model, loss, rows, encoded, "train", answers=False).losses


# --- the range test ---


def range_test(run: StartedRun, data: Data, model: Model, loss: Loss, updates: int) -> float | None:
    """Raise the learning rate from 1e-7 to 1, and find where the loss falls fastest.

    After Smith (2017, section 3.3). All weights are put back. None where the loss never fell.
    """
    import torch

    from ftp.risks import encode_split

    size = run.settings.batch_size
    rows = sample_rows(data, size * updates, run.settings.seed)
    encoded = encode_split(rows, loss.encode, "train", key=loss.key) if rows is not None else None
    trained = []
    for _, weight in weights.named_tensors(model.net, loss.extra):
        if weight.requires_grad:
            trained.append(weight)
    if encoded is None or not len(encoded) or not trained:
        return None
    generator = torch.Generator().manual_seed(run.settings.seed)
    order = torch.randperm(len(encoded), generator=generator).tolist()
    with _training_for_a_while(model, trained):
        rates, losses = _train_with_rising_rate(run, loss, encoded, order, trained, updates)
    return steepest(rates, losses)


def _train_with_rising_rate(
    run: StartedRun,
    loss: Loss,
    encoded: Any,
    order: Sequence[int],
    trained: Sequence[torch.nn.Parameter],
    updates: int,
) -> tuple[list[float], list[float]]:
    """The learning rate of each update and the loss before it, until the loss breaks out."""
    import torch

    from ftp.risks import as_rows

    size = run.settings.batch_size
    optimizer = torch.optim.AdamW(trained, lr=0.0, weight_decay=0.0)
    rates: list[float] = []
    losses: list[float] = []
    for step in range(updates):
        # the rows in a random order, again from its beginning where they are few
        indices = []
        for offset in range(min(size, len(order))):
            indices.append(order[(step * size + offset) % len(order)])
        batch = loss.collate(as_rows(encoded[indices]))
        rate = 10.0 ** (-DECADES + DECADES * step / max(1, updates - 1))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        with run.accelerator.autocast():
            mean = loss.compute(batch).total / max(1, batch.count)
        value = float(mean.detach())
        if not math.isfinite(value) or (losses and value > BROKEN * losses[0]):
            break
        rates.append(rate)
        losses.append(value)
        mean.backward()
        torch.nn.utils.clip_grad_norm_(trained, run.settings.max_grad_norm or math.inf)
        optimizer.step()
    return rates, losses


@contextmanager
def _training_for_a_while(model: Model, trained: Sequence[torch.nn.Parameter]) -> Iterator[None]:
    """Training mode; afterwards mode and weights are as they were."""
    import torch

    before = [weight.detach().clone() for weight in trained]
    was_training = model.net.training
    model.net.train()
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, old in zip(trained, before, strict=True):
                weight.copy_(old)
                weight.grad = None
        model.net.train(was_training)


def steepest(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """The rate at which the smoothed loss falls fastest per tenfold rate, before its lowest point.

    None where it never falls by 2 %.
    """
    import numpy as np

    if len(losses) < 8:
        return None
    width = max(3, len(losses) // 8)
    window = np.ones(width) / width
    smooth_losses = np.convolve(losses, window, "valid")
    smooth_decades = np.convolve(np.log10(rates), window, "valid")
    lowest = int(smooth_losses.argmin())
    first = smooth_losses[:width].mean()
    if lowest < 2 or smooth_losses[lowest] > (1 - LEAST_FALL) * first:
        return None
    slopes = np.gradient(smooth_losses[: lowest + 1], smooth_decades[: lowest + 1])
    return float(10 ** smooth_decades[int(slopes.argmin())])
