"""Records of Argilla 1: `annotation` and `prediction` beside a text."""

from __future__ import annotations

from collections.abc import Sequence

from ftp.data.readers import Tally, Unreadable
from ftp.types import Row
from ftp_labelling.argilla.answers import DISCARDED
from ftp_labelling.columns import have_columns, with_id
from ftp_labelling.spans import read_span
from ftp_labelling.words import tag_words


def matches(rows: Sequence[Row]) -> bool:
    """Whether every row is a record of version 1."""
    return have_columns(rows, "annotation", "prediction") and None not in map(_text, rows)


def _text(row: Row) -> str | None:
    """The text of a record: `text`, or the first of its `inputs`."""
    if isinstance(row.get("text"), str):
        return str(row["text"])
    inputs = row.get("inputs")
    for value in inputs.values() if isinstance(inputs, dict) else ():
        if isinstance(value, str):
            return value
    return None


def convert(row: Row, tally: Tally) -> Row | None:
    """The record as words with BIO tags, or as a text with its label; None where nobody has annotated it."""
    text = _text(row)
    if text is None:
        raise Unreadable("it has no text")
    if str(row.get("status")).lower() == "discarded":
        tally[DISCARDED] += 1
        return None
    annotation = row.get("annotation")
    if annotation is None:
        tally["records left out, as nobody has annotated them"] += 1
        return None
    # words were tagged where the record has tokens, else the whole text was
    tokens = row.get("tokens")
    if isinstance(tokens, list) and isinstance(annotation, list):
        return with_id(row, tag_words(text, map(read_span, annotation), _bounds(text, tokens)))
    labels = annotation if isinstance(annotation, list) else [annotation]
    if len(labels) != 1 or not isinstance(labels[0], str):
        raise Unreadable(f"its annotation is {annotation!r:.80}; one label a row is read")
    return with_id(row, {"text": text, "label": labels[0]})


def _bounds(text: str, tokens: Sequence[object]) -> list[tuple[int, int]]:
    """Where each token begins and ends in the text."""
    bounds: list[tuple[int, int]] = []
    end = 0
    for token in tokens:
        start = text.find(token, end) if isinstance(token, str) else -1
        if start < 0 or not isinstance(token, str):
            raise Unreadable(f"its token {token!r:.40} is not in the text after character {end}")
        end = start + len(token)
        bounds.append((start, end))
    return bounds
