"""What a model knows by heart: how far the loss gives training rows away, and text it repeats word for word."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtri  # type: ignore[import-untyped,unused-ignore]

from ftp.data.tables import to_rows
from ftp.types import Data, Loss, Model, Run

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Membership:
    """How well the loss alone tells training rows from held-out ones (Yeom et al. 2018, loss threshold).

    `auc`: chance that a training row has the lower loss (0.5: it tells nothing), with a band. `below`: share of training
    rows below the 1 % of held-out rows with the lowest loss (0.01: nothing), `below_low` its lower bound (Clopper and
    Pearson 1934): a few rows that stand out are what an average hides (Carlini et al. 2022, section III).
    """

    auc: float
    low: float
    high: float
    below: float
    below_low: float


def membership(train: NDArray[np.float64], held: NDArray[np.float64], level: float) -> Membership:
    """Compare per-row losses. Bounds of the AUC after DeLong, DeLong and Clarke-Pearson (1988), each wrong with
    probability `level`."""
    train, held = np.sort(train[np.isfinite(train)]), np.sort(held[np.isfinite(held)])
    # of each training row, the share of held-out rows above it (ties count half), and the reverse
    above = 1 - (np.searchsorted(held, train, "left") + np.searchsorted(held, train, "right")) / (2 * len(held))
    under = (np.searchsorted(train, held, "left") + np.searchsorted(train, held, "right")) / (2 * len(train))
    auc = float(above.mean())
    error = math.sqrt(above.var(ddof=1) / len(train) + under.var(ddof=1) / len(held))
    reach = -float(ndtri(level)) * error
    edge = float(np.quantile(held, 0.01))
    hits = int((train < edge).sum())
    lowest = float(betaincinv(hits, len(train) - hits + 1, level)) if hits else 0.0
    return Membership(auc, max(0.0, auc - reach), min(1.0, auc + reach), hits / len(train), lowest)


@dataclass(frozen=True)
class Verbatim:
    """Rows of each split that the model went on with word for word (greedily, from their first half), of those asked;
    `p`: chance of as many more in train without memory (Fisher's exact test)."""

    train: int
    train_of: int
    held: int
    held_of: int
    tokens: int
    p: float


def verbatim(run: Run, data: Data, model: Model, loss: Loss, rows: int, tokens: int) -> Verbatim | str:
    """Let the model go on with `rows` rows of each split (Carlini et al. 2023, section 3); or why that cannot be."""
    from scipy.stats import fisher_exact  # type: ignore[import-untyped,unused-ignore]

    if run.task.head != "tokens" or getattr(model.net.config, "is_encoder_decoder", False):
        return "the model does not go on with text"
    if "train" not in data.splits or "validation" not in data.splits or not hasattr(data.splits["train"], "num_rows"):
        return "there are no stored rows of both splits"
    if run.settings.shard:
        return "the weights are sharded"
    counts = {split: _repeated(run, model, loss, data.splits[split], rows, tokens) for split in ("train", "validation")}
    (hit, of), (held_hit, held_of) = counts["train"], counts["validation"]
    if not of or not held_of:
        return f"no row is long enough for {tokens} tokens and as many before them"
    p = float(fisher_exact([[hit, of - hit], [held_hit, held_of - held_hit]], alternative="greater").pvalue)
    return Verbatim(hit, of, held_hit, held_of, tokens, p)


def _repeated(
    run: Run, model: Model, loss: Loss, rows: Dataset, most: int, tokens: int
) -> tuple[int, int]:
    import torch

    chosen = np.sort(np.random.default_rng(run.settings.seed).permutation(len(rows))[: 4 * most])
    hits = asked = 0
    training = model.net.training
    model.net.eval()
    try:
        with torch.inference_mode():
            for encoded in loss.encode(to_rows(rows.select(chosen)), "validation"):
                ids: list[int] = list(encoded.get("input_ids", ()))  # none: a row that is left out
                if len(ids) < 2 * tokens or asked >= most:
                    continue
                start = min(len(ids) // 2, len(ids) - tokens)
                given = torch.tensor([ids[:start]], device=model.net.device)
                net: Any = model.net
                out = net.generate(input_ids=given, attention_mask=torch.ones_like(given), max_new_tokens=tokens,
                                   do_sample=False, pad_token_id=model.tokenizer.pad_token_id or 0)
                hits += out[0, start:start + tokens].tolist() == ids[start:start + tokens]
                asked += 1
    finally:
        model.net.train(training)
    return hits, asked
