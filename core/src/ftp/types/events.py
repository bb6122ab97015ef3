"""What happens in a run: the events that plugins hear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ftp.types.results import Result
from ftp.types.risks import Risk
from ftp.types.scores import Score


@dataclass(frozen=True)
class Event:
    """Something that happened in a run; its class says what.

    Attributes:
        step: the updates done by then.
    """

    step: int


@dataclass(frozen=True)
class Started(Event):
    """Training begins, or goes on after update `step`.

    Attributes:
        total: the updates of the whole run.
    """

    total: int


@dataclass(frozen=True)
class Step(Event):
    """Updates were done and their numbers read: each `--logging-steps`, and before each evaluation and checkpoint.

    Attributes:
        loss: mean since the last such event.
        grad_norm: of the last update, before clipping; None where whoever answered `train_step` gave none.
        learning_rate: of the first group of weights.
        epoch: passes over the training rows so far.
        rows_per_second: since the last such event, evaluation and saving left out.
        tokens_per_second: likewise.
        memory: peak, in bytes.
        metrics: means since the last such event.
    """

    loss: float
    grad_norm: float | None
    learning_rate: float
    epoch: float
    rows_per_second: float
    tokens_per_second: float
    memory: int
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluated(Event):
    """The validation rows were scored.

    Attributes:
        loss: on them.
        train_loss: on a sample of the training rows; None: not measured.
        scores: what `evaluate` gave.
    """

    loss: float
    train_loss: float | None
    scores: tuple[Score, ...]


@dataclass(frozen=True)
class Judged(Event):
    """Checks gave verdicts.

    Attributes:
        stage: as in `check_risks`.
        risks: the verdicts of this stage.
    """

    stage: str
    risks: tuple[Risk, ...]


@dataclass(frozen=True)
class Saved(Event):
    """A checkpoint was written.

    Attributes:
        path: its folder, which is removed later when newer ones take its place.
    """

    path: Path


@dataclass(frozen=True)
class Finished(Event):
    """The run is done: model, scores and report are written.

    Attributes:
        result: what `ftp.run` gives.
    """

    result: Result


@dataclass(frozen=True)
class Failed(Event):
    """The run ends without a result.

    Attributes:
        error: why; a `KeyboardInterrupt`, or an error that says so, where it was interrupted.
    """

    error: BaseException


@dataclass(frozen=True)
class Stop:
    """An answer to the events `Step` and `Evaluated` that ends training after this update.

    Attributes:
        reason: shown and recorded.
    """

    reason: str
