"""What the model is to learn of an encoded row, in words: a tag, the ends of a span, a class, which
of two answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from ftp import forms, heads
from ftp.types import Data, Row

PREFERENCE = "⟦...⟧ is trained: the chosen answer is to become more probable than the rejected one"
FEEDBACK = "⟦...⟧ is trained: good answers are to become more probable, bad ones less"
PROMPTS = (
    "nothing of these rows is trained: they are prompts, to which the model writes answers that "
    "are "
    "judged"
)
BLOCKS = "in training, short rows lie side by side in blocks; here each is shown by itself"



class RowFacts(TypedDict, total=False):
    """What is to be learnt of a row as a whole: its class, its answer (None: there is none), or
    which of two it is."""

    label: str | int
    answer: str | None
    side: str


@dataclass(frozen=True)
class Targets:
    """What is to be learnt of one sequence.

    Args:
        of_token: position of a token -> its target in words.
        facts: what holds for the row as a whole (`label`, `answer`, `side`).
    """

    of_token: Mapping[int, str] = field(default_factory=dict)
    facts: RowFacts = field(default_factory=RowFacts)


def targets_of(data: Data, head: str, row: Row, sequence: int, sequences: int) -> Targets:
    """The targets of one of the `sequences` that an encoded row is laid out as.

    Args:
        sequence: its number, from 0 (a preference has two: chosen and rejected).
    """
    spec = heads.get(head)
    form = forms.get(data.form)
    if spec.picks_class_of == "word" and row.get("tags") is not None:
        return Targets(tags_of(data.labels, row))
    if spec.finds_span and row.get("span") is not None:
        return span_of(row)
    if sequences == len(form.sequence_names):
        return Targets(facts={"side": form.sequence_names[sequence]})
    label = row.get("label")
    if form.of_kind("rating") and label is not None:
        return Targets(facts={"side": "good" if label else "bad"})
    if data.labels and isinstance(label, int):
        is_known = 0 <= label < len(data.labels)
        return Targets(facts={"label": data.labels[label] if is_known else label})
    return Targets()


def tags_of(names: Sequence[str], row: Row) -> dict[int, str]:
    """The name of the tag at the first token of each word; a word without a token has none."""
    named = zip(row["first_tokens"], row["tags"], strict=True)
    return {token: names[tag] for token, tag in named if token >= 0}


def span_of(row: Row) -> Targets:
    """The two ends of the answer, and its text; the token that stands for no answer where there is
    none."""
    first, last = row["span"]
    if first == row["none"]:
        return Targets({first: "no answer"}, RowFacts(answer=None))
    # characters of each context token in `text`: begin and end in turn
    offsets = row["offsets"]
    start = offsets[2 * (first - row["first"])]
    end = offsets[2 * (last - row["first"]) + 1]
    ends = {first: "first", last: "last"}
    if first == last:
        ends = {first: "first and last"}
    return Targets(ends, RowFacts(answer=row["text"][start:end]))


def explanation(data: Data, head: str, any_trained: bool, has_rollout: bool) -> str:
    """What the marks of the rows mean."""
    if has_rollout:
        return PROMPTS
    spec = heads.get(head)
    form = forms.get(data.form)
    if spec.is_over_vocabulary and not any_trained:
        return "nothing of these rows is trained"
    if spec.writes_text and form.sequence_names:
        return PREFERENCE
    if spec.writes_text and form.of_kind("rating"):
        return FEEDBACK
    return spec.what_is_trained
