"""What a form is: its columns, their other names, and which form the columns of a data set can be read as.

How rows of one form become another is in `downhill`. This module imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ftp.types import Form

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

    Rows = TypeVar("Rows", Dataset, IterableDataset)


@dataclass(frozen=True)
class FormSpec:
    """Columns that every row of a form has once it is loaded, those it may have, and column sets read as this form."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    read_from: tuple[tuple[str, ...], ...] = ()

FORMS: Mapping[Form, FormSpec] = {
    "preference": FormSpec(("prompt", "chosen", "rejected"), (), (("chosen", "rejected"),)),
    "feedback": FormSpec(
        ("prompt", "completion", "label"),
        (),
        (
            ("prompt", "completion", "label"),
            ("messages", "label"),
            ("conversations", "label"),
            ("prompt", "response", "label"),
            ("instruction", "output", "label"),
            ("instruction", "response", "label"),
            ("question", "response", "label"),
        ),
    ),
    "question": FormSpec(("question", "context", "answers"), ("id", "title")),
    "tagged": FormSpec(("tokens", "tags"), ()),
    "labelled": FormSpec(("text", "label"), ("text_pair", "label_name")),
    "conversation": FormSpec(
        ("messages",),
        ("tools",),
        (
            ("messages",),
            ("conversations",),
            ("prompt", "completion"),
            ("instruction", "output"),
            ("question", "answer"),
            ("prompt", "response"),
            ("instruction", "response"),
            ("question", "response"),
        ),
    ),
    "text": FormSpec(("text",), ("title",)),
    "prompt": FormSpec(("prompt",), ("completion",)),
}
"""Every form; the richest first, which is the order in which `detect` looks."""

ALIASES: Mapping[str, tuple[str, ...]] = {
    "text": ("sentence", "text_a", "sentence1", "premise"),
    "text_pair": ("text_b", "sentence2", "hypothesis"),
    "tags": ("ner_tags", "pos_tags"),
}
"""Common names of our columns, taken where ours are absent and no `columns` option names them."""

ASIDE = frozenset({"id", "title"})
"""Columns of forms that no objective reads."""

MESSAGES: Mapping[Form, tuple[str, ...]] = {
    "conversation": ("messages",), "preference": ("prompt", "chosen", "rejected"), "feedback": ("prompt", "completion"),
    "prompt": ("prompt", "completion"),
}  # fmt: skip
"""Columns of each form that hold messages; once read they are JSON, as messages differ in their fields."""


def read_columns(form: Form) -> frozenset[str]:
    """Every column that reading rows as this form looks at, under all its names."""
    spec = FORMS[form]
    names = {*spec.required, *spec.optional}
    for columns in spec.read_from:
        names.update(columns)
    for ours in tuple(names):
        names.update(ALIASES.get(ours, ()))
    # What stands beside a conversation in some column sets (see `chat_rows`).
    if form in ("conversation", "preference", "feedback", "prompt"):
        names |= {"system", "input", "context", "history", "tools", "functions"}
    return frozenset(names - ASIDE)


def offers(columns: Iterable[str]) -> tuple[Form, ...]:
    """Every form that these columns can be read as, the richest first. Common other names (`ALIASES`) count."""
    have = set(columns)
    have |= {ours for ours, names in ALIASES.items() if have & set(names)}
    if "choices" in have:
        have.discard("answer")  # multiple choice: the answer is a number, not words
    return tuple(form for form, spec in FORMS.items() if _has_columns(have, spec))


def _has_columns(have: set[str], spec: FormSpec) -> bool:
    """Whether one of the column sets of a form is there whole."""
    return any(have.issuperset(columns) for columns in spec.read_from or (spec.required,))


def lacking(columns: Iterable[str], form: Form) -> frozenset[str]:
    """The columns of a form that are not there, under no common name; of its column sets, the one that lacks fewest."""
    have = set(columns)
    spec = FORMS[form]
    gaps: list[frozenset[str]] = []
    for columns in spec.read_from or (spec.required,):
        gaps.append(frozenset(name for name in columns if have.isdisjoint({name, *ALIASES.get(name, ())})))
    return min(gaps, key=len)


def detect(columns: Iterable[str]) -> Form | None:
    """The richest form that these columns can be read as, or None."""
    return next(iter(offers(columns)), None)
