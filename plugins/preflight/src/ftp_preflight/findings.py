"""What the looks have found, gathered into one verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from ftp.types import Level, Risk

RANK: tuple[Level, ...] = ("ok", "note", "warn", "stop")
LEADS: dict[Level, str] = {
    "ok": "rows reach the model as they should",
    "note": "nothing that spoils training, but worth a look",
    "warn": "something here can spoil training without any error",
    "stop": "training on these rows cannot work",
}


@dataclass
class Findings:
    """`said`: level, words and advice (commands) of each finding. `evidence`: numbers by look. `looked`: names of what was
    looked at. `preview`: the command that shows rows as the model sees them, which is advised with whatever is found."""

    preview: str = "ftp data preview run.toml"
    said: list[tuple[Level, str, tuple[str, ...]]] = field(default_factory=list)
    evidence: dict[str, Any] = field(default_factory=dict)
    looked: list[str] = field(default_factory=list)

    def see(self, name: str, **numbers: Any) -> None:
        """Note that something was looked at, with its numbers."""
        if name not in self.looked:
            self.looked.append(name)
        self.evidence.setdefault(name, {}).update({key: plain(value) for key, value in numbers.items()})

    def tell(self, level: Level, words: str, *advice: str) -> None:
        """Add a finding."""
        self.said.append((level, words, advice))

    def risk(self) -> Risk:
        """The verdict: as bad as the worst finding; `not_run` where nothing was looked at."""
        if not self.looked:
            return Risk("preflight", "not_run", "there were no rows to look at")
        if not self.said:
            return Risk("preflight", "ok", f"{LEADS['ok']}: nothing wrong in {', '.join(self.looked)}", self.evidence)
        worst = max((level for level, _, _ in self.said), key=RANK.index)
        ordered = sorted(self.said, key=lambda one: -RANK.index(one[0]))
        advice = tuple(dict.fromkeys(tip for _, _, tips in ordered for tip in tips))
        words = f"{LEADS[worst]}: {'; '.join(words for _, words, _ in ordered)}"
        return Risk("preflight", worst, words, self.evidence, (*advice, self.preview))


def plain(value: Any) -> Any:
    """Numbers of four digits, and nothing that JSON cannot say."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value
