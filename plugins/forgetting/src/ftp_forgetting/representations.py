"""Representations of an encoder (or any network): their drift, and what linear probes read there.

Heavy: imports torch and scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ftp.data import control_text
from ftp.losses import row_limit
from ftp.model import evaluating
from ftp.net import heads, layout
from ftp.types import Model, StartedRun

Vectors = NDArray[np.float32]
Flags = NDArray[np.bool_]

NEIGHBOURS = 10
LONGEST = 128
"""Tokens of a text that are read."""
BATCH_TOKENS = 4096
FOLDS = 5


def features(run: StartedRun, model: Model, texts: Sequence[str]) -> tuple[Vectors, float]:
    """Read texts in evaluation mode.

    Returns:
        [texts, width] float32: mean of the last hidden states of each text; and the share of
        unknown tokens.
    """
    tokenizer = model.tokenizer
    limit = min(row_limit(run, model), LONGEST)
    tokenize = control_text.of_run(run, tokenizer)
    encoded = tokenize(
        list(texts), truncation=True, max_length=limit, return_attention_mask=False
    )
    # a text without tokens still needs a place
    ids = [row or [tokenizer.pad_token_id or 0] for row in encoded["input_ids"]]
    # the longest first: texts of about one length lie side by side, so that little is padded
    order = sorted(range(len(ids)), key=lambda index: (-len(ids[index]), index))
    means = np.zeros((len(ids), 0), np.float32)
    with evaluating(model.net), torch.no_grad(), run.accelerator.autocast():
        while order:
            size = max(1, BATCH_TOKENS // len(ids[order[0]]))
            batch = order[:size]
            order = order[size:]
            batch_means = _mean_states(model, [ids[index] for index in batch])
            if not means.shape[1]:  # the width is known from the first batch on
                means = np.zeros((len(ids), batch_means.shape[1]), np.float32)
            means[batch] = batch_means
    return means, share_unknown(model, ids)


def _mean_states(model: Model, rows: Sequence[Sequence[int]]) -> Vectors:
    """[rows, width] mean of the last hidden states of each row."""
    tokenizer = model.tokenizer
    device = next(model.net.parameters()).device
    inputs = layout.lay(
        [list(row) for row in rows],
        packed=model.packed,
        pad_id=tokenizer.pad_token_id or 0,
        padding_side=tokenizer.padding_side,
        device=device,
    )
    states = layout.real(inputs, heads.hidden(model.net, inputs)).float()  # [tokens, width]
    row_of_token = layout.rows(inputs)
    sums = torch.zeros(len(rows), states.shape[-1], device=device)
    sums.index_add_(0, row_of_token, states)
    num_tokens = torch.bincount(row_of_token, minlength=len(rows))
    means: Vectors = (sums / num_tokens[:, None]).cpu().numpy()
    return means


def share_unknown(model: Model, ids: Sequence[Sequence[int]]) -> float:
    """Share of tokens that the tokenizer does not know."""
    unknown = model.tokenizer.unk_token_id
    if unknown is None:
        return 0.0
    num_unknown = sum(list(row).count(unknown) for row in ids)
    return num_unknown / max(1, sum(map(len, ids)))


def cka(before: Vectors, after: Vectors) -> float:
    """Linear CKA of two representations of the same texts.

    1 where they are the same but for rotation and scale (Kornblith et al. 2019, equation 2 and
    section 3); 0 where one of them tells no text from another.

    Args:
        before: [texts, width], `after` likewise; the widths may differ.
    """
    x = before.astype(np.float64) - before.mean(0)
    y = after.astype(np.float64) - after.mean(0)
    norms = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    if norms <= 1e-12:
        return 0.0
    return float(np.linalg.norm(y.T @ x) ** 2 / norms)


def overlap(before: Vectors, after: Vectors, neighbours: int = NEIGHBOURS) -> NDArray[np.float64]:
    """[texts] share of each text's nearest neighbours (by cosine) that it has before and after.

    By chance it is `neighbours` / (texts - 1).
    """
    pairs = zip(_nearest(before, neighbours), _nearest(after, neighbours), strict=True)
    return np.array([len(set(old) & set(new)) / neighbours for old, new in pairs])


def _nearest(points: Vectors, neighbours: int) -> NDArray[np.int64]:
    """[points, neighbours] the indices of the nearest points of each."""
    centred = points - points.mean(0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)  # no point is its own neighbour
    return np.argsort(-cosine, axis=1, kind="stable")[:, :neighbours]


def probe(points: Vectors, labels: Sequence[int]) -> Flags:
    """[rows] whether a linear probe is right on each row, learnt on the other folds.

    Logistic regression on standardised features, five folds (Alain and Bengio 2016). Neighbouring
    rows of a file stay in one fold, as ours come in pairs.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    targets = np.array(labels)
    right = np.zeros(len(labels), bool)
    groups = np.arange(len(targets)) // 2
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for train, test in folds.split(points, targets, groups):
        pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
        pipeline.fit(points[train], targets[train])
        right[test] = pipeline.predict(points[test]) == targets[test]
    return right
