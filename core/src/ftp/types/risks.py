"""Verdicts of checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Level = Literal["ok", "note", "warn", "stop", "not_run"]
"""A verdict. `not_run` means that nothing was compared; it is never `ok`."""


@dataclass(frozen=True)
class Risk:
    """A verdict of one check: what was found, from which numbers, and which commands would help.

    `level`: ok, note, warn, stop, or not_run (`finding` gives the reason). Nothing compared is never ok.
    """

    name: str
    level: Level
    finding: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    advice: tuple[str, ...] = ()
    stage: str = ""
