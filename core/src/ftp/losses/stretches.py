"""Stretches of a text and of its tokens: which of them are trained. No torch here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Literal

from ftp.data.turns import Unfit

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Span", "between", "flat", "of_turns", "token_spans", "total_size"]

Span = tuple[int, int]
"""The first and the past-the-last character or token of a stretch."""

Which = Literal["answers", "last", "all"]
"""Which tokens are trained: those of every assistant turn, of the last one, or all."""


@dataclass(frozen=True)
class Encoded:
    """A conversation as token ids.

    `spans`: the trained stretches of them. `cut`: tokens that did not fit, `answer_cut` of them from trained stretches.
    """

    ids: list[int]
    spans: list[Span]
    cut: int = 0
    answer_cut: int = 0


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


def flat(spans: Iterable[Span]) -> list[int]:
    """Stretches as a column of an encoded row, `[start, end, start, end, ...]`.

    Args:
        spans: the stretches, in order.
    """
    return list(chain.from_iterable(spans))


def total_size(spans: Sequence[Span]) -> int:
    """Characters or tokens in all stretches together.

    Args:
        spans: the stretches, of which none overlap.
    """
    return sum(end - start for start, end in spans)


def trained(
    tokenizer: PreTrainedTokenizerBase, ends: Collection[int], ids: list[int], offsets: Sequence[Span],
    spans: Sequence[Span], which: Which,
) -> Encoded:
    """A conversation with its trained tokens: the stretches, each closed by an end-of-turn token.

    Args:
        ends: tokens that can end a turn.
        ids: the tokens of the whole text.
        offsets: of each token its first and past-the-last character.
        spans: the trained stretches, in characters.
    """
    if which == "all" and len(spans) == 1:
        first, last = spans[0]
        is_whole = not offsets or (first == 0 and last >= offsets[-1][1])
        if is_whole:  # with tokens that stand for no character of the text
            return Encoded(ids, [(0, len(ids))])
    if which == "all":  # some turns are only read
        return Encoded(ids, token_spans(offsets, spans))
    stretches: list[Span] = []
    for first, last in spans:
        # a token that reaches into the stretch belongs to it
        inside = [token for token, (begin, finish) in enumerate(offsets) if begin < last and finish > first]
        if not inside:
            continue
        start = inside[0]
        end = inside[-1] + 1
        last_word = without_white_space(tokenizer, ids[start:end])[-1]
        if last_word not in ends:
            # markers may stand around the words alone: the end of the turn is the assistant's as well
            if end < len(ids) and ids[end] in ends and ids[end] != tokenizer.bos_token_id:
                end += 1
            elif end == len(ids) and tokenizer.eos_token_id is not None:
                ids = [*ids, int(tokenizer.eos_token_id)]
                end += 1
        stretches.append((start, end))
    return Encoded(ids, stretches)


def without_white_space(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[int]:
    """The ids without white space at the end."""
    kept = list(ids)
    while len(kept) > 1 and not str(tokenizer.decode(kept[-1:])).strip():
        kept.pop()
    return kept
