"""Training: the loop, one update, the optimizer, checkpoints, devices and processes.

For plugins: what sorts the trained weights into the groups of an optimizer (`parameter_groups`, `trained_weights`), gives
weights their own rates (`scale_rates`), makes one optimizer of several (`JoinedOptimizer`), or
changes the course of the learning rate (`default_schedule`).
"""

from typing import TYPE_CHECKING

from ftp.deprecation import late_names
from ftp.train.optimizer import parameter_groups, scale_rates, trained_weights

if TYPE_CHECKING:
    from ftp.train.joined_optimizer import JoinedOptimizer
    from ftp.train.schedule import schedule as default_schedule

__all__ = ["JoinedOptimizer", "default_schedule", "parameter_groups", "scale_rates", "trained_weights"]

__getattr__ = late_names(__name__, {
    "JoinedOptimizer": "ftp.train.joined_optimizer:JoinedOptimizer",  # imports torch
    "default_schedule": "ftp.train.schedule:schedule",
})
