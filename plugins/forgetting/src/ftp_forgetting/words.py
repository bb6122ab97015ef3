"""Surprise of a model that writes or fills text, on general documents.

In nats a token, with the KL divergence from the model of before. Heavy: imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ftp import heads as head_specs
from ftp.data import control_text
from ftp.losses import TokenRow, blocks, row_limit, tokens
from ftp.model import evaluating
from ftp.net import heads, layout
from ftp.types import Batch, Model, StartedRun
from ftp_forgetting.representations import share_unknown

TOP = 64
"""Likeliest tokens at each position that are kept for the KL; all others count as one."""
LONGEST = 128
"""Tokens of a document that are read."""
HIDDEN_EVERY = 7
"""One token of so many is hidden from a model that fills text: about 15 %, as in training."""
LOGIT_BYTES = 128 * 2**20
BUDGET = 4e11
"""Floating-point operations of a pass over the documents on a CPU: about a second."""
LEAST = 24
"""Documents that are read however large the model is."""


@dataclass(frozen=True)
class Reading:
    """What a model makes of general documents; a term is a token that it predicts.

    `losses` [documents] float: mean nats of a token, NaN where a document has none. `of` [terms]
    int: the document of each term. `ids`, `logs` [terms, TOP]: the likeliest tokens of each term
    and their log probabilities. `unknown`: share of unknown tokens. `tokens`: how many were read.
    """

    losses: NDArray[np.float64]
    of: NDArray[np.int64]
    ids: NDArray[np.int32]
    logs: NDArray[np.float32]
    unknown: float
    tokens: int


def encode(run: StartedRun, model: Model, documents: Sequence[str]) -> list[list[int]]:
    """Token ids of each document, its first `LONGEST`, between what the tokenizer puts around."""
    tokenizer = model.tokenizer
    before, after = blocks.ends(tokenizer)
    if head_specs.get(model.head).writes_text:
        # the first token is predicted from the beginning alone, so there has to be one
        if not before and tokenizer.bos_token_id is not None:
            before = [int(tokenizer.bos_token_id)]
        after = []
    room = min(row_limit(run, model), LONGEST) - len(before) - len(after)
    tokenize = control_text.of_run(run, tokenizer)
    encoded = tokenize(
        list(documents),
        add_special_tokens=False,
        return_attention_mask=False,
        truncation=False,
        verbose=False,
    )
    return [[*before, *ids[:room], *after] for ids in encoded["input_ids"]]


def affordable(run: StartedRun, model: Model, lengths: Sequence[int]) -> int:
    """How many documents a CPU reads in about a second, `LEAST` at least; all on an accelerator.

    It depends on sizes alone, not on the clock, so that a run is repeated exactly.

    Args:
        lengths: tokens of each document.
    """
    if run.accelerator.device.type != "cpu":
        return len(lengths)
    num_weights = sum(weight.numel() for weight in model.net.parameters())
    embedding = model.net.get_input_embeddings()
    if embedding is not None:  # it is looked up, not multiplied
        num_weights -= embedding.weight.numel()
    mean_length = sum(lengths) / max(1, len(lengths))
    # a multiplication and an addition a weight and token
    operations = 2 * max(1, num_weights) * max(1.0, mean_length)
    return max(LEAST, int(BUDGET / operations))


def read_documents(
    run: StartedRun, model: Model, ids: Sequence[Sequence[int]], before: Reading | None = None
) -> Reading:
    """Read all documents in evaluation mode.

    Args:
        before: an earlier reading: log probabilities are those of the tokens likeliest then.
    """
    loss_sums = np.zeros(len(ids))  # nats
    num_terms = np.zeros(len(ids))
    document_of_terms: list[NDArray[np.int64]] = []
    top_ids: list[NDArray[np.int32]] = []
    top_logs: list[NDArray[np.float32]] = []
    num_read = 0  # terms
    with evaluating(model.net), torch.no_grad(), run.accelerator.autocast():
        for documents, batch in _batches(model, ids):
            inputs = batch.inputs
            logits = heads.logits_at(model.net, inputs, inputs["where"])
            log_shares = logits.float().log_softmax(-1)  # [terms, vocabulary]
            document_of_term = np.array(documents)[inputs["of"].cpu().numpy()]
            nats = -log_shares.gather(1, inputs["target"][:, None])[:, 0].cpu().numpy()
            np.add.at(loss_sums, document_of_term, nats)
            np.add.at(num_terms, document_of_term, 1)
            if before is None:
                top, token_ids = log_shares.topk(min(TOP, log_shares.shape[1]), dim=-1)
            else:
                ids_before = torch.from_numpy(before.ids[num_read : num_read + len(nats)])
                token_ids = ids_before.to(log_shares.device).long()
                top = log_shares.gather(1, token_ids)
            num_read += len(nats)
            document_of_terms.append(document_of_term)
            top_ids.append(token_ids.int().cpu().numpy())
            top_logs.append(top.cpu().numpy())
    return Reading(
        losses=_mean_or_nan(loss_sums, num_terms),
        of=np.concatenate(document_of_terms),
        ids=np.concatenate(top_ids),
        logs=np.concatenate(top_logs),
        unknown=share_unknown(model, ids),
        tokens=sum(map(len, ids)),
    )


def _mean_or_nan(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counts > 0, sums / counts, np.nan)


def kl(before: Reading, after: Reading) -> NDArray[np.float64]:
    """[documents] mean KL(before || after) of a term in nats, NaN where a document has none.

    Over the `TOP` likeliest tokens and one for all others: never more than over all tokens apart
    (data processing inequality; Cover and Thomas 2006, section 2.8).
    """
    before_logs = before.logs.astype(np.float64)
    p = np.exp(before_logs)
    q = np.exp(after.logs.astype(np.float64))
    of_top = (p * (before_logs - after.logs)).sum(1)
    other_p = np.maximum(1 - p.sum(1), 1e-9)
    other_q = np.maximum(1 - q.sum(1), 1e-9)
    # rounding may leave a little less than 0
    divergence = np.maximum(of_top + other_p * np.log(other_p / other_q), 0.0)
    sums = np.zeros(len(before.losses))
    counts = np.zeros(len(before.losses))
    np.add.at(sums, before.of, divergence)
    np.add.at(counts, before.of, 1)
    return _mean_or_nan(sums, counts)


def _batches(model: Model, ids: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], Batch]]:
    """Documents side by side, as many as keep their logits below `LOGIT_BYTES`.

    Gives the indices of the documents with their batch.
    """
    width = int(model.net.get_input_embeddings().weight.shape[0])
    shift = heads.shifts(model.net)
    most_tokens = max(1, LOGIT_BYTES // (4 * width))  # float32
    documents: list[int] = []
    num_tokens = 0
    for index, document in enumerate(ids):
        if documents and num_tokens + len(document) > most_tokens:
            yield documents, _make_batch(model, ids, documents, shift)
            documents = []
            num_tokens = 0
        if len(document) > 1:  # else there is no token to predict
            documents.append(index)
            num_tokens += len(document)
    if documents:
        yield documents, _make_batch(model, ids, documents, shift)


def _make_batch(
    model: Model, ids: Sequence[Sequence[int]], documents: Sequence[int], shift: bool
) -> Batch:
    rows = [list(ids[index]) for index in documents]
    extra: list[TokenRow] = [{} for _ in rows]
    if head_specs.get(model.head).writes_text:
        return tokens.lay(model, extra, rows, rows, shift=shift)
    inputs = []
    targets = []
    for index, row in zip(documents, rows, strict=True):
        masked, target = _hide_tokens(model, index, row)
        inputs.append(masked)
        targets.append(target)
    return tokens.lay(model, extra, inputs, targets, shift=False)


def _hide_tokens(model: Model, index: int, row: Sequence[int]) -> tuple[list[int], list[int]]:
    """A document with every seventh token hidden, and the hidden tokens as targets.

    The same ones before and after; where they begin depends on the document's index.
    """
    special = set(model.tokenizer.all_special_ids)
    masked = list(row)
    targets = [layout.IGNORED] * len(row)
    for position, token in enumerate(row):
        if token not in special and (position + index) % HIDDEN_EVERY == 0:
            masked[position] = model.tokenizer.mask_token_id
            targets[position] = token
    return masked, targets
