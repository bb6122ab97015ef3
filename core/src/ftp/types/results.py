"""What a run ends with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ftp.types.risks import Risk
from ftp.types.scores import Baseline, Score


@dataclass(frozen=True)
class Result:
    """What a run ended with. `out`: its folder; `model` is in `out / "model"`, in Transformers or PEFT layout."""

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
    verified: bool = True  # model/ was loaded in a fresh process and gave the same answers; not so with --no-verify

    def score(self, name: str, split: str | None = None) -> float:
        """The value of a score, of the last split (test where there is one) or of `split`."""
        values = [score.value for score in self.scores if score.name == name and split in (None, score.split)]
        if not values:
            raise KeyError(f"no score {name!r}; there are: {sorted({score.name for score in self.scores})}")
        return values[-1]
