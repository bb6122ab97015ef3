"""Tell when held-out rows stop gaining while training rows go on, and what is known by heart."""

from __future__ import annotations

from collections.abc import Sequence

from ftp import hookimpl, option, plugin
from ftp.types import Data, Evaluation, Loss, Model, Risk, Row, Run


@plugin(kind="risk", replaces=("gap",))
class Overfitting:
    """Compare held-out with training loss: trend since the best, gap, and rows known by heart."""

    rise: float = option(
        0.1, "rise of the held-out loss over its best, relative, that is a warning", low=0
    )
    stop_rise: float = option(
        1.0, "rise of the held-out loss over its best, relative, that ends the run", low=0
    )
    note_lost: float = option(
        0.5,
        "share of what training rows gained that held-out rows did not: a note",
        low=0,
        high=10,
    )
    warn_lost: float = option(
        0.75,
        "share of what training rows gained that held-out rows did not: a warning",
        low=0,
        high=10,
    )
    auc: float = option(
        0.75,
        "how well the loss tells training rows from held-out ones (AUC) that is a warning, where "
        "the model writes or fills text",
        low=0.5,
        high=1,
    )
    alpha: float = option(
        0.05, "chance of a false alarm over all evaluations of a run", low=1e-6, high=0.5
    )
    min_rows: int = option(20, "rows of each split below which nothing is said", low=2)
    verbatim: int = option(
        0,
        "rows of each split that the model is asked to go on with at the end, word for word; "
        "0: none (it generates, which takes time)",
        low=0,
        high=10_000,
    )
    verbatim_tokens: int = option(32, "tokens it has to go on with", low=4, high=1024)

    @hookimpl
    def check_risks(
        self,
        run: Run,
        stage: str,
        data: Data,
        model: Model | None,
        loss: Loss | None,
        history: Sequence[Evaluation],
        log: Sequence[Row],
    ) -> list[Risk]:
        """Judge at each evaluation and at the end.

        Limits that contradict one another are refused before anything is loaded.
        """
        from ftp_overfitting import judge, memory

        if stage == "data":
            judge.check_limits(self)
        if stage not in ("evaluation", "end"):
            return []
        if loss is not None and loss.makes_rows:
            reason = "the model makes its own training rows: there is no loss of training rows"
            return [judge.not_run(f"{reason} to compare")]
        repeated = None
        is_asked = self.verbatim and stage == "end"
        if is_asked and model is not None and loss is not None:
            repeated = memory.verbatim(
                run, data, model, loss, self.verbatim, self.verbatim_tokens
            )
        return [judge.verdict(self, run, data, history, log, repeated)]
