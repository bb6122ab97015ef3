"""The texts of rows of any form: the parts that make a row, and those that are told separately."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ftp import forms
from ftp.data import chat_rows, turns

NO_TEXT = re.compile(r"(^id$|_id$|^idx$|^index$|^label|_name$|^url$|date|^answers?$)", re.IGNORECASE)


@dataclass(frozen=True)
class Reading:
    """How rows are read. `parts`: what must all be alike for two rows to be the same. `shareable`: parts that two splits
    may share without sharing a row (a prompt, a context, one side of a pair): told separately. `sides`: two parts that
    may stand in each other's place."""

    form: str
    parts: tuple[str, ...]
    shareable: tuple[str, ...] = ()
    label: str | None = None
    sides: tuple[str, ...] = ()

    @property
    def swapped(self) -> Reading:
        """The same rows read with the two sides in each other's place."""
        place = dict(zip(self.sides, reversed(self.sides), strict=True))
        return replace(self, parts=tuple(place.get(name, name) for name in self.parts))


def reading(form: str | None, rows: Any, chosen: Sequence[str] = (), label: str | None = None) -> Reading:
    """How to read rows. `form`: None where their columns make none; then all columns of text are read. `chosen`,
    `label`: text columns and label column named by the user."""
    columns = list(rows.column_names or ())
    known = label_of(columns) if label is None else label
    if chosen:
        return _several("columns", tuple(chosen), known)
    name = form or "columns"
    if name == "labelled":
        text, pair = _alias("text", columns), _alias("text_pair", columns)
        return _several(name, (text or "text", pair) if pair else (text or "text",), known)
    if name == "tagged":
        return Reading(name, ("tokens",), label=label)
    if name == "question":
        return Reading(name, ("question", "context"), ("context",), label)
    if name == "preference":
        parts = ("prompt", "chosen", "rejected")
        return Reading(name, parts, parts, label, parts[1:])
    if name in ("conversation", "feedback"):
        return Reading(name, ("prompt", "completion"), ("prompt",), label)
    if name == "prompt":
        return Reading(name, ("prompt",), label=label)
    text = _alias("text", columns)
    if text:
        pair = _alias("text_pair", columns)
        return _several("text", (text, pair) if pair else (text,), known)
    return _several("columns", _texts(rows, columns), known)


def _several(form: str, parts: tuple[str, ...], label: str | None) -> Reading:
    """Columns of text: where there are several, each is told as well, and two are sides."""
    return Reading(form, parts, parts if len(parts) > 1 else (), label, parts if len(parts) == 2 else ())


def _texts(rows: Any, columns: Sequence[str]) -> tuple[str, ...]:
    """Columns that hold text: three words or more in a cell on average; the longest column where none does."""
    words: dict[str, float] = {}
    for batch in rows.take(200).iter(200):
        for name in columns:
            cells = [len(plain(value).split()) for value in batch[name] if isinstance(value, (str, list))]
            if cells and not NO_TEXT.search(name):
                words[name] = sum(cells) / len(cells)
    found = tuple(name for name in columns if words.get(name, 0) >= 3)
    return found or tuple(sorted(words, key=lambda name: -words[name])[:1])


def label_of(columns: Sequence[str]) -> str | None:
    """The column of labels, where one has the usual name."""
    return next((name for name in ("label", "label_name") if name in columns), None)


def _alias(ours: str, columns: Sequence[str]) -> str | None:
    return next((name for name in (ours, *forms.other_names(ours)) if name in columns), None)


def part(reading: Reading, rows: Any, name: str) -> Iterator[str]:
    """The text of one part of each row; the empty text where a row has none."""
    wanted = [column for column in _columns(reading, name) if column in (rows.column_names or ())]
    for batch in rows.select_columns(wanted).iter(5_000):
        if reading.form in ("preference", "feedback", "conversation", "prompt"):
            for values in zip(*batch.values(), strict=True):
                yield _of_chat(reading.form, dict(zip(batch, values, strict=True)), name)
        else:
            yield from map(plain, batch[name])


def by_part(reading: Reading, rows: Any) -> Iterator[dict[str, str]]:
    """The text of each part of each row."""
    for texts in zip(*(part(reading, rows, name) for name in reading.parts), strict=True):
        yield dict(zip(reading.parts, texts, strict=True))


def whole(reading: Reading, rows: Any) -> Iterator[str]:
    """The text of all parts of each row, one after the other."""
    if not reading.parts:
        yield from ("" for _ in rows)
    for texts in by_part(reading, rows):
        yield " \n ".join(texts.values())


_CHAT = ("prompt", "completion", "messages", "conversations", "instruction", "input", "output", "history", "question",
         "answer", "response", "context", "system", "chosen", "rejected", "label")


def _columns(reading: Reading, name: str) -> tuple[str, ...]:
    return _CHAT if reading.form in ("preference", "feedback", "conversation", "prompt") else (name,)


def _of_chat(form: str, row: Mapping[str, Any], name: str) -> str:
    try:
        if form == "preference":
            prompt, chosen, rejected = chat_rows.preference(row)
            return _said({"prompt": prompt, "chosen": chosen, "rejected": rejected}[name])
        if form == "prompt":
            return _said(chat_rows.asked(row))
        told = chat_rows.conversation(row)
        cut = len(told) - 1 if len(told) > 1 and told[-1]["role"] == "assistant" else len(told)
        return _said(told[:cut] if name == "prompt" else told[cut:])
    except (turns.Unfit, TypeError):
        return ""


def _said(messages: Sequence[turns.Message]) -> str:
    """What was said; instructions of the system are the same in many rows and tell none apart."""
    return "\n".join(turns.words(turn) for turn in messages if turn["role"] != "system")


def plain(value: Any) -> str:
    """Any cell as text."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return " ".join(map(plain, value))
    if isinstance(value, Mapping):
        return " ".join(map(plain, value.values()))
    return str(value)
