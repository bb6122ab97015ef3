"""What a run came to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ftp.types import Baseline, Risk, Score


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
        found = [one for one in self.scores if one.name == name and split in (None, one.split)]
        if not found:
            raise KeyError(f"no score {name!r}; there are: {sorted({one.name for one in self.scores})}")
        return found[-1].value
