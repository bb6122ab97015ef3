"""Surprise of a model that writes or fills text: nats a token on general documents, and KL from what it said before.

Heavy: imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ftp import heads as specs
from ftp.data import control_text
from ftp.losses import blocks as texts
from ftp.losses import tokens
from ftp.losses.common import row_limit
from ftp.net import heads, layout
from ftp.types import Model, StartedRun

TOP = 64
"""Likeliest tokens at each place that are kept for the KL; all others count as one."""
LONGEST = 128
"""Tokens of a document that are read."""
HIDDEN_EVERY = 7
"""One token of so many is hidden from a model that fills text."""
LOGIT_BYTES = 128 * 2**20
BUDGET = 4e11
"""Floating-point operations of a pass over the documents on a CPU: about a second."""
LEAST = 24


@dataclass(frozen=True)
class Said:
    """What a model makes of general documents.

    `losses` [documents]: mean nats of a token, NaN where a document has none. `of` [terms]: the document of each term. `ids`,
    `logs` [terms, TOP]: the likeliest tokens at each place and their log probabilities. `unknown`: share of unknown tokens.
    """

    losses: Any
    of: Any
    ids: Any
    logs: Any
    unknown: float
    tokens: int


def encode(run: StartedRun, model: Model, documents: Sequence[str]) -> list[list[int]]:
    """Token ids of each document, its first `LONGEST`, between what the tokenizer puts around a text."""
    tokenizer = model.tokenizer
    before, after = texts.ends(tokenizer)
    if specs.get(model.head).writes_text:
        before, after = before or ([] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]), []
    room = min(row_limit(run, model), LONGEST) - len(before) - len(after)
    tokenize = control_text.of_run(run, tokenizer)
    found = tokenize(list(documents), add_special_tokens=False, return_attention_mask=False, truncation=False, verbose=False)
    return [[*before, *ids[:room], *after] for ids in found["input_ids"]]


def affordable(run: StartedRun, model: Model, lengths: Sequence[int]) -> int:
    """Number of documents that a CPU reads in about a second, `LEAST` at least; all of them on an accelerator. It hangs on
    sizes alone, so that a run is repeated exactly."""
    embedding = model.net.get_input_embeddings()
    weights = sum(one.numel() for one in model.net.parameters()) - (embedding.weight.numel() if embedding is not None else 0)
    if run.accelerator.device.type != "cpu":
        return len(lengths)
    mean = sum(lengths) / max(1, len(lengths))
    return max(LEAST, int(BUDGET / (2 * max(1, weights) * max(1.0, mean))))


def say(run: StartedRun, model: Model, ids: Sequence[Sequence[int]], before: Said | None = None) -> Said:
    """Read all documents in evaluation mode. With `before`, log probabilities are those of the tokens that were likeliest
    then."""
    losses, of, kept, logs = np.zeros(len(ids)), list[Any](), list[Any](), list[Any]()
    counts, seen = np.zeros(len(ids)), 0
    training = model.net.training
    model.net.eval()
    try:
        with torch.no_grad(), run.accelerator.autocast():
            for numbers, batch in _batches(model, ids):
                inputs = batch.inputs
                shares = heads.logits_at(model.net, inputs, inputs["where"]).float().log_softmax(-1)
                document = np.array(numbers)[inputs["of"].cpu().numpy()]
                spent = -shares.gather(1, inputs["target"][:, None])[:, 0].cpu().numpy()
                np.add.at(losses, document, spent)
                np.add.at(counts, document, 1)
                if before is None:
                    top, index = shares.topk(min(TOP, shares.shape[1]), dim=-1)
                else:
                    index = torch.from_numpy(before.ids[seen : seen + len(spent)]).to(shares.device).long()
                    top = shares.gather(1, index)
                seen += len(spent)
                of.append(document)
                kept.append(index.int().cpu().numpy())
                logs.append(top.cpu().numpy())
    finally:
        model.net.train(training)
    unknown = model.tokenizer.unk_token_id
    total = sum(map(len, ids))
    strange = sum(one == unknown for row in ids for one in row) / max(1, total) if unknown is not None else 0.0
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(counts > 0, losses / counts, np.nan)
    return Said(means, np.concatenate(of), np.concatenate(kept), np.concatenate(logs), float(strange), total)


def kl(before: Said, after: Said) -> Any:
    """[documents] mean KL(before || after) of a place in nats, over the `TOP` likeliest tokens and one for all others: never
    more than over all tokens apart (data processing inequality; Cover and Thomas 2006, section 2.8)."""
    p, q = np.exp(before.logs.astype(np.float64)), np.exp(after.logs.astype(np.float64))
    inside = (p * (before.logs.astype(np.float64) - after.logs)).sum(1)
    rest, other = np.maximum(1 - p.sum(1), 1e-9), np.maximum(1 - q.sum(1), 1e-9)
    each = np.maximum(inside + rest * np.log(rest / other), 0.0)
    sums, counts = np.zeros(len(before.losses)), np.zeros(len(before.losses))
    np.add.at(sums, before.of, each)
    np.add.at(counts, before.of, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counts > 0, sums / counts, np.nan)


def _batches(model: Model, ids: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], Any]]:
    """Documents side by side, so many that their logits stay below `LOGIT_BYTES`."""
    width = int(model.net.get_input_embeddings().weight.shape[0])
    shift = heads.shifts(model.net)
    most = max(1, LOGIT_BYTES // (4 * width))
    part: list[int] = []
    for number, row in enumerate(ids):
        if part and sum(len(ids[one]) for one in part) + len(row) > most:
            yield part, _lay(model, ids, part, shift)
            part = []
        if len(row) > 1:
            part.append(number)
    if part:
        yield part, _lay(model, ids, part, shift)


def _lay(model: Model, ids: Sequence[Sequence[int]], part: Sequence[int], shift: bool) -> Any:
    rows = [list(ids[number]) for number in part]
    if specs.get(model.head).writes_text:
        return tokens.lay(model, [{} for _ in rows], rows, rows, shift=shift)
    special, mask = set(model.tokenizer.all_special_ids), model.tokenizer.mask_token_id
    hidden = [[place for place, one in enumerate(row) if one not in special and (place + number) % HIDDEN_EVERY == 0]
              for number, row in zip(part, rows, strict=True)]
    given = [[mask if place in set(places) else one for place, one in enumerate(row)]
             for row, places in zip(rows, hidden, strict=True)]
    wanted = [[one if place in set(places) else layout.IGNORED for place, one in enumerate(row)]
              for row, places in zip(rows, hidden, strict=True)]
    return tokens.lay(model, [{} for _ in rows], given, wanted, shift=False)
