"""Find the silent errors of fine-tuning before the first update."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from ftp import hookimpl, option, plugin
from ftp.types import Data, Loss, Model, Risk, StartedRun


@plugin(kind="risk")
class Preflight:
    """Look at rows as the model will see them, and at the first step, before training begins."""

    rows: int = option(512, "rows of each split that are looked at (class counts: all rows)", low=10, high=100_000)
    untrained: float = option(0.05, "share of rows without a trained token that is a warning", low=0, high=1)
    cut: float = option(0.3, "share of tokens lost to truncation that is a warning", low=0, high=1)
    imbalance: float = option(100.0, "rows of the largest class for one of the smallest that are a warning", low=1)
    faults: float = option(0.01, "share of rows with broken characters that is a warning", low=0, high=1)
    length_shift: float = option(0.5, "distance between the lengths of train and validation (Kolmogorov-Smirnov) that is a "
                                      "warning", low=0, high=1)
    language_shift: float = option(0.5, "share of train's frequent words found in validation, relative to train itself, below "
                                        "which it is a warning", low=0, high=1)
    unknown: float = option(0.02, "share of tokens for characters unknown to the model that is a warning", low=0, high=1)
    byte_tokens: float = option(0.2, "share of tokens that are single bytes of characters that is a warning", low=0, high=1)
    _found: Any = field(default=None, init=False, repr=False)  # findings.Findings, from the stage `start` on

    @hookimpl
    def check_risks(self, run: StartedRun, stage: str, data: Data, model: Model | None, loss: Loss | None) -> list[Risk]:
        """Speaks before the first update, and once more at the end, when the chat template that was saved can be compared."""
        if stage not in ("start", "end"):
            return []
        from ftp_preflight import encoded, end_token, first_step, left_out, rows, template, vocabulary
        from ftp_preflight.findings import Findings

        if stage == "start":
            self._found = Findings(run.command(of="data preview"))
            rows.look(self, run, data, self._found)
            if model is not None:
                vocabulary.look(self, run, data, model, self._found)
            if model is not None and loss is not None and not loss.makes_rows:
                part = encoded.look(self, run, data, model, loss, self._found)
                first_step.look(run, data, model, loss, part, self._found)
            if model is not None:
                template.look(run, data, model, self._found)
                left_out.look(self.rows, run, data, model, self._found)
                end_token.look(run, data, model, self._found)
        elif self._found is not None and model is not None:
            template.saved(run, model, self._found)
        return [self._found.risk()] if self._found is not None else []
