"""Label Studio's JSON: tasks with `data` and `annotations`, each with its results."""

from __future__ import annotations

from collections.abc import Sequence

from ftp.data.readers import Tally, Unreadable
from ftp.types import Row
from ftp_labelling.columns import objects_in, with_id, without
from ftp_labelling.label_studio import conversations, hypertext, preferences
from ftp_labelling.label_studio.results import SPAN_TYPES, choice, spans_of, text_field, values_of, written_text
from ftp_labelling.words import tag_words

WHOLE_ROWS = ("pairwise", "chatmessage")
"""Types of results that make the whole row, so that others beside them are not read."""
READ_TYPES = frozenset({*SPAN_TYPES, *WHOLE_ROWS, "choices", "textarea"})
SKIPPED = "tasks left out, as they were skipped"
NOT_ANNOTATED = "tasks left out, as nobody has annotated them"
SEVERAL = "tasks have several annotations, of which the ground truth or else the first is read"


def matches(rows: Sequence[Row]) -> bool:
    """Whether every row is a task."""
    return all(map(_is_task, rows))


def matches_tagging(rows: Sequence[Row]) -> bool:
    """Whether every row is a task, and spans are marked in any."""
    return matches(rows) and any(map(_has_spans, rows))


def _is_task(row: Row) -> bool:
    return isinstance(row.get("data"), dict) and _annotations(row) is not None


def _has_spans(task: Row) -> bool:
    for annotation in objects_in(_annotations(task)):
        if any(result.get("type") in SPAN_TYPES for result in objects_in(annotation.get("result"))):
            return True
    return False


def _annotations(task: Row) -> list[object] | None:
    # versions before 1.0 say completions
    annotations = task.get("annotations", task.get("completions"))
    return annotations if isinstance(annotations, list) else None


def convert(task: Row, tally: Tally) -> Row | None:
    """The task as a row, from its ground truth or its first annotation; None where nobody has annotated it."""
    return _convert(task, tally, has_tags=False)


def convert_tagging(task: Row, tally: Tally) -> Row | None:
    """As `convert`, in a file of marked spans: an annotation without any says that no word has a tag."""
    return _convert(task, tally, has_tags=True)


def _convert(task: Row, tally: Tally, *, has_tags: bool) -> Row | None:
    data = task.get("data")
    if not isinstance(data, dict):
        raise Unreadable("it has no data")
    annotation = _chosen_annotation(task, tally)
    if annotation is None:
        return None
    results = objects_in(annotation.get("result"))
    types = {str(result.get("type")) for result in results}
    unread = sorted(types - READ_TYPES - {"relation"})
    if unread:
        tally[f"tasks have results of the type {', '.join(unread)}, which is not read"] += 1
    columns = _columns(data, results, types, has_tags, tally)
    if columns is None:
        reason = "nothing in their annotation is read" if types else "their annotation is empty"
        tally[f"tasks left out, as {reason}"] += 1
        return None
    return with_id(task, columns)


def _chosen_annotation(task: Row, tally: Tally) -> Row | None:
    """The ground truth, or else the first annotation that was not cancelled; None where there is none."""
    annotations = objects_in(_annotations(task))
    kept = [entry for entry in annotations if not entry.get("was_cancelled")]
    if not kept:
        tally[SKIPPED if annotations else NOT_ANNOTATED] += 1
        return None
    if len(kept) > 1:
        tally[SEVERAL] += 1
    for entry in kept:
        if entry.get("ground_truth"):
            return entry
    return kept[0]


def _columns(data: Row, results: Sequence[Row], types: set[str], has_tags: bool, tally: Tally) -> Row | None:
    """The row without its id; None where no result is of a type that is read."""
    for whole_row in WHOLE_ROWS:
        if whole_row in types:
            _count_unread_beside(whole_row, types, tally)
            if whole_row == "pairwise":
                return preferences.preference(data, results)
            return {"messages": conversations.messages(data, results, tally)}
    # in a file of marked spans a text without any is a row, all of whose words have the tag O
    if not has_tags and types.isdisjoint(READ_TYPES):
        return None
    name, text = text_field(data, results)
    row = without(data, (name,))
    if has_tags:
        is_hypertext = "hypertextlabels" in types or hypertext.is_hypertext(name, text)
        shown = hypertext.plain_text(text) if is_hypertext else text
        spans = []
        for _, value in values_of(results, SPAN_TYPES):
            spans += spans_of(shown, value)
        row.update(tag_words(shown, spans))
    else:
        row["text"] = text
    if "choices" in types:
        row["text"] = text
        row["label"] = choice(results)
    if "textarea" in types:
        row.pop("text", None)
        row["prompt"] = text
        row["completion"] = written_text(results)
    return row


def _count_unread_beside(whole_row: str, types: set[str], tally: Tally) -> None:
    others = sorted(types & READ_TYPES - {whole_row})
    if others:
        tally[f"tasks have {', '.join(others)} beside {whole_row}, which are not read"] += 1
