"""Tags of words: entities that are found whole, counted as seqeval counts them (and CoNLL's script before it)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ftp import forms
from ftp.types import Data, Predictions, Score

Entity = tuple[str, int, int]
"""Kind, first word, past the last word."""

MARKS = {"B": "B", "I": "I", "E": "E", "S": "S", "L": "E", "U": "S"}
"""What a tag may begin with: begin, inside, end, single; last and unit are other names of the last two."""


def tagging(data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
    """For each split `precision`, `recall` and `f1` of entities, and `accuracy`, the share of words that have their tag; all
    1 at best.

    An entity counts where kind, first and last word are right, over all kinds together ("micro"). Tags of no chunks
    (parts of speech: none begins with B-, I-, ...) give accuracy alone. Nothing where there is nothing to compare.
    """
    if not forms.get(data.form).of_kind("tags") or not data.labels:
        return []
    chunked = any(_parted(label)[0] for label in data.labels)
    scores = []
    for split, one in predictions.items():
        if not one.answers or "tags" not in one.rows.column_names:
            continue
        truth = [[data.labels[number] for number in tags] for tags in one.rows["tags"]]
        # a row without words is not answered
        given = [answer.answer or ["O"] * len(tags) for answer, tags in zip(one.answers, truth, strict=True)]
        right = sum(a == b for wanted, said in zip(truth, given, strict=True) for a, b in zip(wanted, said, strict=True))
        scores.append(Score("accuracy", right / max(1, sum(map(len, truth))), "max", split))
        if chunked:
            scores += [Score(name, value, "max", split) for name, value in entity_scores(truth, given).items()]
    return scores


def entity_scores(truth: Sequence[Sequence[str]], given: Sequence[Sequence[str]]) -> dict[str, float]:
    """Precision, recall and f1 of the entities of many sentences together; 0 where there are none to divide by."""
    wanted, found = ({(number, *one) for number, tags in enumerate(rows) for one in entities(tags)} for rows in (truth, given))
    right = len(wanted & found)
    precision, recall = right / max(1, len(found)), right / max(1, len(wanted))
    return {"precision": precision, "recall": recall, "f1": 2 * right / max(1, len(found) + len(wanted))}


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities of a sentence. Chunks that do not keep to the rules are read as seqeval reads them by default: an
    inside tag that follows nothing of its kind begins an entity."""
    found: list[Entity] = []
    kind, begin, before = "", 0, ""  # `before`: the mark of the word before, where an entity is open
    for place, tag in enumerate([*tags, "O"]):
        mark, name = _parted(tag)
        goes_on = mark in ("I", "E") and before in ("B", "I") and name == kind
        if before and not goes_on:
            found.append((kind, begin, place))
        if mark and not goes_on:
            kind, begin = name, place
        before = mark
    return found


def _parted(tag: str) -> tuple[str, str]:
    """Mark and kind of a tag; an empty mark for a tag of no entity."""
    mark, dash, kind = tag.partition("-")
    if not dash and mark not in MARKS:
        return "", ""
    return MARKS.get(mark, ""), kind
