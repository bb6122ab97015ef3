"""Plugins of the kit: rows of every form, a judge of completions, and the end of a run in its middle."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Any

from ftp import hookimpl, option, plugin
from ftp.testing.rows import MAKERS, splits
from ftp.types import Event, Reward, Run


@plugin
class KitRows:
    """Rows of whatever form the objective reads, from the conformance kit."""

    gives = tuple(MAKERS)

    @hookimpl
    def load_data(self, run: Run) -> dict[str, Any]:
        from datasets import Dataset

        return {split: Dataset.from_list(rows) for split, rows in splits(run.task.form).items()}


@plugin
class KitJudge:
    """Judge completions, for objectives that sample from the model."""

    kind = "extra"

    @hookimpl
    def reward(self, completions: Sequence[str]) -> Reward:
        """Many words of different kinds are good."""
        return Reward("words", [float(len(set(text.split()))) for text in completions])


@plugin
class KitHalt:
    """End a run after a checkpoint, as if it had been killed."""

    kind = "extra"

    after: int = option(0, "the checkpoint after which it ends; 0: none", low=0)
    hard: bool = option(False, "end by kill -9; else by Ctrl-C where nothing is saved any more")

    @hookimpl
    def on_event(self, event: Event) -> None:
        if event.name == "saved" and event.step == self.after:
            if self.hard:
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyboardInterrupt
