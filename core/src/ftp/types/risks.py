"""Verdicts of checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["ok", "note", "warn", "stop", "not_run"]
"""A verdict. `not_run` means that nothing was compared; it is never `ok`."""


@dataclass(frozen=True)
class Risk:
    """A verdict of one check. Nothing compared is never `ok`.

    Attributes:
        name: that of the check; the last verdict of a name counts.
        level: how bad it is; `not_run`: `finding` gives the reason.
        finding: what was seen, in one sentence.
        evidence: the numbers that say so.
        advice: commands that would help.
        stage: when it was given (`check_risks` lists the stages); empty: core fills it in.
    """

    name: str
    level: Level
    finding: str
    evidence: Mapping[str, object] = field(default_factory=dict)
    advice: tuple[str, ...] = ()
    stage: str = ""
