"""What forms of a text, or of a pair of texts, have in common: all of them know the same spellings. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence

from ftp.forms.spec import Column, Way
from ftp.types import Row

TEXT_COLUMN = Column("text", other_names=("sentence", "text_a", "sentence1", "premise"))
"""The column of a row's text."""

TEXT_PAIR_COLUMN = Column("text_pair", is_required=False, other_names=("text_b", "sentence2", "hypothesis"))
"""The column of a second text, which is read together with the first."""


def joined(*parts: str | None) -> str:
    """Texts as one, with an empty line between them; what is empty or None is left out."""
    return "\n\n".join(filter(None, parts))


def _both(row: Row, labels: Sequence[str]) -> Row:
    return {"text": joined(row["text"], row.get("text_pair"))}


AS_TEXT = Way("text", _both)
"""A row of a text, or of a pair, as one plain text."""
