"""Model, loss and rows of a run up to its first update, for tests of one package beside others. Heavy: imports torch."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftp.data.collect import collect
from ftp.folder.log import Log
from ftp.plugins.call import Hooks
from ftp.plugins.plan import prepare
from ftp.runs.build import build
from ftp.train.device import accelerator
from ftp.train.seeds import seed_step
from ftp.types import Data, Loss, Model, StartedRun

QUIET = ("-forgetting", "-preflight", "-leakage", "-underfitting", "-overfitting")
"""Checks that every run has, and that a test of a loss does without."""
FEW: dict[str, object] = {"device": "cpu", "precision": "fp32", "max_train_rows": 40, "max_eval_rows": 20}


def built(plugins: Sequence[str], **options: Any) -> tuple[StartedRun, Data, Model, Loss]:
    """A run of these plugins with its rows, its model and its loss, in fp32 on the CPU. Its folder is removed at the end."""
    prepared = prepare([*plugins, *QUIET], given=[("options", {**FEW, **options})])
    folder = Path(tempfile.mkdtemp(prefix="ftp-built-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    run = StartedRun(prepared.settings, prepared.task, Hooks(prepared.picked, prepared.values), folder, Log(None, writer=False),
                     accelerator(prepared.settings))
    data = collect(run)
    seed_step(run.settings.seed, 0, 0)
    model, loss = build(run, data)
    return run, data, model, loss
