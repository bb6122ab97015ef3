"""What is trained: the network on its device, what it minimises, and where its rows come from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ftp import heads
from ftp.data import domains
from ftp.data.updates import Source
from ftp.errors import PluginError, UserError
from ftp.types import Data, Loss, Model, Run, StartedRun

if TYPE_CHECKING:
    from datasets import Dataset


def build(run: StartedRun, data: Data, weights: Path | None = None) -> tuple[Model, Loss]:
    """The network on its device and what it minimises; the same for the same seed.

    Args:
        weights: the checkpoint whose weights to take; None for those that the run begins with.
    """
    from ftp.train.seeds import seed_step
    from ftp.train.state import Whole, put_weights, scored_weights

    seed_step(run.settings.seed, 0, 0)  # new weights are the same in every process
    model = make_model(run, data)
    refuse_untrained(run, model)
    model.net.to(run.accelerator.device)
    if run.settings.gradient_checkpointing:
        # the reentrant kind finds no gradient where only inner weights (an adapter) are trained
        model.net.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    # measured on the finished network: adapters and heads are part of what must agree
    model = dataclasses.replace(model, packed=packs(run, model))
    loss = run.hooks.one("make_loss", run=run, data=data, model=model)
    if loss.extra is not None:
        loss.extra.to(run.accelerator.device)
    if weights is not None:
        put_weights(Whole(model, loss), scored_weights(weights))
    return model, loss


def make_model(run: Run, data: Data) -> Model:
    """The network as the plugins of the run give it; what its head does not read is not trained."""
    model: Model = run.hooks.one("build_model", run=run, data=data)
    head = heads.get(model.head)
    for name, weight in model.net.named_parameters():
        if head.is_unused(name):
            weight.requires_grad_(False)
    return model


def refuse_untrained(run: Run, model: Model) -> None:
    """Raise `UserError` where tokens that the run adds would stay as they were made, or were not added at all."""
    from ftp.losses.stopping import training_rows
    from ftp.model.loading import origin
    from ftp.model.token_rows import frozen

    vocabulary = model.tokenizer.get_vocab()
    unknown = [token for token in run.settings.add_tokens if token not in vocabulary]
    if unknown:
        raise UserError(f"--add-tokens {','.join(unknown)}: a plugin of this run makes the tokenizer, and adds no tokens",
                        "leave --add-tokens out, or name a model with --model")
    wanted = {vocabulary[token] for token in run.settings.add_tokens}
    # tokens that an earlier run added have rows that count as new here too
    came_from = origin(model.net)
    if came_from is not None and came_from.grown is not None:
        wanted.update(came_from.grown.ids)
    if untrained := frozen(model.net, wanted):
        named = ", ".join(map(str, model.tokenizer.convert_ids_to_tokens(untrained)))
        raise UserError(f"the rows of new tokens ({named}) are not trained by this run, so the model would not learn them",
                        "train them with another parameterisation", *training_rows(run, model)[:1])


def packs(run: Run, model: Model) -> bool:
    """Whether rows are laid end to end, told where it was asked for or where it cannot be."""
    from ftp.net import packing

    if run.settings.pack == "off":
        return False
    is_able, why = packing.can_pack(model.net, model.tokenizer)
    if is_able:
        return True
    if run.settings.pack == "on":
        raise UserError(f"--pack on: this network cannot take packed rows: {why}", "--pack auto pads instead")
    run.tell(f"rows are padded, not packed: {why}")
    return False


def make_source(run: StartedRun, data: Data, encoded: Mapping[str, Dataset], loss: Loss) -> Source:
    """Where the loop gets its rows from."""
    from ftp.data import updates
    from ftp.train.seeds import seed_step

    source: updates.Source
    if run.settings.streaming:
        ordering = _ordering(run)
        if ordering:
            raise UserError(f"--streaming: rows come in the order of their files, and {', '.join(ordering)} orders rows",
                            "leave out one of them")
        source = updates.Streamed(encoded["train"], loss, run.settings, run.tell)
    else:
        if run.settings.domain_shares:
            encoded_rows = np.asarray(encoded["train"]["row"])
            run.tell(domains.dealt_rows(run.settings, data.splits["train"][domains.COLUMN], encoded_rows))
        source = updates.Stored(encoded["train"], run.settings, partial(order_rows, run, data))
    return updates.Rolled(source, loss, run.settings, seed_step) if loss.makes_rows else source


def order_rows(
    run: StartedRun, data: Data, lengths: np.ndarray, rows: np.ndarray, epoch: int
) -> Sequence[Sequence[int] | np.ndarray]:
    """The updates of an epoch, as the plugin of the run that orders rows gives them, or core.

    Args:
        lengths: [encoded rows] int, in tokens.
        rows: [encoded rows] int, the number of the training row that each was made of.

    Raises:
        PluginError: an update is empty, or has a row that there is not.
    """
    updates: Sequence[Sequence[int] | np.ndarray]
    updates = run.hooks.one("order_rows", run=run, data=data, lengths=lengths, rows=rows, epoch=epoch)
    who = ", ".join(_ordering(run)) or "core"
    if not len(updates) or not all(map(len, updates)):
        raise PluginError(f"order_rows of {who}: epoch {epoch} has no update, or one without rows")
    ordered = np.concatenate(updates)
    if ordered.min() < 0 or ordered.max() >= len(lengths):
        raise PluginError(f"order_rows of {who}: epoch {epoch} has rows from {ordered.min()} to {ordered.max()}; the encoded "
                          f"rows are 0 to {len(lengths) - 1}")
    return updates


def _ordering(run: StartedRun) -> list[str]:
    """The plugins that order rows in core's place, or change its order."""
    return [name for name, how in run.hooks.who("order_rows") if how != "default"]


def trial(run: StartedRun, model: Model, loss: Loss, source: Source) -> None:
    """One row forward and backward before anything long: shapes fit, the loss is finite, something gets a gradient."""
    with run.accelerator.autocast():
        out = loss.compute(loss.collate([source.any_row()]))
    if not math.isfinite(float(out.total.detach())):
        raise UserError(f"the loss of the first row is {float(out.total)}", "broken weights, or --precision fp32")
    if not out.total.requires_grad:
        raise UserError("the loss does not depend on any trainable weight", "see: ftp plan --plugins ...")
    out.total.backward()
    model.net.zero_grad(set_to_none=True)
    if loss.extra is not None:
        loss.extra.zero_grad(set_to_none=True)
