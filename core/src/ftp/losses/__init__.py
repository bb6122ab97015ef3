"""Core's own losses, one file a head; `make(run, data, model) -> Loss` in each. Objectives in plugins build on them."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from ftp.errors import UserError
from ftp.types import Data, Loss, Model, Run


def for_head(run: Run, data: Data, model: Model) -> Loss:
    """The default loss of the run's head."""
    head = run.task.head
    if find_spec(f"ftp.losses.{head}") is None:
        raise UserError(f"core has no loss of its own for the head '{head}'", "name an objective", "ftp plugins")
    loss: Loss = import_module(f"ftp.losses.{head}").make(run, data, model)
    return loss
