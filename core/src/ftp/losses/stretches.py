"""Stretches of a text and of its tokens: which of them are trained. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

from ftp.data.turns import Unfit

__all__ = ["Span", "between", "of_turns", "token_spans", "total_size"]

Span = tuple[int, int]
"""The first and the past-the-last character or token of a stretch."""


def of_turns(marks: list[Span], answers: Sequence[int], wanted: Sequence[int]) -> list[Span]:
    """The marked stretches of some turns of the assistant.

    Args:
        marks: the stretches that the template marks.
        answers: numbers of the assistant's turns.
        wanted: those of them whose stretches are asked for.

    Raises:
        Unfit: it cannot be said which stretches are theirs.
    """
    if len(marks) == len(answers):
        wanted_turns = set(wanted)
        return [mark for mark, turn in zip(marks, answers, strict=True) if turn in wanted_turns]
    # Templates leave out earlier turns, so that there are fewer marks than answers. All marks, or the
    # last of them, are still right where all answers, or the last ones, are wanted.
    if list(wanted) == list(answers):
        return marks
    if list(wanted) == list(answers[-len(wanted) :]):
        return marks[-len(wanted) :]
    raise Unfit(f"has {len(answers)} turns of the assistant, of which the chat template marks {len(marks)}: which of them are to "
                "be learnt cannot be told")


def between(spans: Sequence[Span], size: int) -> list[Span]:
    """What lies before, between and behind stretches of a text.

    Args:
        spans: the stretches, in order.
        size: characters of the text.
    """
    if not spans:  # an empty text as well is one stretch
        return [(0, size)]
    gaps = []
    gap_start = 0
    for start, end in [*spans, (size, size)]:
        if gap_start < start:
            gaps.append((gap_start, start))
        gap_start = end
    return gaps


def token_spans(offsets: Sequence[Span], spans: Sequence[Span]) -> list[Span]:
    """Stretches of characters as stretches of the tokens that begin in them.

    Args:
        offsets: of each token its first and past-the-last character.
        spans: the stretches, in characters.
    """
    stretches = []
    for first, last in spans:
        inside = [token for token, (start, _) in enumerate(offsets) if first <= start < last]
        if inside:
            stretches.append((inside[0], inside[-1] + 1))
    return stretches


def total_size(spans: Sequence[Span]) -> int:
    """Characters or tokens in all stretches together.

    Args:
        spans: the stretches, of which none overlap.
    """
    return sum(end - start for start, end in spans)
