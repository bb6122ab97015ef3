"""What a run ends with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ftp.types.risks import Risk
from ftp.types.scores import Baseline, Score


@dataclass(frozen=True)
class Result:
    """What a run ended with.

    Attributes:
        out: its folder; the model is in `out / "model"`, in Transformers or PEFT layout.
        scores: of the held-out rows, at the end.
        baselines: the same numbers for something simpler.
        risks: the last verdict of each check.
        step: the updates done.
        seconds: of the whole run, not those before a resume.
        trained: number of trained parameters.
        total: number of all parameters.
        reason: why training ended.
        device: where it computed, in one line.
        verified: `model/` was loaded in a fresh process and gave the same answers; not so with `--no-verify`.
    """

    out: Path
    scores: tuple[Score, ...]
    baselines: tuple[Baseline, ...]
    risks: tuple[Risk, ...]
    step: int
    seconds: float
    trained: int
    total: int
    reason: str
    device: str = ""
    verified: bool = True

    def score(self, name: str, split: str | None = None) -> float:
        """The value of a score.

        Args:
            name: that of the score.
            split: the rows that it was measured on; None: the last split (test where there is one).

        Raises:
            KeyError: there is no such score.
        """
        values = [score.value for score in self.scores if score.name == name and split in (None, score.split)]
        if not values:
            raise KeyError(f"no score {name!r}; there are: {sorted({score.name for score in self.scores})}")
        return values[-1]
