"""Tell what a run cost in general ability, measured before and after on the same text and tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftp import hookimpl, option, plugin
from ftp.types import Data, Loss, Model, Risk, StartedRun

if TYPE_CHECKING:
    from ftp_forgetting.measure import Start


@plugin(kind="risk")
class Forgetting:
    """Compare general ability before and after: surprise on general text, or drift and probes."""

    text: str | None = option(
        None,
        "file of general text, a document a line or row; default: 81 paragraphs of English that come "
        "with this plugin, or the split `general` of the data",
        path=True,
    )
    tasks: tuple[str, ...] = option(
        (),
        "files of general tasks for probes, each with the columns text and label; default: three "
        "small ones that come with this plugin",
        path=True,
    )
    lm_eval: tuple[str, ...] = option(
        (), "tasks of lm-eval (the package lm-eval must be installed), asked before and after"
    )
    lm_eval_rows: int = option(100, "rows of each of these tasks at most", low=10)
    rows: int | None = option(
        None,
        "documents scored at most; default: what a CPU does in about a second, 24 at least",
        low=10,
    )
    note_nats: float = option(0.03, "rise of surprise in nats a token, sure, that is a note", low=0)
    warn_nats: float = option(
        0.2, "rise of surprise in nats a token, sure, that is a warning", low=0
    )
    stop_nats: float = option(2.0, "rise of surprise in nats a token, sure, that is a stop", low=0)
    note_drop: float = option(
        0.03, "fall of accuracy on general tasks, sure, that is a note", low=0, high=1
    )
    warn_drop: float = option(
        0.1, "fall of accuracy on general tasks, sure, that is a warning", low=0, high=1
    )
    alpha: float = option(
        0.01, "chance of calling a loss of ability sure when there is none", low=1e-6, high=0.5
    )
    def __post_init__(self) -> None:
        self._start: Start | None = None  # from the stage `start` on

    @hookimpl
    def check_risks(
        self, run: StartedRun, stage: str, data: Data, model: Model | None, loss: Loss | None
    ) -> list[Risk]:
        """Read the general set before anything is loaded, measure at the start, judge at the end.
        """
        from ftp_forgetting import judge, measure

        if stage == "data":
            measure.check_options(self, run)
        if stage == "start":
            self._start = measure.measure_start(self, run, data, model)
        if stage == "end":
            return [judge.verdict(self, run, model, self._start)]
        return []
