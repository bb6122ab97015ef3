"""Plugins of the kit: a domain that has rows of every form, and one that ends a run in its middle."""

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
    """Rows of whatever form the objective reads, from the conformance kit, and a reward for completions."""

    gives = tuple(MAKERS)

    @hookimpl
    def load_data(self, run: Run) -> dict[str, Any]:
        from datasets import Dataset

        return {split: Dataset.from_list(rows) for split, rows in splits(run.task.form).items()}

    @hookimpl
    def reward(self, completions: Sequence[str]) -> Reward:
        """For objectives that sample: many words of different kinds are good."""
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
