"""Core's own losses, one file a head; `make(run, data, model) -> Loss` in each. Objectives in plugins build on them."""

from __future__ import annotations

from ftp import heads
from ftp.answers.wrapped_loss import wrapped
from ftp.errors import UserError
from ftp.losses.added_terms import mean_of_rows, no_choices, while_training, with_added_terms
from ftp.losses.common import TokenRow, is_asked, row_limit
from ftp.types import Data, Loss, Model, Run

__all__ = ["TokenRow", "for_head", "is_asked", "mean_of_rows", "no_choices", "row_limit", "while_training", "with_added_terms",
           "wrapped"]


def for_head(run: Run, data: Data, model: Model) -> Loss:
    """The default loss of the run's head.

    Args:
        run: the run, whose task names the head.
        data: its rows.
        model: the model with that head.

    Raises:
        UserError: the head has no loss of its own.
    """
    head = heads.get(run.task.head)
    if head.default_loss is None:
        raise UserError(f"the head '{head.name}' has no loss of its own", "name an objective", "ftp plugins")
    return head.default_loss(run, data, model)
