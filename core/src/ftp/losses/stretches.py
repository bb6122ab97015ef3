"""Stretches of a text and of its tokens: which of them are trained. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

from ftp.data.turns import Unfit

Span = tuple[int, int]
"""First and past-the-last place, in characters or in tokens."""


def of_turns(marks: list[Span], answers: Sequence[int], wanted: Sequence[int]) -> list[Span]:
    """The marked stretches of some turns of the assistant. Raises `Unfit` where it cannot be said which are theirs."""
    if len(marks) == len(answers):
        return [mark for mark, place in zip(marks, answers, strict=True) if place in set(wanted)]
    if list(wanted) == list(answers):
        return marks
    if list(wanted) == list(answers[-len(wanted) :]):
        return marks[-len(wanted) :]
    raise Unfit(f"has {len(answers)} turns of the assistant, of which the chat template marks {len(marks)}: which of them are to "
                "be learnt cannot be told")


def between(spans: Sequence[Span], size: int) -> list[Span]:
    """What lies before, between and behind stretches of a text of `size` characters."""
    starts = [0, *(end for _, end in spans)]
    ends = [*(start for start, _ in spans), size]
    return [(start, end) for start, end in zip(starts, ends, strict=True) if start < end or not spans]


def token_spans(places: Sequence[Span], spans: Sequence[Span]) -> list[Span]:
    """Stretches of characters as stretches of the tokens that begin in them."""
    found = []
    for first, last in spans:
        inside = [number for number, (start, _) in enumerate(places) if first <= start < last]
        if inside:
            found.append((inside[0], inside[-1] + 1))
    return found


def total_size(spans: Sequence[Span]) -> int:
    """Characters or tokens in all stretches together."""
    return sum(end - start for start, end in spans)
