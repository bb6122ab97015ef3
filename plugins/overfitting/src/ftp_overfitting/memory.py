"""What a model knows by heart: rows that their loss gives away, and text repeated word for word."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtri  # type: ignore[import-untyped,unused-ignore]

from ftp import heads
from ftp.data.tables import to_rows
from ftp.types import Data, Loss, Model, Run

if TYPE_CHECKING:
    from datasets import Dataset

Array = NDArray[np.float64]
BEST_SHARE = 0.01
"""Share of held-out rows with the lowest loss that training rows are measured against."""
TRIES = 4
"""Rows that are encoded for each row wanted, as some are too short."""


@dataclass(frozen=True)
class Membership:
    """How well the loss alone tells training rows from held-out ones (Yeom et al. 2018).

    `auc`: chance that a training row has the lower loss (0.5: it tells nothing), with a band.
    `below`: share of training rows below the 1 % of held-out rows with the lowest loss (0.01:
    nothing), `below_low` its lower bound (Clopper and Pearson 1934): a few rows that stand out are
    what an average hides (Carlini et al. 2022, section III).
    """

    auc: float
    low: float
    high: float
    below: float
    below_low: float


def membership(train: Array, held: Array, level: float) -> Membership:
    """Compare the losses of training and held-out rows.

    Bounds of the AUC after DeLong, DeLong and Clarke-Pearson (1988).

    Args:
        train: [rows] nats, NaN where a row has none; `held` likewise.
        level: probability that each of the bounds is wrong.
    """
    train = np.sort(train[np.isfinite(train)])
    held = np.sort(held[np.isfinite(held)])
    # the placement values of DeLong: of each training row the share of held-out rows above it
    # (ties count half), of each held-out row the share of training rows below it
    held_above = 1 - _share_below(train, held)
    train_below = _share_below(held, train)
    auc = float(held_above.mean())
    error = math.sqrt(held_above.var(ddof=1) / len(train) + train_below.var(ddof=1) / len(held))
    half_width = -float(ndtri(level)) * error
    edge = float(np.quantile(held, BEST_SHARE))
    num_below = int((train < edge).sum())
    below_low = 0.0
    if num_below:
        below_low = float(betaincinv(num_below, len(train) - num_below + 1, level))
    return Membership(
        auc=auc,
        low=max(0.0, auc - half_width),
        high=min(1.0, auc + half_width),
        below=num_below / len(train),
        below_low=below_low,
    )


def _share_below(values: Array, others: Array) -> Array:
    """For each value the share of `others` (sorted) below it; ties count half."""
    below = np.searchsorted(others, values, "left")
    at_most = np.searchsorted(others, values, "right")
    shares: Array = (below + at_most) / (2 * len(others))
    return shares


@dataclass(frozen=True)
class Verbatim:
    """Rows of each split that the model continued word for word, of those asked.

    Greedily, from their first half. `p`: chance of as many more in train without memory (Fisher's
    exact test).
    """

    train: int
    train_of: int
    held: int
    held_of: int
    tokens: int
    p: float


def verbatim(
    run: Run, data: Data, model: Model, loss: Loss, rows: int, tokens: int
) -> Verbatim | str:
    """Let the model continue rows of each split (Carlini et al. 2023, section 3).

    Args:
        rows: how many of each split.
        tokens: how many of a row it has to continue with.

    Returns:
        The counts, or why it cannot be asked.
    """
    from scipy.stats import fisher_exact  # type: ignore[import-untyped,unused-ignore]

    reason = _why_not_asked(run, data, model)
    if reason:
        return reason
    train, train_of = _count_repeated(run, model, loss, data.splits["train"], rows, tokens)
    held, held_of = _count_repeated(run, model, loss, data.splits["validation"], rows, tokens)
    if not train_of or not held_of:
        return f"no row is long enough for {tokens} tokens and as many before them"
    table = [[train, train_of - train], [held, held_of - held]]
    p = float(fisher_exact(table, alternative="greater").pvalue)
    return Verbatim(train, train_of, held, held_of, tokens, p)


def _why_not_asked(run: Run, data: Data, model: Model) -> str:
    writes_text = heads.get(run.task.head).writes_text
    if not writes_text or getattr(model.net.config, "is_encoder_decoder", False):
        return "the model does not go on with text"
    has_splits = "train" in data.splits and "validation" in data.splits
    if not has_splits or not hasattr(data.splits["train"], "num_rows"):
        return "there are no stored rows of both splits"
    if run.settings.shard:
        return "the weights are sharded"
    return ""


def _count_repeated(
    run: Run, model: Model, loss: Loss, rows: Dataset, most: int, tokens: int
) -> tuple[int, int]:
    """Of at most `most` rows, how many were continued word for word, and how many were asked."""
    import torch

    from ftp.model import evaluating

    shuffled = np.random.default_rng(run.settings.seed).permutation(len(rows))
    sample = rows.select(np.sort(shuffled[: TRIES * most]))
    num_repeated = 0
    num_asked = 0
    with evaluating(model.net), torch.inference_mode():
        for encoded in loss.encode_to_score(to_rows(sample)):
            ids = list(encoded.get("input_ids", ()))  # none: a row that is left out
            if len(ids) < 2 * tokens or num_asked >= most:
                continue
            # from the middle, or later where that leaves more than is asked for
            start = min(len(ids) // 2, len(ids) - tokens)
            continued = _continue(model, ids[:start], tokens)
            num_repeated += continued == ids[start : start + tokens]
            num_asked += 1
    return num_repeated, num_asked


def _continue(model: Model, ids: list[int], tokens: int) -> list[int]:
    """The most likely continuation, token by token."""
    import torch

    prompt = torch.tensor([ids], device=model.net.device)
    generated = model.net.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=tokens,
        do_sample=False,
        pad_token_id=model.tokenizer.pad_token_id or 0,
    )
    continued: list[int] = generated[0, len(ids) : len(ids) + tokens].tolist()
    return continued
