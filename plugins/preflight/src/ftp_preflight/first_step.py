"""The first step, done and undone: is the loss where it must begin, and do gradients reach what is trained, and nothing else?
Heavy: imports torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ftp import heads
from ftp.types import Data, Loss, LossOut, Model, Row, StartedRun
from ftp_preflight.findings import Findings

ROWS = 16


def look(run: StartedRun, data: Data, model: Model, loss: Loss, rows: Sequence[Row], found: Findings) -> None:
    """One batch forward and backward in evaluation mode; gradients are thrown away."""
    if run.settings.shard or not rows:
        return
    whole = [(name, weight) for module in (model.net, loss.extra) if module is not None
             for name, weight in module.named_parameters()]
    training = model.net.training
    model.net.eval()
    try:
        batch = loss.collate(list(rows[:: max(1, len(rows) // ROWS)][:ROWS]))
        with torch.enable_grad(), run.accelerator.autocast():
            out = loss.compute(batch)
        if not batch.count or not math.isfinite(float(out.total.detach())):
            found.see("first loss", loss=float(out.total.detach()), terms=batch.count)
            found.tell("stop", "the loss of the first rows is not a number",
                       *([run.command("--precision", "fp32")] if run.settings.precision != "fp32" else []))
            return
        out.total.backward()
        _gradients(run, whole, found)
    finally:
        for _, weight in whole:
            weight.grad = None
        model.net.train(training)
    _loss(run, data, model, out, batch.count, batch.rows, found)


def _gradients(run: StartedRun, whole: Sequence[tuple[str, Any]], found: Findings) -> None:
    trained = [(name, weight) for name, weight in whole if weight.requires_grad]
    without = [name for name, weight in trained if weight.grad is None]
    zero = [name for name, weight in trained if weight.grad is not None and not bool(weight.grad.any())]
    frozen = [name for name, weight in whole if not weight.requires_grad and weight.grad is not None]
    found.see("gradients", trained=len(trained), without=without[:10], zero=len(zero), frozen_with=frozen[:10])
    if without:
        found.tell("warn", f"no gradient reaches {len(without)} of {len(trained)} trained tensors, so they stay as they are: "
                   f"{_some(without)}", run.command(of="plan"))
    if frozen:
        found.tell("warn", f"{len(frozen)} frozen tensors get a gradient, as a plugin froze them late: {_some(frozen)}",
                   run.command(of="plan"))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _loss(run: StartedRun, data: Data, model: Model, out: LossOut, count: int, rows: int, found: Findings) -> None:
    """The first loss against what a new head, or knowing nothing, costs."""
    value = float(out.total.detach()) / count
    margins = {name: float(one) / max(1, rows) for name, one in out.metrics.items() if name.endswith("margins")}
    expected, why = _expected(data, model)
    found.see("first loss", loss=value, terms=count, **({"expected": expected, "as": why} if expected else {}), **margins)
    if expected and why.startswith("ln(classes)"):
        error = 0.0
        if out.row_losses is not None and len(out.row_losses) > 1:
            error = 3 * float(out.row_losses.float().std()) / math.sqrt(len(out.row_losses))
        if value > 2 * expected or value + error < 0.5 * expected:
            far = value > 4 * expected or value + error < 0.3 * expected
            found.tell("warn" if far else "note", f"a new head that knows nothing costs {expected:.3f} nats a row ({why}), and "
                       f"the first rows cost {value:.3f}: " + (
                           "it is sure of itself without reason" if value > expected else "it is not new, or these rows are odd"),
                       *([run.command("--learning-rate", f"{run.settings.learning_rate / 3:.1g}", "--warmup-ratio", 0.1)]
                         if value > expected else []))
    elif expected and value > 1.2 * expected:
        found.tell("warn", f"the first rows cost {value:.2f} nats a token, more than knowing nothing ({expected:.2f}, {why}): "
                   "the tokenizer may not belong to the model")
    for name, margin in margins.items():
        if model.reference is not None and name.startswith("rewards/") and abs(margin) > 0.05:
            found.tell("warn", f"{name} is {margin:+.3f} before the first update, and should be 0: the reference is not the "
                       "untouched model (model.reference() in evaluation mode)")


def _expected(data: Data, model: Model) -> tuple[float, str]:
    head = heads.get(model.head)
    if head.picks_class_of and model.fresh and len(data.labels) > 1:
        return math.log(len(data.labels)), f"ln(classes), {len(data.labels)} of them"
    if head.is_over_vocabulary:
        embedding = model.net.get_input_embeddings()
        width = int(embedding.weight.shape[0]) if embedding is not None else 0
        return (math.log(width), f"ln(vocabulary), {width} tokens") if width else (0.0, "")
    return 0.0, ""
