"""The numbers of training between two lines of the log. Heavy: imports torch."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import TypedDict

import torch

from ftp.errors import UserError
from ftp.types import Metric, StartedRun, StepOut


class Numbers(TypedDict):
    """What the log and the event `Step` say of the updates since the last line."""

    loss: float
    grad_norm: float | None
    rows_per_second: float
    tokens_per_second: float
    memory: int


class Window:
    """Numbers since the last line of the log, kept on the device until it is written."""

    def __init__(self, kinds: Mapping[str, Metric]) -> None:
        self.kinds = kinds
        self.clear()

    def clear(self) -> None:
        self.losses: list[torch.Tensor] = []
        self.norms: list[torch.Tensor | None] = []
        self.metrics: dict[str, torch.Tensor] = {}
        self.names: list[Sequence[int]] = []
        self.rows = self.tokens = self.terms = 0
        self.scaled = False
        self.seconds, self.started = 0.0, time.perf_counter()

    def pause(self) -> None:
        """Stop the clock: what follows (evaluation, saving) is not training."""
        self.seconds += time.perf_counter() - self.started

    def resume(self) -> None:
        """Let the clock run again."""
        self.started = time.perf_counter()

    def add(self, out: StepOut, names: Sequence[int], now: bool, scaled: bool) -> None:
        """Take in one update.

        Args:
            out: what `train_step` gave.
            names: numbers of its training rows, for a message.
            now: look at once whether its numbers are finite (free on a CPU; on a GPU it would wait for the device).
            scaled: a gradient that is not finite is the loss scaler's business, which left the update out.
        """
        self.losses.append(out.loss)
        self.norms.append(out.grad_norm)
        self.names.append(names)
        self.scaled = scaled
        for name, value in out.metrics.items():
            self.metrics[name] = self.metrics.get(name, 0) + value
        self.rows += out.rows
        self.tokens += out.tokens
        self.terms += out.count
        if now:
            norm = None if out.grad_norm is None else float(out.grad_norm)
            self.check([float(out.loss)], [norm], [names])

    def check(self, losses: Sequence[float], norms: Sequence[float | None], names: Sequence[Sequence[int]]) -> None:
        """Stop at the first update that is not finite, before its weights can be saved."""
        for loss, norm, rows in zip(losses, norms, names, strict=True):
            if math.isfinite(loss) and (norm is None or math.isfinite(norm) or self.scaled):
                continue
            what = f"the gradient's norm is {norm} (the loss is {loss:.4g})"
            if not math.isfinite(loss):
                what = f"the loss is {loss}"
            shown = ", ".join(map(str, list(rows)[:16]))
            if len(rows) > 16:
                shown += ", ..."
            raise UserError(f"{what}; training rows of that update: {shown}",
                            "a lower --learning-rate, --precision fp32, or correct those rows; the last good checkpoint is kept")

    def read(self, run: StartedRun, step: int) -> tuple[Numbers, dict[str, float]]:
        """The numbers of the updates, and the metrics of their loss, over all ranks; the window is empty behind it. All ranks
        call it."""
        accelerator = run.accelerator
        losses = torch.stack([loss.float() for loss in self.losses])
        counts = torch.tensor([float(self.rows), float(self.tokens), float(self.terms)], device=losses.device)
        if accelerator.num_processes > 1:
            losses = accelerator.reduce(losses, "sum")
            counts = accelerator.reduce(counts, "sum")
            self.metrics = {name: accelerator.reduce(value, "sum") for name, value in sorted(self.metrics.items())}
        values = losses.tolist()
        norms = [None if norm is None else float(norm) for norm in self.norms]
        self.check(values, norms, self.names)
        rows, tokens, terms = counts.tolist()

        # a metric is a mean over rows, unless the loss says that it is one over terms
        metrics = {}
        for name, value in self.metrics.items():
            is_over_terms = name in self.kinds and self.kinds[name].over == "terms"
            count = terms if is_over_terms else rows
            metrics[name] = float(value) / max(1.0, count)
        seconds = max(1e-9, self.seconds)
        numbers: Numbers = {
            "loss": sum(values) / len(values),
            "grad_norm": norms[-1],
            "rows_per_second": round(rows / seconds, 2),
            "tokens_per_second": round(tokens / seconds, 1),
            "memory": memory(accelerator.device),
        }
        self.clear()
        return numbers, metrics


def memory(device: torch.device) -> int:
    """Peak memory in bytes: of the device where it counts, else of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
        import sys

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return int(peak if sys.platform == "darwin" else peak * 1024)
    except ImportError:  # not on Windows
        return 0


class Clock:
    """Seconds of training: those before a resume, and those since."""

    def __init__(self, before: float) -> None:
        self.before = before
        self.started = time.perf_counter()

    def seconds(self) -> float:
        return self.before + time.perf_counter() - self.started
