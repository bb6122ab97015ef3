"""What a check can find."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Kind = Literal["exact", "near", "label", "group", "conflict", "benchmark", "time"]
Place = tuple[str, int]
"""A split (or a benchmark file) and a row of it, counted from 0 without the header."""


@dataclass(frozen=True)
class Finding:
    """One leak: what kind, between which rows, how alike they are (0 to 1), and a word about it.

    Args: kind: `exact`, `near`: the rows say the same. `label`: row `a` gives its label away.
        `group`: the rows share an author, a document, a prompt. `conflict`: the same text, two
        labels. `benchmark`: row `a` holds row `b` of a benchmark. `time`: training row `a` is later
        than evaluation row `b`."""

    kind: Kind
    a: Place
    b: Place | None
    similarity: float
    note: str

    def as_dict(self) -> dict[str, object]:
        """The finding as JSON has it."""
        b = list(self.b) if self.b else None
        return {
            **asdict(self),
            "a": list(self.a),
            "b": b,
            "similarity": round(self.similarity, 4),
        }
