"""Where the answers of a data set lie in their contexts, as characters and as tokens. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ftp.errors import UserError
from ftp.losses.stretches import Span
from ftp.types import Row


@dataclass(frozen=True)
class Place:
    """The first and the past-the-last character of an answer in its context; `is_as_told`: its `answer_start` says so."""

    start: int
    end: int
    is_as_told: bool


def find_answer(context: str, text: str, start: int | None) -> tuple[int, bool] | None:
    """Where an answer begins in its context, and whether that is where `start` says. None where neither `start` nor the
    text itself says it."""
    if start is not None and start >= 0 and context[start : start + len(text)] == text:
        return start, True
    first = context.find(text)
    is_there_once = first >= 0 and context.find(text, first + 1) < 0
    return (first, False) if is_there_once else None


def find_place(row: Row) -> Place | None:
    """The place of the first answer that lies in the context; None for a question without an answer.

    Raises:
        ValueError: no answer lies there; its message is the first answer.
    """
    texts = row["answers"]["text"]
    starts = row["answers"].get("answer_start") or [None] * len(texts)
    missing = []
    for text, told_start in zip(texts, starts, strict=False):
        # SQuAD 2.0 has no answers, others an empty text, for a question without one
        if not text or not text.strip():
            continue
        start = find_answer(row["context"], text, told_start)
        if start is not None:
            return Place(start[0], start[0] + len(text), start[1])
        missing.append(text)
    if missing:
        raise ValueError(missing[0])
    return None


def answer_tokens(row: Row, offsets: Sequence[Span]) -> tuple[int, int] | None:
    """First and last token of the answer among those of the context; None for no answer.

    Args:
        row: a question with its context and answers.
        offsets: first and past-the-last character of each token of the context.

    Raises:
        UserError: the answer is not in the context, or the tokenizer makes nothing of it.
    """
    try:
        place = find_place(row)
    except ValueError as error:
        raise UserError(f"the answer {str(error)[:60]!r} to {row['question'][:60]!r} is not in its context",
                        "mend the row or leave it out") from None
    if place is None:
        return None
    inside = []
    for token, (start, end) in enumerate(offsets):
        # a token that stands for no character is of no answer
        if start < end and start < place.end and end > place.start:
            inside.append(token)
    if not inside:
        raise UserError(f"the answer to {row['question'][:60]!r} is nothing to the tokenizer", "mend the row or leave it out")
    return inside[0], inside[-1]
