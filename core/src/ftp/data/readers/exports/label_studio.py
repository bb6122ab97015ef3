"""Label Studio's JSON: tasks with `data` and `annotations`; and JSON-MIN, whose tasks are flat.

Read: choices (a label), labels over text or hypertext (BIO tags), pairwise (a preference), textarea (a completion), chat
messages (a conversation).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html.parser import HTMLParser
from typing import Any

from ftp.data.readers.exports.spans import Span, Tally, Unreadable, from_utf16, tag_words

SPAN_TYPES = ("labels", "hypertextlabels")
READ_TYPES = (*SPAN_TYPES, "choices", "pairwise", "textarea", "chatmessage")
TEXT_NAMES = (
    "text",
    "review",
    "content",
    "body",
    "document",
    "html",
    "sentence",
    "comment",
    "message",
)
PROMPT_NAMES = ("prompt", "question", "instruction", "query")
OWN_OF_MESSAGES = ("createdAt",)  # milliseconds, which say in which order messages stand
OWN_COLUMNS = ("annotator", "annotation_id", "created_at", "updated_at", "lead_time")


def matches(rows: list[dict[str, Any]]) -> bool:
    """Whether every row is a task."""
    return bool(rows) and all(
        isinstance(row.get("data"), dict) and _annotations(row) is not None for row in rows
    )


def matches_tagging(rows: list[dict[str, Any]]) -> bool:
    """Whether every row is a task, and spans are marked in any."""
    return matches(rows) and any(
        result.get("type") in SPAN_TYPES for row in rows for result in _all_results(row)
    )


def _annotations(task: Mapping[str, Any]) -> list[Any] | None:
    found = task.get("annotations", task.get("completions"))  # versions before 1.0 say completions
    return found if isinstance(found, list) else None


def _all_results(task: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    for annotation in _annotations(task) or ():
        if isinstance(annotation, dict):
            yield from _results(annotation)


def _results(annotation: Mapping[str, Any]) -> list[dict[str, Any]]:
    results = annotation.get("result")
    if not isinstance(results, list):
        return []
    return [result for result in results if isinstance(result, dict)]


def convert(task: dict[str, Any], tally: Tally) -> dict[str, Any] | None:
    """The task as a row, from its ground truth or its first annotation; None where nobody has annotated it."""
    return _convert(task, tally, has_tags=False)


def convert_tagging(task: dict[str, Any], tally: Tally) -> dict[str, Any] | None:
    """As `convert`, in a file of marked spans: an annotation without any says that no word has a tag."""
    return _convert(task, tally, has_tags=True)


def _convert(task: dict[str, Any], tally: Tally, has_tags: bool) -> dict[str, Any] | None:
    data = task.get("data")
    if not isinstance(data, dict):
        raise Unreadable("it has no data")
    annotations = [entry for entry in _annotations(task) or () if isinstance(entry, dict)]
    kept = [entry for entry in annotations if not entry.get("was_cancelled")]
    if not kept:
        tally[
            "tasks left out, as they were skipped"
            if annotations
            else "tasks left out, as nobody has annotated them"
        ] += 1
        return None
    if len(kept) > 1:
        tally[
            "tasks have several annotations, of which the ground truth or else the first is read"
        ] += 1
    chosen = next((entry for entry in kept if entry.get("ground_truth")), kept[0])
    results = _results(chosen)
    kinds = {str(result.get("type")) for result in results}
    if unread := sorted(kinds - set(READ_TYPES) - {"relation"}):
        tally[f"tasks have results of the type {', '.join(unread)}, which is not read"] += 1
    row = _row(task, data, results, kinds, has_tags, tally)
    if row is None and kinds:
        tally["tasks left out, as nothing in their annotation is read"] += 1
    elif row is None:
        tally["tasks left out, as their annotation is empty"] += 1
    return row


def _row(
    task: Mapping[str, Any],
    data: dict[str, Any],
    results: list[dict[str, Any]],
    kinds: set[str],
    has_tags: bool,
    tally: Tally,
) -> dict[str, Any] | None:
    row: dict[str, Any] = {"id": task["id"]} if "id" in task else {}
    whole_row = next((kind for kind in ("pairwise", "chatmessage") if kind in kinds), "")
    if whole_row:
        others = sorted(kinds & set(READ_TYPES) - {whole_row, "relation"})
        if others:
            tally[f"tasks have {', '.join(others)} beside {whole_row}, which are not read"] += 1
        if whole_row == "pairwise":
            return {**row, **_preference(data, results)}
        return {**row, "messages": _messages(data, results, tally)}
    if not has_tags and not kinds & set(READ_TYPES):
        return None
    name, text = _text(data, results)
    row.update({key: value for key, value in data.items() if key != name})
    if has_tags:
        is_html = "hypertextlabels" in kinds or _is_html(name, text)
        shown = _plain_text(text) if is_html else text
        row.update(tag_words(shown, _spans(shown, results)))
    else:
        row["text"] = text
    if "choices" in kinds:
        row["text"], row["label"] = text, _choice(results)
    if "textarea" in kinds:
        row.pop("text", None)
        row["prompt"], row["completion"] = text, _written(results)
    return row


def _values(
    results: list[dict[str, Any]], kinds: tuple[str, ...]
) -> Iterable[tuple[dict[str, Any], dict[str, Any]]]:
    """Results of some types, each with its value."""
    for result in results:
        if result.get("type") in kinds:
            value = result.get("value")
            if not isinstance(value, dict):
                raise Unreadable(f"a result of the type {result.get('type')} has no value")
            yield result, value


def _text(data: dict[str, Any], results: list[dict[str, Any]]) -> tuple[str, str]:
    """The name and the text of the field that was annotated."""
    texts = {name: value for name, value in data.items() if isinstance(value, str)}
    for result in results:
        name = result.get("to_name")
        if isinstance(name, str) and name in texts:
            return name, texts[name]
    for name in TEXT_NAMES:
        if name in texts:
            return name, texts[name]
    prose = [name for name, value in texts.items() if " " in value.strip()]
    candidates = prose if len(texts) > 1 else list(texts)
    if len(candidates) != 1:
        raise Unreadable(
            f"which field of its data is the text? It has: {', '.join(data) or 'none'}; name that one text"
        )
    return candidates[0], texts[candidates[0]]


def _spans(text: str, results: list[dict[str, Any]]) -> list[Span]:
    return [span for _, value in _values(results, SPAN_TYPES) for span in _spans_of(text, value)]


def _spans_of(text: str, value: dict[str, Any]) -> list[Span]:
    """The spans of one result, one for each of its labels. Offsets count UTF-16 units where only they fit the marked text."""
    offsets = value.get("globalOffsets") if isinstance(value.get("globalOffsets"), dict) else value
    assert isinstance(offsets, dict)
    start, end = offsets.get("start"), offsets.get("end")
    if type(start) is not int or type(end) is not int:
        raise Unreadable(f"a span begins at {start!r:.60}, which is no offset in the text")
    marked = value.get("text")
    if isinstance(marked, str) and text[start:end] != marked:
        start, end = from_utf16(text, start, end)
        if text[start:end].split() != marked.split():
            raise Unreadable(
                f"a span marks {marked!r:.60}, but the text has {text[start:end]!r:.60} there"
            )
    labels = value.get("labels", value.get("hypertextlabels"))
    if (
        not isinstance(labels, list)
        or not labels
        or not all(isinstance(label, str) for label in labels)
    ):
        raise Unreadable(f"the span {start} to {end} has no label")
    return [Span(start, end, label) for label in labels]


def _choice(results: list[dict[str, Any]]) -> str:
    chosen = [
        choice
        for _, value in _values(results, ("choices",))
        for choice in value.get("choices") or ()
    ]
    if len(chosen) != 1:
        raise Unreadable(
            f"{len(chosen)} choices are made ({', '.join(map(str, chosen))}); one label a row is read"
        )
    return str(chosen[0])


def _written(results: list[dict[str, Any]]) -> str:
    for _, value in _values(results, ("textarea",)):
        text = value.get("text")
        texts = text if isinstance(text, list) else [text]
        if texts and isinstance(texts[0], str):
            return texts[0]
    raise Unreadable("its text area is empty")


def _preference(data: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, Any]:
    """The chosen and the rejected of two texts, and their prompt where there is one."""
    texts = {name: value for name, value in data.items() if isinstance(value, str)}
    result, value = next(iter(_values(results, ("pairwise",))))
    selected = value.get("selected")
    if selected not in ("left", "right"):
        raise Unreadable(f"its pairwise choice is {selected!r:.40}, neither left nor right")
    compared = result.get("to_name")
    names = (
        [name.strip() for name in compared.split(",")] if isinstance(compared, str) else compared
    )
    prompts = [name for name in PROMPT_NAMES if name in texts]
    if not isinstance(names, list) or len(names) != 2 or not all(name in texts for name in names):
        names = [name for name in texts if name not in PROMPT_NAMES]
    if len(names) != 2:
        raise Unreadable(f"which two fields of its data are compared? It has: {', '.join(data)}")
    chosen, rejected = names if selected == "left" else names[::-1]
    row = {"chosen": texts[chosen], "rejected": texts[rejected]}
    return {"prompt": texts[prompts[0]], **row} if prompts else row


def _messages(
    data: dict[str, Any], results: list[dict[str, Any]], tally: Tally
) -> list[dict[str, Any]]:
    """The messages of the task, then those that were written, by the time at which they were."""
    written: list[dict[str, Any]] = []
    for _, value in _values(results, ("chatmessage",)):
        message = value.get("chatmessage")
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            raise Unreadable("a chat message has no content")
        written.append(message)
    if all(isinstance(message.get("createdAt"), int) for message in written):
        written.sort(key=lambda message: int(message["createdAt"]))
    messages: list[dict[str, Any]] = []
    for message in [*_shown_messages(data, results, tally), *written]:
        messages.append({key: message[key] for key in message if key not in OWN_OF_MESSAGES})
    return messages


def _shown_messages(
    data: dict[str, Any], results: list[dict[str, Any]], tally: Tally
) -> list[dict[str, Any]]:
    """The messages that the task began with; a text without a role is a word to the annotator, and is left out."""
    names = [result.get("to_name") for result in results if result.get("type") == "chatmessage"]
    for name in (*(name for name in names if isinstance(name, str)), *data):
        value = data.get(name)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            continue
        messages = [item for item in value if "role" in item]
        if len(messages) < len(value) and (messages or name in names):
            tally["tasks have texts without a role before their messages, which are left out"] += 1
        if messages:
            return messages
    return []


class _Text(HTMLParser):
    """The text of HTML as a browser counts its characters."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br":
            self.parts.append("\n")


