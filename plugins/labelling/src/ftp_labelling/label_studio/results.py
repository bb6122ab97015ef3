"""What the results of one annotation of Label Studio say: the text that was annotated, its spans, its choice, its answer."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from ftp.data.readers import Unreadable
from ftp.types import Row
from ftp_labelling.columns import are_texts, texts_of
from ftp_labelling.spans import Span, from_utf16

SPAN_TYPES = ("labels", "hypertextlabels")
TEXT_NAMES = ("text", "review", "content", "body", "document", "html", "sentence", "comment", "message")


def values_of(results: Sequence[Row], types: Collection[str]) -> Iterator[tuple[Row, Row]]:
    """Results of some types, each with its value."""
    for result in results:
        if result.get("type") in types:
            value = result.get("value")
            if not isinstance(value, dict):
                raise Unreadable(f"a result of the type {result.get('type')} has no value")
            yield result, value


def text_field(data: Row, results: Sequence[Row]) -> tuple[str, str]:
    """The name and the text of the field that was annotated.

    Raises:
        Unreadable: several fields could be the text.
    """
    texts = texts_of(data)
    names = [result.get("to_name") for result in results]
    for name in (*names, *TEXT_NAMES):
        if isinstance(name, str) and name in texts:
            return name, texts[name]
    candidates = list(texts)
    if len(texts) > 1:
        # ids and categories beside the text have no blanks
        candidates = [name for name, value in texts.items() if " " in value.strip()]
    if len(candidates) != 1:
        names_of_data = ", ".join(data) or "none"
        raise Unreadable(f"which field of its data is the text? It has: {names_of_data}; name that one text")
    return candidates[0], texts[candidates[0]]


def spans_of(text: str, value: Row) -> list[Span]:
    """The spans of one result, one for each of its labels. Offsets count UTF-16 units where only they fit the marked text."""
    offsets = value
    if isinstance(value.get("globalOffsets"), dict):
        offsets = value["globalOffsets"]
    start = offsets.get("start")
    end = offsets.get("end")
    if type(start) is not int or type(end) is not int:
        raise Unreadable(f"a span begins at {start!r:.60}, which is no offset in the text")
    marked = value.get("text")
    if isinstance(marked, str) and text[start:end] != marked:
        start = from_utf16(text, start)
        end = from_utf16(text, end)
        if text[start:end].split() != marked.split():
            raise Unreadable(f"a span marks {marked!r:.60}, but the text has {text[start:end]!r:.60} there")
    labels = value.get("labels", value.get("hypertextlabels"))
    if not are_texts(labels) or not labels:
        raise Unreadable(f"the span {start} to {end} has no label")
    return [Span(start, end, label) for label in labels]


def choice(results: Sequence[Row]) -> str:
    """The one class that was chosen."""
    choices: list[object] = []
    for _, value in values_of(results, ("choices",)):
        choices += value.get("choices") or ()
    if len(choices) != 1:
        raise Unreadable(f"{len(choices)} choices are made ({', '.join(map(str, choices))}); one label a row is read")
    return str(choices[0])


def written_text(results: Sequence[Row]) -> str:
    """The first text that was written into a text area."""
    for _, value in values_of(results, ("textarea",)):
        text = value.get("text")
        texts = text if isinstance(text, list) else [text]
        if texts and isinstance(texts[0], str):
            return texts[0]
    raise Unreadable("its text area is empty")
