"""A few rows of every form, written for the kit. No heavy imports.

Every question and prompt holds `ASKED`, every answer holds `SAID`: characters that stand nowhere else, so that a check can
tell from a token alone whether it came from a prompt or from an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ftp.types import Form

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


def _text(number: int, split: str) -> dict[str, Any]:
    asked, good, _, about = _parts(number, split)
    return {"text": f"{about}: {asked} {good}"}


def _labelled(number: int, split: str) -> dict[str, Any]:
    asked, good, bad, _ = _parts(number, split)
    return {"text": f"{asked} {bad if number % 2 else good}", "label": LABELS[(number + 1) % 2]}


def _tagged(number: int, split: str) -> dict[str, Any]:
    words = [*_parts(number, split)[0].split(), "New", "York", "and", "Oslo"]
    return {"tokens": words, "tags": ["O"] * (len(words) - 4) + ["B-NAME", "I-NAME", "O", "B-NAME"]}


def _question(number: int, split: str) -> dict[str, Any]:
    asked, good, _, about = _parts(number, split)
    answer = good.split()[-1].rstrip(".")
    context = f"This is about the {about} {split}. {good} And so on."
    return {"id": f"{split}-{number}", "question": asked, "context": context,
            "answers": {"text": [answer], "answer_start": [context.index(answer)]}}


def _conversation(number: int, split: str) -> dict[str, Any]:
    asked, good, _, _ = _parts(number, split)
    more = _parts(number + 1, split)
    turns = [user(asked), assistant(good), *([user(more[0]), assistant(more[1])] if number % 3 == 0 else [])]
    return {"messages": turns}


def _preference(number: int, split: str) -> dict[str, Any]:
    asked, good, bad, _ = _parts(number, split)
    return {"prompt": [user(asked)], "chosen": [assistant(good)], "rejected": [assistant(bad)]}


def _feedback(number: int, split: str) -> dict[str, Any]:
    asked, good, bad, _ = _parts(number, split)
    return {"prompt": [user(asked)], "completion": [assistant(good if number % 3 else bad)], "label": bool(number % 3)}


def _prompt(number: int, split: str) -> dict[str, Any]:
    return {"prompt": [user(_parts(number, split)[0])]}


MAKERS: Mapping[Form, Callable[[int, str], dict[str, Any]]] = {
    "labelled": _labelled, "tagged": _tagged, "question": _question, "preference": _preference, "feedback": _feedback,
    "conversation": _conversation, "prompt": _prompt, "text": _text,
}
"""Form -> what makes one row of it."""


def rows(form: Form, split: str = "train", count: int | None = None) -> list[dict[str, Any]]:
    """Rows of a form for a split; those of different splits differ."""
    return [MAKERS[form](number, split) for number in range(SIZES[split] if count is None else count)]


def splits(form: Form) -> dict[str, list[dict[str, Any]]]:
    """Rows of a form for train, validation and test."""
    return {split: rows(form, split) for split in SIZES}