def _plain_text(html: str) -> str:
    parser = _Text()
    parser.feed(html)
    parser.close()
    return "".join(parser.parts)


def _is_html(name: str, text: str) -> bool:
    return name == "html" and "<" in text and ">" in text


def _flat_span_column(row: Mapping[str, Any]) -> str | None:
    for name, value in row.items():
        if (
            isinstance(value, list)
            and value
            and all(
                isinstance(item, dict) and {"start", "end", "labels"} <= item.keys()
                for item in value
            )
        ):
            return name
    return None


def _flat_column(row: Mapping[str, Any], name_of_value: str) -> str | None:
    """The column of JSON-MIN whose values hold this kind of result, as `{"selected": "left"}`."""
    for name, values in row.items():
        if not isinstance(values, list) or not values:
            continue
        if all(isinstance(value, dict) and name_of_value in value for value in values):
            return name
    return None


def matches_flat(rows: list[dict[str, Any]]) -> bool:
    """Whether the rows are those of JSON-MIN, with spans in any of them."""
    if not all("annotation_id" in row and isinstance(row.get("text"), str) for row in rows):
        return False
    return any(_flat_span_column(row) for row in rows)


def matches_flat_whole(rows: list[dict[str, Any]]) -> bool:
    """Whether the rows are those of JSON-MIN, with a pairwise choice or chat messages in any of them."""
    if not rows or not all("annotation_id" in row for row in rows):
        return False
    return any(_flat_column(row, "selected") or _flat_column(row, "chatmessage") for row in rows)


