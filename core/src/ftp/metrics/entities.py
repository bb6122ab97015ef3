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
    """For each split `f1`, `precision` and `recall` of entities, and `accuracy`, the share of words that have their tag; all
    1 at best.

    An entity counts where kind, first and last word are right, over all kinds together ("micro"). Tags of no chunks
    (parts of speech: none begins with B-, I-, ...) give accuracy alone. Nothing where there is nothing to compare.

    Args:
        data: the rows of the run, with its form and labels.
        predictions: the answers of the model, by split.
    """
    if not forms.get(data.form).of_kind("tags") or not data.labels:
        return []
    # tags of parts of speech have no marks
    has_entities = any(_parted(label)[0] for label in data.labels)
    scores = []
    for split, predicted in predictions.items():
        if not predicted.answers or "tags" not in predicted.rows.column_names:
            continue
        truth: list[list[str]] = []
        answers: list[list[str]] = []
        for numbers, prediction in zip(predicted.rows["tags"], predicted.answers, strict=True):
            truth.append([data.labels[number] for number in numbers])
            # a row without words is not answered
            answers.append(prediction.answer or ["O"] * len(numbers))
        # the first is the one that counts: most words are in no entity, so that accuracy is high whatever is found
        if has_entities:
            for name, value in entity_scores(truth, answers).items():
                scores.append(Score(name, value, split=split))
        scores.append(Score("accuracy", _share_right(truth, answers), split=split))
    return scores


def _share_right(truth: Sequence[Sequence[str]], answers: Sequence[Sequence[str]]) -> float:
    """The share of words that have their tag, over all sentences together."""
    num_words = num_right = 0
    for true_tags, tags in zip(truth, answers, strict=True):
        num_words += len(true_tags)
        num_right += sum(true_tag == tag for true_tag, tag in zip(true_tags, tags, strict=True))
    return num_right / max(1, num_words)


def entity_scores(truth: Sequence[Sequence[str]], answers: Sequence[Sequence[str]]) -> dict[str, float]:
    """Precision, recall and f1 of the entities of many sentences together; 0 where there are none to divide by."""
    true_entities = _entities_of_all(truth)
    entities_in_answers = _entities_of_all(answers)
    num_right = len(true_entities & entities_in_answers)
    return {
        "f1": 2 * num_right / max(1, len(entities_in_answers) + len(true_entities)),
        "precision": num_right / max(1, len(entities_in_answers)),
        "recall": num_right / max(1, len(true_entities)),
    }


def _entities_of_all(sentences: Sequence[Sequence[str]]) -> set[tuple[int, Entity]]:
    """The entities of all sentences, each with the number of its sentence."""
    numbered = set()
    for number, tags in enumerate(sentences):
        numbered |= {(number, entity) for entity in entities(tags)}
    return numbered


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities of a sentence. Chunks that do not keep to the rules are read as seqeval reads them by default: an
    inside tag that follows nothing of its kind begins an entity."""
    closed: list[Entity] = []
    open_kind = ""
    first_word = 0
    last_mark = ""  # of the word before, where an entity is open
    # one more word behind the last, which closes what is open
    for word_index, tag in enumerate([*tags, "O"]):
        mark, kind = _parted(tag)
        goes_on = mark in ("I", "E") and last_mark in ("B", "I") and kind == open_kind
        if last_mark and not goes_on:
            closed.append((open_kind, first_word, word_index))
        if mark and not goes_on:
            open_kind = kind
            first_word = word_index
        last_mark = mark
    return closed


def _parted(tag: str) -> tuple[str, str]:
    """Mark and kind of a tag; an empty mark for a tag of no entity."""
    mark, dash, kind = tag.partition("-")
    if not dash and mark not in MARKS:
        return "", ""
    return MARKS.get(mark, ""), kind
