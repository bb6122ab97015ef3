"""What is noted before the first update: weights, what the untuned model thinks of some training rows, a range test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from ftp import heads
from ftp.types import Data, Loss, Model, StartedRun
from ftp_underfitting import weights

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Start:
    """`kept`: notes of the trained tensors. `frozen`: new heads that are not trained. `rows`, `losses`: some training rows
    and their losses before training, in nats. `learning_rate`: what the range test suggests, where it was `tested`."""

    kept: dict[str, weights.Kept]
    frozen: tuple[str, ...]
    rows: Dataset | None = None
    losses: Any = None
    learning_rate: float | None = None
    tested: bool = False


def notes(run: StartedRun, data: Data, model: Model, loss: Loss, *, rows: int, updates: int) -> Start:
    """Look at the untrained model. With labels guessing is known without it, so no row is scored."""
    kept = {} if run.settings.shard else weights.keep(weights.trained(model.net, loss.extra))
    frozen = tuple(weights.frozen_heads(model.net, model.fresh))
    alone = not loss.makes_rows
    chosen = losses = None
    if alone and rows and not run.settings.shard and not heads.get(run.task.head).picks_class_of:
        chosen = sample(data, rows, run.settings.seed)
        losses = score(run, model, loss, chosen) if chosen is not None else None
    found, tested = None, False
    if updates and alone and run.accelerator.num_processes == 1 and not run.settings.shard:
        found, tested = range_test(run, data, model, loss, updates), True
    return Start(kept, frozen, chosen, losses, found, tested)


def sample(data: Data, count: int, seed: int) -> Dataset | None:
    """Some training rows; of a stream the first."""
    import numpy as np

    from ftp.data.tables import from_rows

    train = data.splits.get("train")
    if train is None:
        return None
    if not hasattr(train, "num_rows"):
        first = list(islice(train, count))
        return from_rows(first) if first else None
    chosen = np.sort(np.random.default_rng(seed).choice(len(train), min(count, len(train)), replace=False))
    return train.select(chosen) if len(chosen) else None


def score(run: StartedRun, model: Model, loss: Loss, rows: Dataset) -> Any:
    """[rows] mean loss of each row in evaluation mode, in nats, encoded as held-out rows are: each by itself."""
    from ftp.data.encode import encode
    from ftp.evaluate.predict import predict

    encoded = encode(rows, loss.encode_to_score, "train", key=loss.key)
    return predict(run, model, loss, rows, encoded, "train", answers=False).losses if len(encoded) else None


def range_test(run: StartedRun, data: Data, model: Model, loss: Loss, updates: int) -> float | None:
    """Learning rate at which the loss falls fastest while the rate rises from 1e-7 to 1 (Smith 2017, section 3.3). All
    weights are put back. None where the loss never fell."""
    import torch

    from ftp.data.encode import encode
    from ftp.data.updates import as_rows

    size = run.settings.batch_size
    rows = sample(data, size * updates, run.settings.seed)
    encoded = encode(rows, loss.encode, "train", key=loss.key) if rows is not None else None
    trained = [weight for _, weight in weights.trained(model.net, loss.extra) if weight.requires_grad]
    if encoded is None or not len(encoded) or not trained:
        return None
    order = torch.randperm(len(encoded), generator=torch.Generator().manual_seed(run.settings.seed)).tolist()
    before = [weight.detach().clone() for weight in trained]
    optimizer = torch.optim.AdamW(trained, lr=0.0, weight_decay=0.0)
    training, rates, losses = model.net.training, list[float](), list[float]()
    model.net.train()
    try:
        for step in range(updates):
            chosen = [order[(step * size + place) % len(order)] for place in range(min(size, len(order)))]
            batch = loss.collate(as_rows(encoded[chosen]))
            for group in optimizer.param_groups:
                group["lr"] = 10.0 ** (-7 + 7 * step / max(1, updates - 1))
            optimizer.zero_grad(set_to_none=True)
            with run.accelerator.autocast():
                mean = loss.compute(batch).total / max(1, batch.count)
            value = float(mean.detach())
            if not math.isfinite(value) or (losses and value > 4 * losses[0]):
                break
            rates.append(optimizer.param_groups[0]["lr"])
            losses.append(value)
            mean.backward()
            torch.nn.utils.clip_grad_norm_(trained, run.settings.max_grad_norm or math.inf)
            optimizer.step()
    finally:
        with torch.no_grad():
            for weight, old in zip(trained, before, strict=True):
                weight.copy_(old)
                weight.grad = None
        model.net.train(training)
    return steepest(rates, losses)


def steepest(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """The rate at which the smoothed loss falls fastest per tenfold rate, before its lowest point; None where it never
    falls by 2 %."""
    import numpy as np

    if len(losses) < 8:
        return None
    width = max(3, len(losses) // 8)
    smooth = np.convolve(losses, np.ones(width) / width, "valid")
    middle = np.convolve(np.log10(rates), np.ones(width) / width, "valid")
    lowest = int(smooth.argmin())
    if lowest < 2 or smooth[lowest] > 0.98 * smooth[:width].mean():
        return None
    slope = np.gradient(smooth[: lowest + 1], middle[: lowest + 1])
    return float(10 ** middle[int(slope.argmin())])
