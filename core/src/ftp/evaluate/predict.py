"""Predictions, made once and gathered in order; and a finished run, ready to answer."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftp.data.domains import COLUMN
from ftp.types import Batch, EncodedRow, Loss, LossOut, Metric, Model, Prediction, Predictions, Row, StartedRun

if TYPE_CHECKING:
    from datasets import Dataset

ROWS_AT_ONCE = 256
"""Rows of a batch at most, however short they are."""


@dataclass(frozen=True)
class ScoredWindow:
    """What the model made of one encoded row: a whole row, or a window of a long one.

    `index`: its number among the encoded rows. `loss_sum`: over its terms, in nats. `prediction`: None where none is asked for.
    """

    index: int
    loss_sum: float
    num_terms: float
    prediction: Prediction | None


@dataclass(frozen=True)
class RankBatch:
    """The numbers of encoded rows that a rank takes together. `is_filler`: another batch says the same, and this is not
    counted."""

    indices: list[int]
    is_filler: bool = False


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

    Args:
        run: for its processes, its precision and `--eval-batch-tokens`.
        model: its network is in the mode that it was in afterwards.
        loss: how rows are collated, scored and answered.
        rows: the rows of the split, with all their columns.
        encoded: `rows` as the loss encodes them; the column `row` says which of `rows` each was made of.
        split: the name that the predictions get.
        forward: computes the loss through the prepared (distributed) network; None: `loss.compute`.
        answers: whether rows are answered too, not only scored.
    """
    import numpy as np

    has_answers = answers and loss.has_answers
    indices_of_domain = _indices_by_domain(rows, encoded)
    scored, metric_sums = _score(run, model, loss, encoded, indices_of_domain, forward or loss.compute, has_answers)
    scored.sort(key=lambda window: window.index)

    # the windows of a row are put together
    loss_sum = np.zeros(len(rows))  # nats
    num_terms = np.zeros(len(rows))
    windows_of_row: dict[int, list[ScoredWindow]] = defaultdict(list)
    row_of_window = np.asarray(encoded["row"], dtype=np.int64)
    for window in scored:
        row = int(row_of_window[window.index])
        loss_sum[row] += window.loss_sum
        num_terms[row] += window.num_terms
        windows_of_row[row].append(window)
    with np.errstate(invalid="ignore", divide="ignore"):
        losses = np.where(num_terms > 0, loss_sum / num_terms, np.nan)
    loss_mean = float(loss_sum.sum() / num_terms.sum()) if num_terms.sum() else math.nan
    merged: list[Prediction] = []
    if has_answers:
        merged = [_merge(loss, encoded, windows_of_row.get(row, [])) for row in range(len(rows))]

    # metrics were summed over batches, and become means
    totals = _added(metric_sums.values())
    kinds = {name: loss.metrics.get(name, Metric()) for name in totals}
    metrics = _means(totals, kinds, len(scored), float(num_terms.sum()))
    domain_metrics: dict[str, dict[str, float]] = {}
    if _rows_name_domains(rows):
        for domain, sums in metric_sums.items():
            indices = indices_of_domain[domain]
            domain_terms = num_terms[np.unique(row_of_window[indices])].sum()
            domain_metrics[domain] = _means(sums, kinds, len(indices), float(domain_terms))
    goals = {name: kind.goal for name, kind in kinds.items()}
    return Predictions(split, rows, merged, loss_mean, losses, metrics, goals, num_terms, domain_metrics)


def _rows_name_domains(rows: Dataset) -> bool:
    """Whether rows say which domain they are of, as those of a run of several do."""
    return COLUMN in rows.column_names


def _indices_by_domain(rows: Dataset, encoded: Dataset) -> dict[str, Sequence[int]]:
    """The numbers of the encoded rows of each domain, where rows say theirs; else all of them, under no name."""
    import numpy as np

    if not _rows_name_domains(rows):
        return {"": range(len(encoded))}
    domain_of = np.asarray(rows[COLUMN])[np.asarray(encoded["row"], dtype=np.int64)]
    return {str(domain): np.flatnonzero(domain_of == domain).tolist() for domain in np.unique(domain_of)}


def _score(
    run: StartedRun,
    model: Model,
    loss: Loss,
    encoded: Dataset,
    indices_of_domain: Mapping[str, Sequence[int]],
    forward: Callable[[Batch], LossOut],
    has_answers: bool,
) -> tuple[list[ScoredWindow], dict[str, dict[str, float]]]:
    """Every encoded row as the model scores it, of all ranks in no order, and the sums of its metrics by domain."""
    import torch

    from ftp.model.modes import evaluating

    accelerator = run.accelerator
    rank, world = accelerator.process_index, accelerator.num_processes
    scored: list[ScoredWindow] = []
    metric_sums: dict[str, dict[str, float]] = {domain: {} for domain in indices_of_domain}
    with evaluating(model.net), torch.no_grad(), accelerator.autocast():
        # each domain has batches of its own, as the metrics of a batch are sums over its rows
        for domain, indices in indices_of_domain.items():
            sums = metric_sums[domain]
            for part in batches_of_rank(encoded, run.settings.eval_batch_tokens, rank, world, indices):
                batch = loss.collate(rows_at(encoded, part.indices))
                out = forward(batch)
                predictions: Sequence[Prediction | None] = [None] * len(part.indices)
                if has_answers:
                    predictions = loss.answer(batch, out)
                if part.is_filler:
                    continue
                losses, counts = _losses_and_counts(out, batch, len(part.indices))
                for index, loss_sum, num_terms, prediction in zip(part.indices, losses, counts, predictions, strict=True):
                    scored.append(ScoredWindow(index, loss_sum, num_terms, prediction))
                for name, value in out.metrics.items():
                    sums[name] = sums.get(name, 0.0) + float(value)
    if world > 1:
        from accelerate.utils import gather_object

        scored = gather_object(scored)
        sums_of_ranks: list[dict[str, dict[str, float]]] = gather_object([metric_sums])
        metric_sums = {domain: _added(sums[domain] for sums in sums_of_ranks) for domain in indices_of_domain}
    return scored, metric_sums


