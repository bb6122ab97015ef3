"""Predictions, made once and gathered in order; and a finished run, ready to answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftp.data.domains import COLUMN
from ftp.types import Batch, Loss, LossOut, Metric, Model, Prediction, Predictions, Row, StartedRun

if TYPE_CHECKING:
    from datasets import Dataset


def predict(
    run: StartedRun,
    model: Model,
    loss: Loss,
    rows: Dataset,
    encoded: Dataset,
    split: str,
    forward: Callable[[Batch], LossOut] | None = None,
    *,
    answers: bool = True,
) -> Predictions:
    """Losses of all rows of a split, and the answers to them, on every rank.

    Rows are taken longest first, so that batches are even; the result is in row order. A row that was encoded as
    several (windows of a long text) gets their summed loss and, through `loss.merge`, one answer.
    """
    import numpy as np
    import torch

    accelerator = run.accelerator
    forward = forward or loss.compute
    has_answers = answers and loss.has_answers
    training, found = model.net.training, list[tuple[int, float, float, Any]]()
    # Each domain of a run of several has batches of its own, so that its metrics, which are sums over a batch, are known.
    numbers_of = _numbers_by_domain(rows, encoded)
    parts = []
    for domain, encoded_numbers in numbers_of.items():
        own_parts = _parts(encoded, run.settings.eval_batch_tokens, accelerator.process_index, accelerator.num_processes,
                           encoded_numbers)
        parts += [(domain, numbers, real) for numbers, real in own_parts]
    sums: dict[tuple[str, str], float] = {}  # (domain, name) -> sum
    model.net.eval()
    try:
        with torch.no_grad(), accelerator.autocast():
            for domain, numbers, real in parts:
                batch = loss.collate(_rows(encoded, numbers))
                out = forward(batch)
                given = loss.answer(batch, out) if has_answers else [None] * len(numbers)
                if not real:
                    continue
                losses, counts = _by_row(out, batch, len(numbers))
                found.extend(zip(numbers, losses, counts, given, strict=True))
                for name, value in out.metrics.items():
                    sums[domain, name] = sums.get((domain, name), 0.0) + float(value)
    finally:
        model.net.train(training)
    if accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        found = gather_object(found)
        sums = _added(gather_object([sums]))
    found.sort(key=lambda one: one[0])
    total, count = np.zeros(len(rows)), np.zeros(len(rows))
    windows: dict[int, list[int]] = {}
    row_of = encoded["row"]
    for place, (number, row_loss, row_count, _) in enumerate(found):
        row = int(row_of[number])
        total[row] += row_loss
        count[row] += row_count
        windows.setdefault(row, []).append(place)
    with np.errstate(invalid="ignore", divide="ignore"):
        losses_by_row = np.where(count > 0, total / count, np.nan)
    merged: list[Prediction] = []
    if has_answers:
        for row in range(len(rows)):
            places = windows.get(row, [])
            if places:
                merged.append(loss.merge([found[p][3] for p in places], _rows(encoded, [found[p][0] for p in places])))
            else:
                merged.append(Prediction(None))
    mean = float(total.sum() / count.sum()) if count.sum() else math.nan
    kinds = {name: loss.metrics.get(name, Metric()) for _, name in sums}
    over = {"rows": max(1, len(found)), "terms": max(1.0, float(count.sum()))}
    totals: dict[str, float] = {}
    for (_, name), value in sums.items():
        totals[name] = totals.get(name, 0.0) + value
    metrics = {name: value / over[kinds[name].over] for name, value in totals.items()}
    domain_metrics: dict[str, dict[str, float]] = {}
    for (domain, name), value in sums.items() if "" not in numbers_of else ():
        terms = count[np.unique(np.asarray(row_of)[numbers_of[domain]])].sum()
        own_over = {"rows": max(1, len(numbers_of[domain])), "terms": max(1.0, float(terms))}
        domain_metrics.setdefault(domain, {})[name] = value / own_over[kinds[name].over]
    goals = {name: kind.goal for name, kind in kinds.items()}
    return Predictions(split, rows, merged, mean, losses_by_row, metrics, goals, count, domain_metrics)


def _numbers_by_domain(rows: Dataset, encoded: Dataset) -> dict[str, Sequence[int]]:
    """The numbers of the encoded rows of each domain, where rows say theirs; else all of them, under no name."""
    import numpy as np

    if COLUMN not in rows.column_names:
        return {"": range(len(encoded))}
    domain_of = np.asarray(rows[COLUMN])[np.asarray(encoded["row"], dtype=np.int64)]
    return {str(domain): np.flatnonzero(domain_of == domain).tolist() for domain in np.unique(domain_of)}


def answer(model: Model, loss: Loss, encoded: Sequence[Row], *, batch_tokens: int = 16384) -> list[Prediction]:
    """The model's answer to encoded rows without labels, in order, one for each `row`."""
    import torch

    order = sorted(range(len(encoded)), key=lambda number: -len(encoded[number]["input_ids"]))
    given: dict[int, Prediction] = {}
    model.net.eval()
    with torch.inference_mode():
        for part in _even(order, [len(row["input_ids"]) for row in encoded], batch_tokens):
            batch = loss.collate([encoded[number] for number in part])
            given.update(zip(part, loss.answer(batch, None), strict=True))
    rows: dict[int, list[int]] = {}
    for number, row in enumerate(encoded):
        rows.setdefault(int(row.get("row", number)), []).append(number)
    return [loss.merge([given[n] for n in numbers], [encoded[n] for n in numbers]) for _, numbers in sorted(rows.items())]


def _parts(
    encoded: Dataset, tokens: int, rank: int, world: int, numbers: Sequence[int] | None = None
) -> list[tuple[list[int], bool]]:
    """Batches of row numbers for one rank, longest first, of all rows or of these `numbers`. All ranks get as many batches (the
    last one again, marked False), since under FSDP a forward pass is a step that all take together."""
    lengths = encoded["length"]
    order = sorted(range(len(lengths)) if numbers is None else numbers, key=lambda number: (-lengths[number], number))
    all_parts = _even(order, lengths, tokens)
    mine = [(part, True) for part in all_parts[rank::world]]
    most = math.ceil(len(all_parts) / world)
    return mine + [(all_parts[0], False)] * (most - len(mine)) if all_parts else []


def _even(order: Sequence[int], lengths: Sequence[int], tokens: int, most: int = 256) -> list[list[int]]:
    parts: list[list[int]] = []
    for number in order:
        last = parts[-1] if parts else None
        if last is None or len(last) >= most or (len(last) + 1) * lengths[last[0]] > tokens:
            parts.append([number])
        else:
            last.append(number)
    return parts


def _rows(encoded: Dataset, numbers: Sequence[int]) -> list[Row]:
    from ftp.data.tables import as_rows

    return as_rows(encoded[list(numbers)])


def _by_row(out: LossOut, batch: Batch, rows: int) -> tuple[list[float], list[float]]:
    if out.row_losses is None:  # an objective that tells only the sum: spread evenly
        return [float(out.total) / rows] * rows, [batch.count / rows] * rows
    counts = out.row_counts.tolist() if out.row_counts is not None else [1.0] * rows
    return out.row_losses.float().tolist(), counts


def _added(many: Sequence[Mapping[tuple[str, str], float]]) -> dict[tuple[str, str], float]:
    names = {name for one in many for name in one}
    return {name: sum(one.get(name, 0.0) for one in many) for name in names}
