"""Find the silent errors of fine-tuning before the first update."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any

from ftp import hookimpl, option, plugin
from ftp.types import Data, Loss, Model, Risk, StartedRun

if TYPE_CHECKING:
    from ftp_preflight.findings import Findings


@plugin(kind="risk")
class Preflight:
    """Look at rows as the model will see them, and at the first step, before training begins."""

    rows: int = option(
        512, "rows of each split that are looked at (class counts: all rows)", low=10, high=100_000
    )
    untrained: float = option(
        0.05, "share of rows without a trained token that is a warning", low=0, high=1
    )
    cut: float = option(0.3, "share of tokens lost to truncation that is a warning", low=0, high=1)
    imbalance: float = option(
        100.0, "rows of the largest class for one of the smallest that are a warning", low=1
    )
    faults: float = option(
        0.01, "share of rows with broken characters that is a warning", low=0, high=1
    )
    length_shift: float = option(
        0.5,
        "distance between the lengths of train and validation (Kolmogorov-Smirnov) that is a "
        "warning",
        low=0,
        high=1,
    )
    language_shift: float = option(
        0.5,
        "share of train's frequent words found in validation, relative to train itself, below "
        "which it is a warning",
        low=0,
        high=1,
    )
    unknown: float = option(
        0.02, "share of tokens for characters unknown to the model that is a warning", low=0, high=1
    )
    byte_tokens: float = option(
        0.2, "share of tokens that are single bytes of characters that is a warning", low=0, high=1
    )
    _findings: Any = field(default=None, init=False, repr=False)  # `Findings`, made at `start`

    @hookimpl
    def check_risks(
        self, run: StartedRun, stage: str, data: Data, model: Model | None, loss: Loss | None
    ) -> list[Risk]:
        """The verdict before the first update, and once more at the end, when the chat template
        that was saved can be compared."""
        from ftp_preflight import template

        if stage == "start":
            self._findings = self._look(run, data, model, loss)
        elif stage == "end" and self._findings is not None and model is not None:
            template.saved(run, model, self._findings)
        if stage not in ("start", "end") or self._findings is None:
            return []
        return [self._findings.risk()]

    def _look(
        self, run: StartedRun, data: Data, model: Model | None, loss: Loss | None
    ) -> Findings:
        """All looks, from rows alone to the first step."""
        from ftp_preflight import rows
        from ftp_preflight.findings import Findings

        findings = Findings(run.command(of="data preview"))
        rows.look(self, run, data, findings)
        if model is None:
            return findings
        # heavy: the rows alone are looked at without torch
        from ftp_preflight import encoded, end_token, first_step, left_out, template, vocabulary

        vocabulary.look(self, run, data, model, findings)
        # where the model makes its own rows, there are none to encode yet
        if loss is not None and not loss.makes_rows:
            encoded_rows = encoded.look(self, run, data, model, loss, findings)
            first_step.look(run, data, model, loss, encoded_rows, findings)
        template.look(data, model, findings)
        left_out.look(self.rows, data, model, findings)
        end_token.look(run, data, model, findings)
        return findings