def _merge(loss: Loss, encoded: Dataset, windows: Sequence[ScoredWindow]) -> Prediction:
    """The answers to the windows of a row as one; nothing for a row that has none."""
    if not windows:
        return Prediction(None)
    predictions = [window.prediction for window in windows if window.prediction is not None]
    return loss.merge(predictions, rows_at(encoded, [window.index for window in windows]))


def _means(sums: Mapping[str, float], kinds: Mapping[str, Metric], num_rows: int, num_terms: float) -> dict[str, float]:
    """Sums of metrics as means over encoded rows, or over terms of the loss where the loss says so."""
    divisor = {"rows": max(1, num_rows), "terms": max(1.0, num_terms)}
    return {name: value / divisor[kinds[name].over] for name, value in sums.items()}


def answer(model: Model, loss: Loss, encoded: Sequence[EncodedRow], *, batch_tokens: int = 16384) -> list[Prediction]:
    """The model's answer to encoded rows without labels, in order, one for each `row`."""
    import torch

    lengths = [len(row["input_ids"]) for row in encoded]
    # rows of like length beside each other cost the least padding; the longest first shows early whether memory is enough
    longest_first = sorted(range(len(encoded)), key=lambda index: -lengths[index])
    prediction_of: dict[int, Prediction] = {}
    model.net.eval()
    with torch.inference_mode():
        for indices in _even_batches(longest_first, lengths, batch_tokens):
            batch = loss.collate([encoded[index] for index in indices])
            prediction_of.update(zip(indices, loss.answer(batch, None), strict=True))
    # a long row was cut into windows, each with an answer of its own
    windows_of_row: dict[int, list[int]] = defaultdict(list)
    for index, row in enumerate(encoded):
        windows_of_row[int(row.get("row", index))].append(index)
    answers = []
    for _, windows in sorted(windows_of_row.items()):
        predictions = [prediction_of[index] for index in windows]
        answers.append(loss.merge(predictions, [encoded[index] for index in windows]))
    return answers


def batches_of_rank(
    encoded: Dataset, tokens: int, rank: int = 0, world: int = 1, indices: Sequence[int] | None = None
) -> list[RankBatch]:
    """Batches of encoded rows for one rank, longest first, of at most `tokens` tokens with their padding.

    All ranks get as many batches, since under FSDP a forward pass is a step that all take together: where a rank has
    fewer it takes the first of all again, as a filler.

    Args:
        indices: the encoded rows to take; None: all.
    """
    import numpy as np

    lengths: list[int] = np.asarray(encoded["length"]).tolist()
    chosen = range(len(lengths)) if indices is None else indices
    longest_first = sorted(chosen, key=lambda index: (-lengths[index], index))
    of_all_ranks = _even_batches(longest_first, lengths, tokens)
    batches = [RankBatch(own) for own in of_all_ranks[rank::world]]
    while len(batches) < math.ceil(len(of_all_ranks) / world):
        batches.append(RankBatch(of_all_ranks[0], is_filler=True))
    return batches


def _even_batches(longest_first: Sequence[int], lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Row numbers cut into batches of at most `tokens` tokens, each row as long as the first of its batch."""
    batches: list[list[int]] = []
    for index in longest_first:
        batch = batches[-1] if batches else []
        fits = bool(batch) and len(batch) < ROWS_AT_ONCE and (len(batch) + 1) * lengths[batch[0]] <= tokens
        if fits:
            batch.append(index)
        else:
            batches.append([index])
    return batches


def rows_at(encoded: Dataset, indices: Sequence[int]) -> list[Row]:
    """The encoded rows of these numbers."""
    from ftp.data.tables import as_rows

    return as_rows(encoded[list(indices)])


def _losses_and_counts(out: LossOut, batch: Batch, num_rows: int) -> tuple[list[float], list[float]]:
    """The loss of each row, summed over its terms, and the number of its terms."""
    if out.row_losses is None:  # an objective that tells only the sum: spread evenly
        return [float(out.total) / num_rows] * num_rows, [batch.count / num_rows] * num_rows
    counts = [1.0] * num_rows if out.row_counts is None else out.row_counts.tolist()
    return out.row_losses.float().tolist(), counts


def _added(sums: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Sums of several parts as one, name by name."""
    total: dict[str, float] = {}
    for part in sums:
        for name, value in part.items():
            total[name] = total.get(name, 0.0) + value
    return total
