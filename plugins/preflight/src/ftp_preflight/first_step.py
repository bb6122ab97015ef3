"""The first step, done and undone: is the loss where it must begin, and do gradients reach what is
trained, and nothing else? Heavy: imports torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from ftp import heads
from ftp.model import evaluating
from ftp.types import Data, Loss, LossOut, Model, Row, StartedRun
from ftp_preflight.findings import Findings, first_few

ROWS = 16
ERRORS = 3  # standard errors of the first loss within which it may be chance
HIGH, FAR_ABOVE = 2, 4  # times what knowing nothing costs: a note, a warning
LOW, FAR_BELOW = 0.5, 0.3
TOKENS_HIGH = 1.2  # times ln(vocabulary)
MARGIN = 0.05  # rewards of a reference that is not the untouched model


def look(
    run: StartedRun, data: Data, model: Model, loss: Loss, rows: Sequence[Row], findings: Findings
) -> None:
    """One batch forward and backward in evaluation mode; gradients are thrown away."""
    if run.settings.shard or not rows:
        return
    weights: list[tuple[str, torch.nn.Parameter]] = []
    for module in (model.net, loss.extra):
        if module is not None:
            weights += module.named_parameters()
    step = max(1, len(rows) // ROWS)
    try:
        with evaluating(model.net):
            batch = loss.collate(list(rows[::step][:ROWS]))
            with torch.enable_grad(), run.accelerator.autocast():
                out = loss.compute(batch)
            total = float(out.total.detach())
            if not batch.count or not math.isfinite(total):
                findings.record("first loss", loss=total, terms=batch.count)
                advice = []
                if run.settings.precision != "fp32":
                    advice.append(run.command("--precision", "fp32"))
                findings.add("stop", "the loss of the first rows is not a number", *advice)
                return
            out.total.backward()
            _gradients(run, weights, findings)
    finally:
        for _, weight in weights:
            weight.grad = None
    _loss(run, data, model, out, batch.count, batch.rows, findings)


def _gradients(
    run: StartedRun, weights: Sequence[tuple[str, torch.nn.Parameter]], findings: Findings
) -> None:
    """Whether each trained tensor has a gradient, and no frozen one has.

    Args:
        weights: name and tensor of each, trained or not.
    """
    num_trained = num_zero = 0
    without: list[str] = []
    frozen_with: list[str] = []
    for name, weight in weights:
        if not weight.requires_grad:
            if weight.grad is not None:
                frozen_with.append(name)
            continue
        num_trained += 1
        if weight.grad is None:
            without.append(name)
        # a gradient of zeros may be right: B of LoRA starts at zero, so A gets none in the first update
        elif not bool(weight.grad.any()):
            num_zero += 1
    findings.record(
        "gradients",
        trained=num_trained,
        without=without[:10],
        zero=num_zero,
        frozen_with=frozen_with[:10],
    )
    if without:
        findings.add(
            "warn",
            f"no gradient reaches {len(without)} of {num_trained} trained tensors, so they stay as "
            f"they are: {first_few(without, 3)}",
            run.command(of="plan"),
        )
    if frozen_with:
        findings.add(
            "warn",
            f"{len(frozen_with)} frozen tensors get a gradient, as a plugin froze them late: "
            f"{first_few(frozen_with, 3)}",
            run.command(of="plan"),
        )


def _loss(
    run: StartedRun,
    data: Data,
    model: Model,
    out: LossOut,
    num_terms: int,
    num_rows: int,
    findings: Findings,
) -> None:
    """The first loss against what a new head, or knowing nothing, costs."""
    value = float(out.total.detach()) / num_terms  # nats a term
    margins = {}
    for name, margin in out.metrics.items():
        if name.endswith("margins"):
            margins[name] = float(margin) / max(1, num_rows)
    expected, formula = _expected(data, model)
    findings.record("first loss", loss=value, terms=num_terms)
    if expected:
        findings.record("first loss", expected=expected, **{"as": formula})
    findings.record("first loss", **margins)
    if expected and formula.startswith("ln(classes)"):
        _loss_of_new_head(run, out, value, expected, formula, findings)
    elif expected and value > TOKENS_HIGH * expected:
        findings.add(
            "warn",
            f"the first rows cost {value:.2f} nats a token, more than knowing nothing "
            f"({expected:.2f}, {formula}): the tokenizer may not belong to the model",
        )
    if model.reference is not None:
        _margins(margins, findings)


def _loss_of_new_head(
    run: StartedRun, out: LossOut, value: float, expected: float, formula: str, findings: Findings
) -> None:
    """A new head must be as unsure as one that knows nothing."""
    error = 0.0
    if out.row_losses is not None and len(out.row_losses) > 1:
        deviation = float(out.row_losses.float().std())
        error = ERRORS * deviation / math.sqrt(len(out.row_losses))
    most = value + error
    if value <= HIGH * expected and most >= LOW * expected:
        return
    is_far = value > FAR_ABOVE * expected or most < FAR_BELOW * expected
    reason = "it is not new, or these rows are odd"
    advice = []
    if value > expected:
        reason = "it is sure of itself without reason"
        rate = f"{run.settings.learning_rate / 3:.1g}"
        advice.append(run.command("--learning-rate", rate, "--warmup-ratio", 0.1))
    findings.add(
        "warn" if is_far else "note",
        f"a new head that knows nothing costs {expected:.3f} nats a row ({formula}), and the first "
        f"rows cost {value:.3f}: {reason}",
        *advice,
    )


def _margins(margins: Mapping[str, float], findings: Findings) -> None:
    """Before training the model is its own reference, so that no answer is preferred."""
    for name, margin in margins.items():
        if name.startswith("rewards/") and abs(margin) > MARGIN:
            findings.add(
                "warn",
                f"{name} is {margin:+.3f} before the first update, and should be 0: the reference "
                "is "
                "not the untouched model (model.reference() in evaluation mode)",
            )


def _expected(data: Data, model: Model) -> tuple[float, str]:
    """What knowing nothing costs, in nats, and how that is computed; 0 where it is not known."""
    head = heads.get(model.head)
    # a fitted head knows something from the first row on
    is_random = bool(model.fresh) and not model.has_fitted_head
    if head.picks_class_of and is_random and len(data.labels) > 1:
        num_classes = len(data.labels)
        return math.log(num_classes), f"ln(classes), {num_classes} of them"
    if head.is_over_vocabulary:
        embedding = model.net.get_input_embeddings()
        num_tokens = int(embedding.weight.shape[0]) if embedding is not None else 0
        if num_tokens:
            return math.log(num_tokens), f"ln(vocabulary), {num_tokens} tokens"
    return 0.0, ""
