"""The extra plugin-name: something that goes with any method and domain, here a schedule of the rate.

An extra may as well change the optimizer (make_optimizer), choose the rows of an update (order_rows),
average weights (evaluated_weights), act around each update (train_step) or hear what happens (on_event);
docs/hooks.md of ftp says what each of them gets and gives. What such a plugin counts belongs in `state`
and `restore`, which every checkpoint keeps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator

from ftp import hookimpl, option, plugin

Schedule = Callable[[int], float]
"""Number of an update, from 0 -> share of the peak learning rate."""


@plugin(
    kind="extra",
    suggests={"lr_scheduler_type": "constant"},  # defaults of core's options that it would rather have
)
class PluginName:
    """Let the learning rate fall along a cosine, several times (SGDR, Loshchilov and Hutter 2017)."""

    # A field is an option: --plugin-name.cycles 5 on the command line, cycles = 5 in a recipe.
    cycles: int = option(3, "how many times the rate falls from its peak", low=1)

    @hookimpl(wrapper=True)
    def make_schedule(self, total: int) -> Generator[None, Schedule, Schedule]:
        """The run's own schedule, with its warm-up, times a cosine (arXiv:1608.03983, equation 5)."""
        schedule = yield  # what core answers, or another plugin

        def share(step: int) -> float:
            # The number of the update alone decides, so that a resumed run takes the same rates.
            done = (step * self.cycles / total) % 1  # share of its cycle that is over
            return schedule(step) * 0.5 * (1 + math.cos(math.pi * done))

        return share
