"""Pairwise choices of Label Studio as preferences."""

from __future__ import annotations

from collections.abc import Sequence

from ftp.data.readers import Unreadable
from ftp.types import Row
from ftp_labelling.columns import are_texts, texts_of
from ftp_labelling.label_studio.results import values_of

PROMPT_NAMES = ("prompt", "question", "instruction", "query")


def preference(data: Row, results: Sequence[Row]) -> Row:
    """The chosen and the rejected of two texts, and their prompt where there is one."""
    texts = texts_of(data)
    result, value = next(values_of(results, ("pairwise",)))
    selected = value.get("selected")
    if selected not in ("left", "right"):
        raise Unreadable(f"its pairwise choice is {selected!r:.40}, neither left nor right")
    names = _compared(texts, result.get("to_name"))
    if len(names) != 2:
        raise Unreadable(f"which two fields of its data are compared? It has: {', '.join(data)}")
    left, right = names
    row = {"chosen": texts[left], "rejected": texts[right]}
    if selected == "right":
        row = {"chosen": texts[right], "rejected": texts[left]}
    for name in PROMPT_NAMES:
        if name in texts:
            return {"prompt": texts[name], **row}
    return row


def _compared(texts: Row, to_name: object) -> list[str]:
    """The fields that a result says it compares, as `answer1,answer2`; else all that are no prompt."""
    names = to_name
    if isinstance(to_name, str):
        names = [name.strip() for name in to_name.split(",")]
    if are_texts(names) and len(names) == 2 and texts.keys() >= set(names):
        return names
    return [name for name in texts if name not in PROMPT_NAMES]
