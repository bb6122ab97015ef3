"""Training: the loop, one update, the optimizer, checkpoints, devices and processes.

For plugins: what sorts the trained weights into the groups of an optimizer (`parameter_groups`, `trained_weights`), gives
weights their own rates (`scale_rates`), or makes one optimizer of several (`JoinedOptimizer`).
"""

from typing import TYPE_CHECKING, Any

from ftp.train.optimizer import parameter_groups, scale_rates, trained_weights

if TYPE_CHECKING:
    from ftp.train.joined_optimizer import JoinedOptimizer

__all__ = ["JoinedOptimizer", "parameter_groups", "scale_rates", "trained_weights"]


def __getattr__(name: str) -> Any:
    if name != "JoinedOptimizer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ftp.train.joined_optimizer import JoinedOptimizer  # here, as it imports torch

    return JoinedOptimizer
