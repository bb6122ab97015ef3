"""What judges completions: a trained reward model, Python functions, and what other plugins of the run say (`reward`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ftp import UserError
from ftp.data import read_messages
from ftp.data.turns import last_question
from ftp.types import Row, StartedRun

if TYPE_CHECKING:
    from ftp_rlhf import Rlhf

Ids = Sequence[Sequence[int]]
Judge = Callable[[Sequence[Row], Sequence[str], Ids], Sequence[float | None]]
"""Rows of prompts, completions as text and as token ids -> a number each; None for what it does not judge."""


@dataclass(frozen=True)
class Judged:
    """[completions] the weighted sum of all rewards, and each reward by name, unweighted (0 where it did not judge)."""

    total: list[float]
    parts: Mapping[str, list[float]]

    def parts_of(self, completion: int) -> dict[str, float]:
        """Each reward of one completion, as a metric is named; none where there is one reward, which is the total."""
        if len(self.parts) < 2:
            return {}
        return {f"rewards/{name}": values[completion] for name, values in self.parts.items()}


@dataclass(frozen=True)
class Verdicts:
    """What one reward says of completions."""

    name: str
    values: Sequence[float | None]
    weight: float


class Judges:
    """All that judges the completions of a run."""

    def __init__(self, run: StartedRun, options: Rlhf) -> None:
        from ftp_rlhf.reward_function import function_judge
        from ftp_rlhf.reward_model import model_judge

        self.run = run
        self.judges: dict[str, Judge] = {}
        if options.reward_model is not None:
            self.judges["reward_model"] = model_judge(run, Path(options.reward_model))
        for spec in options.reward:
            name, judge = function_judge(spec)
            # two files may have functions of one name
            self.judges[name if name not in self.judges else spec] = judge
        self.weights = options.reward_weights or (1.0,) * len(self.judges)

    def __call__(self, rows: Sequence[Row], texts: Sequence[str], ids: Ids) -> Judged:
        """The rewards of completions. `UserError` for numbers that cannot be: too few, not finite, or none at all."""
        if not rows:
            return Judged([], {})
        verdicts = []
        for (name, judge), weight in zip(self.judges.items(), self.weights, strict=True):
            verdicts.append(Verdicts(name, list(judge(rows, texts, ids)), weight))
        for answer in self.run.hooks.each("reward", run=self.run, rows=rows, completions=texts):
            verdicts.append(Verdicts(answer.value.name, list(answer.value.values), answer.value.weight))
        for verdict in verdicts:
            _check(verdict, rows, texts)
        total = []
        for i, (row, text) in enumerate(zip(rows, texts, strict=True)):
            if all(verdict.values[i] is None for verdict in verdicts):
                raise UserError(f"no reward judges the completion {excerpt(text)} of the prompt {question_of(row)}",
                                "at least one gives a number; None is for what a function does not judge")
            # fsum rounds once, so that the sum does not depend on the order of the judges
            total.append(math.fsum(verdict.weight * (verdict.values[i] or 0.0) for verdict in verdicts))
        parts = {verdict.name: [float(value or 0.0) for value in verdict.values] for verdict in verdicts}
        return Judged(total, parts)


def _check(verdict: Verdicts, rows: Sequence[Row], texts: Sequence[str]) -> None:
    if len(verdict.values) != len(texts):
        raise UserError(f"reward {verdict.name}: it gave {len(verdict.values)} numbers for {len(texts)} completions",
                        "one for each, in their order")
    for value, row, text in zip(verdict.values, rows, texts, strict=True):
        if value is not None and not (isinstance(value, (int, float)) and math.isfinite(value)):
            raise UserError(f"reward {verdict.name}: {value!r} for the completion {excerpt(text)} of the prompt "
                            f"{question_of(row)}",
                            "a finite number for each completion, or None for what it does not judge")


def excerpt(text: str, most: int = 60) -> str:
    """The beginning of a text, in quotes."""
    return repr(text if len(text) <= most else text[:most] + "...")


def question_of(row: Row) -> str:
    """What names a prompt to a user: the beginning of its last question."""
    return excerpt(last_question(read_messages(row["prompt"], "user")))
