"""What flows through a run: small frozen dataclasses, one module a subject. Nothing here imports anything heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftp.deprecation import late_names

# in the order in which a run meets them, which is that of docs/hooks.md
# isort: off
from ftp.types.tasks import Form, Head, Task
from ftp.types.rows import Row, EncodedRow, Data
from ftp.types.models import Model, Offer
from ftp.types.scores import Goal, Score, Baseline, Comparison, Reward
from ftp.types.predictions import Prediction, Predictions
from ftp.types.losses import Batch, LossOut, Metric, Loss
from ftp.types.training import StepOut, Evaluation
from ftp.types.risks import Level, Risk
from ftp.types.results import Result
from ftp.types.events import Event, Started, Step, Evaluated, Judged, Saved, Finished, Failed, Stop
from ftp.types.runs import Stateful, Hooks, Log, Run, StartedRun
# isort: on

if TYPE_CHECKING:
    from ftp.settings import Settings

__all__ = [
    "Baseline", "Batch", "Comparison", "Data", "EncodedRow", "Evaluated", "Evaluation", "Event", "Failed", "Finished",
    "Form", "Goal", "Head", "Hooks", "Judged", "Level", "Log", "Loss", "LossOut", "Metric", "Model", "Offer", "Prediction",
    "Predictions", "Result", "Reward", "Risk", "Row", "Run", "Saved", "Score", "Settings", "Started", "StartedRun",
    "Stateful", "Step", "StepOut", "Stop", "Task",
]  # fmt: skip

__getattr__ = late_names(__name__, {"Settings": "ftp.settings:Settings"})
