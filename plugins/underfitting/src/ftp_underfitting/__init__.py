"""Tell when a run did not learn: worse than something simpler, diverging, weights that stood still."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from ftp import hookimpl, option, plugin
from ftp.types import Comparison, Data, Evaluation, Loss, Model, Predictions, Risk, Row, StartedRun


@plugin(kind="risk")
class Underfitting:
    """Compare a run with guessing and with baselines, look at the end of its loss, and at which weights moved."""

    least_gain: float = option(
        0.05,
        "share of the loss of guessing that training must have taken away, where there are labels",
        low=0,
        high=1,
    )
    least_gain_text: float = option(
        0.005,
        "share of the untuned model's loss that training must have taken away, elsewhere",
        low=0,
        high=1,
    )
    steep: float = option(
        0.15,
        "further fall of the training loss in another third of the updates, relative, that is a "
        "note",
        low=0,
    )
    one_answer: float = option(
        0.98,
        "share of held-out rows with one and the same answer that is a warning",
        low=0.5,
        high=1,
    )
    alpha: float = option(
        0.05,
        "chance of calling a difference from guessing, or from a baseline, sure when there is none",
        low=1e-6,
        high=0.5,
    )
    rows: int = option(
        32,
        "training rows scored before and after training, where there are no labels; 0: none",
        low=0,
        high=10_000,
    )
    min_rows: int = option(10, "rows below which losses are not compared", low=2)
    range_test: int = option(
        0,
        "updates of a learning-rate range test before training, undone afterwards; 0: none",
        low=0,
        high=1000,
    )
    _start: Any = field(default=None, init=False, repr=False)  # Start, from the stage `start` on

    @hookimpl
    def check_risks(
        self,
        run: StartedRun,
        stage: str,
        data: Data,
        model: Model | None,
        loss: Loss | None,
        predictions: Mapping[str, Predictions] | None,
        history: Sequence[Evaluation],
        log: Sequence[Row],
        comparisons: Sequence[Comparison],
    ) -> list[Risk]:
        """Judge at the end, and before it where training diverges.

        The model is looked at before the first update.
        """
        from ftp_underfitting import judge
        from ftp_underfitting.start import look_at_start

        if stage == "start" and model is not None and loss is not None:
            self._start = look_at_start(
                run, data, model, loss, rows=self.rows, updates=self.range_test
            )
            return judge.judge_start(run, self._start)
        if stage == "evaluation":
            return judge.judge_evaluation(self, run, data, history, log)
        if stage == "end":
            risk = judge.verdict(
                self, run, data, model, loss, predictions or {}, history, log, self._start, comparisons
            )
            return [risk]
        return []
