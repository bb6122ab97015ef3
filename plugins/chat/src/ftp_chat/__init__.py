"""The chat domain: conversations, preferences, ratings and prompts of a helpful and harmless assistant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ftp import hookimpl, option, plugin
from ftp.metrics import reading
from ftp.types import Data, Model, Predictions, Reward, Risk, Row, Run, Score

if TYPE_CHECKING:
    from datasets import Dataset

SAMPLE = Path(__file__).parent / "sample"


@plugin(gives=("conversation", "preference", "feedback", "prompt"))
class Chat:
    """Helpful and harmless answers: conversations, preferences (chosen, rejected), ratings and prompts.

    Without `--data` it trains on a sample that comes with the package: short conversations and pairs of answers in simple
    English, some of them about harmful requests that are politely refused. It judges completions by plain rules, so that
    `rlhf,lora,chat` needs no reward model, and compares refusals and rude words before and after a run.
    """

    reward_weight: float = option(1.0, "weight of the reward by rules (`rlhf` asks for it); 0 gives none", low=0)
    drift_prompts: int = option(
        16, "harmless and as many harmful prompts answered before and after a run; 0 switches the check off", low=0, high=16)
    drift_tokens: int = option(32, "tokens at most in each of these answers", low=1)

    @hookimpl
    def load_data(self, run: Run) -> Mapping[str, Dataset]:
        from ftp.data import load
        from ftp_chat.sets import adapted

        form = run.task.form if (SAMPLE / run.task.form).is_dir() else "conversation"
        return load(run, SAMPLE / form, form=form, adapt=adapted)

    @hookimpl
    def evaluate(self, data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
        """Generated answers against the conversation's own last turn: exact match and F1 of words."""
        return reading(data, predictions)

    @hookimpl
    def reward(self, rows: Sequence[Row], completions: Sequence[str]) -> Reward | None:
        """The mean of a few plain rules, from 0 to 1; see `ftp_chat.rules`."""
        if not self.reward_weight:
            return None
        from ftp_chat.rules import judged

        return Reward("rules", [judged(row, text) for row, text in zip(rows, completions, strict=True)], self.reward_weight)

    @hookimpl
    def check_risks(self, run: Run, stage: str, model: Model | None) -> list[Risk]:
        """At the end: answer the same prompts with the weights from before the run and with those after it."""
        if stage != "end":
            return []
        from ftp_chat.drift import verdict

        return [verdict(run, model, self.drift_prompts, self.drift_tokens)]
