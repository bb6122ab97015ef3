"""A few rows of every form, made of the kinds of its columns. No heavy imports.

Every question and prompt holds `ASKED`, every answer holds `SAID`: characters that stand nowhere else, so that a check can
tell from a token alone whether it came from a prompt or from an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ftp import forms
from ftp.forms import Column, ColumnKind, FormSpec
from ftp.types import Row

ASKED, SAID = "#", "@"

ASKS = (
    ("What is the capital of Norway?", "The capital of Norway is Oslo.", "I would not say.", "Norway"),
    ("Is seven plus five twelve?", "Yes.", "No, it is more than the price of bread in March.", "math"),
    ("Write a short letter to the bank about the card.", "Dear bank, please send me the new card.", "No.", "letter"),
    ("How was the film?", "It was a quiet joy from the first scene to the last.", "It was free.", "film"),
    ("Was the soup good, and did the waiter bring the bill in the end?", "Our waiter forgot the soup.", "The soup rose.", "soup"),
    ("Who had a fever?", "The patient had a fever for three days.", "Our waiter.", "patient"),
    ("What rose?", "Prices rose in March.", "The patient rose on day four and was sent to the bank.", "prices"),
    ("Say something.", "Something.", "I would not, not even if it were free.", "word"),
    ("When was the patient sent home?", "On day four.", "In the end the bank was sent home.", "patient"),
    ("What did the waiter forget?", "The soup, the bread and the bill.", "He was more than expected.", "waiter"),
    ("Would you watch it again?", "I would.", "The letter would watch the first scene again.", "film"),
)
"""What is asked, a good answer, a bad one, and what it is about; all of different lengths."""

LABELS = ("bad", "good")
TAGS = ("O", "B-NAME", "I-NAME")
SIZES: Mapping[str, int] = {"train": 22, "validation": 8, "test": 6}
"""Rows of each split."""


def user(text: str) -> dict[str, str]:
    """A turn of the user."""
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    """A turn of the assistant."""
    return {"role": "assistant", "content": text}


def _parts(number: int, split: str) -> tuple[str, str, str, str]:
    asked, good, bad, about = ASKS[number % len(ASKS)]
    which = {"train": "in the book", "validation": "by letter", "test": "at the bank"}.get(split, split)
    again = " once more" * (number // len(ASKS))
    return f"{ASKED} {asked} {which}{again}", f"{SAID} {good}", f"{SAID} {bad}", about


def forms_of_rows() -> tuple[str, ...]:
    """Every form that is registered, those with one class a row first: they are trained where no objective says otherwise."""
    return tuple(sorted(forms.all_forms(), key=lambda name: not forms.get(name).of_kind("class")))


def rows(form: str, split: str = "train", count: int | None = None) -> list[Row]:
    """Rows of a form for a split; those of different splits differ."""
    return [row_of(form, number, split) for number in range(SIZES[split] if count is None else count)]


def splits(form: str) -> dict[str, list[Row]]:
    """Rows of a form for train, validation and test."""
    return {split: rows(form, split) for split in SIZES}


def rows_of_file(form: str, count: int) -> list[Row]:
    """Training rows of a form with its optional columns of text as well, as a file may have them."""
    full: list[Row] = []
    for number, row in enumerate(rows(form, "train", count)):
        optional = [column.name for column in forms.get(form).of_kind("text") if not column.is_required]
        full.append({**row, **{name: f"{ASKED} {name} number {number}" for name in optional}})
    return full


def labels_of(form: str) -> tuple[str, ...]:
    """The names of the classes in rows of a form; empty where it has none."""
    column = forms.get(form).class_column
    if column is None:
        return ()
    return TAGS if column.kind == "tags" else LABELS


def row_of(form: str, number: int, split: str) -> Row:
    """One row, as the form makes it for checks, or made of the kinds of its columns."""
    spec = forms.get(form)
    if spec.example is not None:
        return dict(spec.example(number, split))
    row: dict[str, object] = {}
    for column in spec.columns:
        if column.is_required:
            row[column.name] = _cell(spec, column, number, split)
    for column in spec.of_kind("answers"):
        row[column.name] = _stretch(row, number, split)
    return row


def _cell(spec: FormSpec, column: Column, number: int, split: str) -> object:
    """What stands in one column. What is said in words and what is to be answered belong together, so that it can be learnt."""
    _, good, bad, _ = _parts(number, split)
    is_right = bool(number % 3) if spec.of_kind("rating") else True
    cells: dict[ColumnKind, Callable[[], object]] = {
        "text": lambda: _text(spec, column, number, split),
        "texts": lambda: [good, bad] if number % 2 else [bad, good],
        "messages": lambda: _messages(spec, column, number, split),
        "tokens": lambda: _words(number, split),
        "tags": lambda: ["O"] * (len(_words(number, split)) - 4) + ["B-NAME", "I-NAME", "O", "B-NAME"],
        "class": lambda: LABELS[(number + 1) % 2],
        "classes": lambda: list(LABELS[: number % 3]),
        "rating": lambda: is_right,
        "number": lambda: float(number % 4),
        "vector": lambda: [float(number % 2), float(number % 3), 1.0],
        "answers": lambda: None,  # a stretch of another column, which is not written yet
    }
    return cells.get(column.kind, lambda: f"{split}-{number}")()


def _text(spec: FormSpec, column: Column, number: int, split: str) -> str:
    """A question, with the answer behind it where no other column says it in words; in further columns, what it is about."""
    asked, good, bad, about = _parts(number, split)
    texts = [other for other in spec.of_kind("text", "texts") if other.is_required]
    answers = [other for other in texts if other.is_answer]
    if column in answers:
        return good if column is answers[0] else f"{bad} {answers.index(column)}"
    if column is not texts[0]:
        return f"This is about the {about} {split}. {good} And so on."
    if len(texts) > 1:
        return asked
    if spec.is_whole:
        return f"{about}: {asked} {good}"
    return f"{asked} {bad if number % 2 else good}"


def _messages(spec: FormSpec, column: Column, number: int, split: str) -> list[dict[str, str]]:
    """A whole conversation where the form has no column of answers; else a prompt, or an answer."""
    asked, good, bad, _ = _parts(number, split)
    if spec.is_whole:
        more = _parts(number + 1, split)
        again = [user(more[0]), assistant(more[1])] if number % 3 == 0 else []
        return [user(asked), assistant(good), *again]
    if not column.is_answer:
        return [user(asked)]
    answers = [other for other in spec.of_kind("messages") if other.is_answer]
    is_good = column is answers[0] and (bool(number % 3) or not spec.of_kind("rating"))
    return [assistant(good if is_good else bad)]


def _words(number: int, split: str) -> list[str]:
    return [*_parts(number, split)[0].split(), "New", "York", "and", "Oslo"]


def _stretch(row: Row, number: int, split: str) -> dict[str, list[object]]:
    """A word of the answer, where it stands in the text that holds it."""
    answer = _parts(number, split)[1].split()[-1].rstrip(".")
    text = next(cell for cell in row.values() if isinstance(cell, str) and answer in cell)
    return {"text": [answer], "answer_start": [text.index(answer)]}
