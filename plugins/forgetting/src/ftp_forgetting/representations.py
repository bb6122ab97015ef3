"""Representations of an encoder (or any network): how far they drifted, and what linear probes still read from them.

Heavy: imports torch and scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ftp.data import control_text
from ftp.losses.common import row_limit
from ftp.net import heads, layout
from ftp.types import Model, StartedRun

NEIGHBOURS = 10
LONGEST = 128
BATCH_TOKENS = 4096
FOLDS = 5


def features(run: StartedRun, model: Model, texts: Sequence[str]) -> tuple[Any, float]:
    """[texts, width] mean of the last hidden states of each text in evaluation mode, and the share of unknown tokens."""
    tokenizer, device = model.tokenizer, next(model.net.parameters()).device
    limit = min(row_limit(run, model), LONGEST)
    tokenize = control_text.of_run(run, tokenizer)
    ids = tokenize(list(texts), truncation=True, max_length=limit, return_attention_mask=False)["input_ids"]
    ids = [row or [tokenizer.pad_token_id or 0] for row in ids]
    order = sorted(range(len(ids)), key=lambda number: (-len(ids[number]), number))
    found: Any = None
    training = model.net.training
    model.net.eval()
    try:
        with torch.no_grad(), run.accelerator.autocast():
            while order:
                size = max(1, BATCH_TOKENS // len(ids[order[0]]))
                part, order = order[:size], order[size:]
                inputs = layout.lay([ids[number] for number in part], packed=model.packed, pad_id=tokenizer.pad_token_id or 0,
                                     padding_side=tokenizer.padding_side, device=device)
                flat, row = layout.real(inputs, heads.hidden(model.net, inputs)).float(), layout.rows(inputs)
                sums = torch.zeros(len(part), flat.shape[-1], device=device).index_add_(0, row, flat)
                means = (sums / torch.bincount(row, minlength=len(part))[:, None]).cpu().numpy()
                found = np.zeros((len(ids), means.shape[1]), np.float32) if found is None else found
                found[part] = means
    finally:
        model.net.train(training)
    unknown = tokenizer.unk_token_id
    total = sum(map(len, ids))
    return found, sum(one == unknown for row in ids for one in row) / max(1, total) if unknown is not None else 0.0


def cka(before: Any, after: Any) -> float:
    """Linear CKA of two representations of the same texts, 1 where they are the same but for rotation and scale (Kornblith et
    al. 2019, equation 2 and section 3); 0 where one of them tells no text from another."""
    x, y = (one.astype(np.float64) - one.mean(0) for one in (before, after))
    own = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(y.T @ x) ** 2 / own) if own > 1e-12 else 0.0


def overlap(before: Any, after: Any, neighbours: int = NEIGHBOURS) -> Any:
    """[texts] share of each text's nearest neighbours (by cosine) that it has before and after; by chance it is
    `neighbours` / (texts - 1)."""
    near = [_nearest(one, neighbours) for one in (before, after)]
    return np.array([len(set(a) & set(b)) / neighbours for a, b in zip(*near, strict=True)])


def _nearest(found: Any, neighbours: int) -> Any:
    centred = found - found.mean(0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    alike = unit @ unit.T
    np.fill_diagonal(alike, -np.inf)
    return np.argsort(-alike, axis=1, kind="stable")[:, :neighbours]


def probe(found: Any, labels: Sequence[int]) -> Any:
    """[rows] whether a linear probe (logistic regression on standardised features, five folds; Alain and Bengio 2016) is right
    on each row, learnt on the other folds. Neighbouring rows of a file stay in one fold, as ours come in pairs."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    truth, right = np.array(labels), np.zeros(len(labels), bool)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for train, test in folds.split(found, truth, np.arange(len(truth)) // 2):
        fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300)).fit(found[train], truth[train])
        right[test] = fitted.predict(found[test]) == truth[test]
    return right
