"""The texts of rows of any form: the parts that make a row, and those that are compared on their
own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ftp import forms
from ftp.data import chat_rows, turns

if TYPE_CHECKING:
    from datasets import Dataset

    from ftp.types import Row

# columns that name a row, date it or answer it: they are no text to compare, however long they are
NO_TEXT = re.compile(
    r"(^id$|_id$|^idx$|^index$|^label|_name$|^url$|date|^answers?$)", re.IGNORECASE
)
SAMPLED_ROWS = 200  # rows by which a column is taken for one of text
FEWEST_WORDS = 3  # words a cell has on average in a column of text

CHAT_COLUMNS = (
    "prompt", "completion", "messages", "conversations", "instruction", "input", "output",
    "history", "question", "answer", "response", "context", "system", "chosen", "rejected", "label",
)  # fmt: skip
"""Columns in which rows of these forms come, in any of their spellings."""


@dataclass(frozen=True)
class Reading:
    """How rows are read.

    Args:
        parts: what must all be alike for two rows to be the same.
        shareable: parts that two splits may share without sharing a row (a prompt, a context, one
            side of a pair); they are compared on their own as well.
        label: the column of labels, where it is known.
        sides: two parts that may be swapped.
    """

    form: str
    parts: tuple[str, ...]
    shareable: tuple[str, ...] = ()
    label: str | None = None
    sides: tuple[str, ...] = ()

    @property
    def swapped(self) -> Reading:
        """The same rows read with their two sides swapped."""
        partner = dict(zip(self.sides, reversed(self.sides), strict=True))
        return replace(self, parts=tuple(partner.get(name, name) for name in self.parts))


def is_chat(form: str) -> bool:
    """Whether rows of a form (or of `columns`, which is none) are conversations."""
    return form in forms.all_forms() and forms.get(form).has_messages


def is_growing_chat(form: str) -> bool:
    """Whether one row may be the beginning of another: a whole conversation, no pair of answers and
    no prompt alone."""
    return (
        is_chat(form)
        and not forms.get(form).sequence_names
        and not forms.get(form).has_prompts_alone
    )


def is_of_texts(form: str) -> bool:
    """Whether rows are columns of text: a form with one, or `columns`, which is no form."""
    return form not in forms.all_forms() or forms.get(form).column("text") is not None


def choose_reading(
    form: str | None, rows: Dataset, chosen: Sequence[str] = (), label: str | None = None
) -> Reading:
    """How to read rows.

    Args:
        form: None where the columns make no form; then all columns of text are read.
        chosen: text columns named by the user.
        label: label column named by the user.
    """
    columns = list(rows.column_names or ())
    label_column = label_of(columns) if label is None else label
    if chosen:
        return _reading_of_columns("columns", tuple(chosen), label_column)
    name = form or "columns"
    text = _column_named("text", columns)
    pair = _column_named("text_pair", columns)
    spec = forms.all_forms().get(name)
    if spec is not None and spec.column("text_pair") is not None:
        text = text or "text"
        return _reading_of_columns(name, (text, pair) if pair else (text,), label_column)
    if is_growing_chat(name):
        return Reading(name, ("prompt", "completion"), ("prompt",), label)
    if spec is not None and spec.has_messages:
        sides = spec.sequence_names
        return Reading(name, spec.required, spec.required if sides else (), label, sides)
    if spec is not None and not is_of_texts(name):
        in_words = spec.of_kind(*forms.IN_WORDS)
        parts = tuple(column.name for column in in_words if column.is_required)
        # many rows may be about one of these (the paragraph of several questions)
        shareable = tuple(column for column in spec.key if column in parts and len(parts) > 1)
        return Reading(name, parts, shareable, label)
    if text:
        return _reading_of_columns("text", (text, pair) if pair else (text,), label_column)
    return _reading_of_columns("columns", _text_columns(rows, columns), label_column)


def _reading_of_columns(form: str, parts: tuple[str, ...], label: str | None) -> Reading:
    """Several columns of text are compared on their own as well, and two of them are sides."""
    shareable = parts if len(parts) > 1 else ()
    sides = parts if len(parts) == 2 else ()
    return Reading(form, parts, shareable, label, sides)


def _text_columns(rows: Dataset, columns: Sequence[str]) -> tuple[str, ...]:
    """Columns with several words in a cell on average; the one with the most where none has."""
    average_words: dict[str, float] = {}
    for batch in rows.take(SAMPLED_ROWS).iter(SAMPLED_ROWS):
        for name in columns:
            cells = [value for value in batch[name] if isinstance(value, (str, list))]
            if cells and not NO_TEXT.search(name):
                average_words[name] = sum(len(cell_text(cell).split()) for cell in cells) / len(
                    cells
                )
    texts = tuple(name for name in columns if average_words.get(name, 0) >= FEWEST_WORDS)
    wordiest = sorted(average_words, key=lambda name: -average_words[name])
    return texts or tuple(wordiest[:1])


def label_of(columns: Sequence[str]) -> str | None:
    """The column of labels, where one has the usual name."""
    return next((name for name in ("label", "label_name") if name in columns), None)


def _column_named(name: str, columns: Sequence[str]) -> str | None:
    """The column that has this name or another spelling of it."""
    spellings = (name, *forms.other_names(name))
    return next((spelling for spelling in spellings if spelling in columns), None)


def texts_of_part(reading: Reading, rows: Dataset, part: str) -> Iterator[str]:
    """The text of one part of each row; the empty text where a row has none."""
    candidates = CHAT_COLUMNS if is_chat(reading.form) else (part,)
    columns = [column for column in candidates if column in (rows.column_names or ())]
    for batch in rows.select_columns(columns).iter(5_000):
        if is_chat(reading.form):
            for values in zip(*batch.values(), strict=True):
                yield _text_of_talk(reading.form, dict(zip(batch, values, strict=True)), part)
        else:
            yield from map(cell_text, batch[part])


def texts_by_part(reading: Reading, rows: Dataset) -> Iterator[dict[str, str]]:
    """The text of each part of each row."""
    columns = [texts_of_part(reading, rows, part) for part in reading.parts]
    for texts in zip(*columns, strict=True):
        yield dict(zip(reading.parts, texts, strict=True))


def whole_texts(reading: Reading, rows: Dataset) -> Iterator[str]:
    """The text of all parts of each row, one after the other."""
    if not reading.parts:
        yield from ("" for _ in rows)
    for texts in texts_by_part(reading, rows):
        yield " \n ".join(texts.values())


def _text_of_talk(form: str, row: Row, part: str) -> str:
    """The text of a part of a row of messages; a row that is no such talk has none."""
    try:
        return _spoken(_messages_of_part(form, row, part))
    except (turns.Unfit, TypeError):
        return ""


def _messages_of_part(form: str, row: Row, part: str) -> Sequence[turns.Message]:
    if forms.get(form).sequence_names:
        prompt, chosen, rejected = chat_rows.preference(row)
        return {"prompt": prompt, "chosen": chosen, "rejected": rejected}[part]
    if forms.get(form).has_prompts_alone:
        return chat_rows.asked(row)
    # the completion is the last answer, the prompt all that stands before it
    messages = chat_rows.conversation(row)
    has_answer = len(messages) > 1 and messages[-1]["role"] == "assistant"
    cut = len(messages) - 1 if has_answer else len(messages)
    return messages[:cut] if part == "prompt" else messages[cut:]


def _spoken(messages: Sequence[turns.Message]) -> str:
    """The words of all turns but the system's, which are the same in many rows."""
    return "\n".join(turns.words(turn) for turn in messages if turn["role"] != "system")


def cell_text(value: object) -> str:
    """Any cell as text."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return " ".join(map(cell_text, value))
    if isinstance(value, Mapping):
        return " ".join(map(cell_text, value.values()))
    return str(value)