def convert_flat_whole(row: dict[str, Any], tally: Tally) -> dict[str, Any] | None:
    """The row as a preference, or as messages; None where nobody has chosen or written."""
    for kind, name_of_value in (("pairwise", "selected"), ("chatmessage", "chatmessage")):
        name = _flat_column(row, name_of_value)
        if name is None:
            continue
        results = [{"type": kind, "to_name": name, "value": value} for value in row[name]]
        data = {key: row[key] for key in row if key not in (name, "id", *OWN_COLUMNS)}
        kept = {"id": row["id"]} if "id" in row else {}
        if kind == "pairwise":
            return {**kept, **_preference(data, results)}
        return {**kept, "messages": _messages(data, results, tally)}
    tally["rows left out, as nothing was chosen or written"] += 1
    return None


def convert_flat(row: dict[str, Any], tally: Tally) -> dict[str, Any]:
    """The words of the text with BIO tags; a row without spans has none."""
    if not isinstance(row.get("text"), str):
        raise Unreadable("it has no text")
    name = _flat_span_column(row)
    spans = [span for value in row[name] for span in _spans_of(row["text"], value)] if name else []
    others = {key: value for key, value in row.items() if key not in (name, "text", *OWN_COLUMNS)}
    return {**others, **tag_words(row["text"], spans)}
