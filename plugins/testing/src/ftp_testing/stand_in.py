"""Plugins of the kit: rows of every form, a judge of completions, the end of a run in its middle, and what each rank holds."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from ftp import hookimpl, option, plugin
from ftp.types import Event, Loss, Model, Reward, Run, Saved, StartedRun, Step
from ftp_testing.rows import forms_of_rows, splits

if TYPE_CHECKING:
    from datasets import Dataset


@plugin(gives=forms_of_rows())
class KitRows:
    """Rows of whatever form the objective reads, from the conformance kit."""

    @hookimpl
    def load_data(self, run: Run) -> dict[str, Dataset]:
        from datasets import Dataset

        return {split: Dataset.from_list(rows) for split, rows in splits(run.task.form).items()}


@plugin(kind="extra")
class KitJudge:
    """Judge completions, for objectives that sample from the model."""

    @hookimpl
    def reward(self, completions: Sequence[str]) -> Reward:
        """Many words of different kinds are good."""
        return Reward("words", [float(len(set(text.split()))) for text in completions])


@plugin(kind="extra")
class KitHalt:
    """Kill a run after a checkpoint (kill -9)."""

    after: int = option(0, "the checkpoint after which it is killed; 0: none", low=0)

    @hookimpl
    def on_event(self, event: Event) -> None:
        # a run may save before its first update too
        if self.after > 0 and isinstance(event, Saved) and event.step == self.after:
            os.kill(os.getpid(), signal.SIGKILL)


@plugin(kind="extra")
class KitRanks:
    """Where several processes train together, have each write down what its trained weights are after each update."""

    @hookimpl(wrapper=True)
    def make_loss(self, model: Model) -> Generator[None, Loss, Loss]:
        loss = yield
        parameters = [*model.net.parameters(), *(loss.extra.parameters() if loss.extra is not None else ())]
        self.weights = [weight for weight in parameters if weight.requires_grad]
        return loss

    @hookimpl
    def on_event(self, run: StartedRun, event: Event) -> None:
        if run.accelerator.num_processes > 1 and isinstance(event, Step):
            digest = hashlib.sha256()
            for weight in self.weights:
                digest.update(weight.detach().cpu().numpy().tobytes())
            with (run.out / f"rank-{run.accelerator.process_index}.txt").open("a") as file:
                file.write(f"{event.step} {digest.hexdigest()}\n")
