"""What a form of rows is: its columns, and how its rows become those of another form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ftp.errors import Problem
from ftp.types import Prediction, Row

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

ColumnKind = Literal[
    "text", "texts", "messages", "tokens", "tags", "class", "classes", "rating", "answers", "number", "vector", "any", "aside"
]
"""What a column holds: a text, a list of texts, messages, the words of a sentence and a tag for each, the class of a row or
several of them, a rating (good or bad), SQuAD's answers, a number to be predicted, a list of numbers; `any`: what is read as
it is; `aside`: what no objective reads (an id). What each of them means in Arrow and in a cell is in `ftp.data.column_kinds`."""

NUMBERED: tuple[ColumnKind, ...] = ("class", "classes", "tags")
"""Kinds of columns that become class numbers."""

IN_WORDS: tuple[ColumnKind, ...] = ("text", "texts", "messages", "tokens")
"""Kinds of columns that say something in words."""

BESIDE_MESSAGES = frozenset({"system", "input", "context", "history", "tools", "functions"})
"""Columns that are read beside a conversation in some column sets (see `ftp.data.chat_rows`)."""

Change = Callable[[Row, Sequence[str]], Row | None]
"""A row and the names of the classes -> the columns that are made of it; None leaves the row out."""


@dataclass(frozen=True)
class Column:
    """One column of a form.

    Attributes:
        name: ours; how a file calls it is mapped to this.
        kind: what it holds.
        is_required: every row has it once it is loaded.
        is_answer: it says what the model is to answer; rows to be answered lack it.
        other_names: common names of it, taken where it is absent and no `--columns` names another.
        likely_names: further names under which it may be met; `--columns` is suggested with them.
    """

    name: str
    kind: ColumnKind = "text"
    is_required: bool = True
    is_answer: bool = False
    other_names: tuple[str, ...] = ()
    likely_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Way:
    """How a row becomes one of another form, or of its own form where that is met in many spellings.

    Only what a row says may be left out or rearranged; nothing is invented.

    Attributes:
        target: the form that rows become; the form itself for a way that brings many spellings into one.
        change: makes the columns of a row; None leaves it out. It raises `ftp.data.turns.Unfit` with the reason for a row that
            cannot be read; any other exception is a fault of the package that brings the form.
        makes: the columns of `target` that `change` gives; empty: all that the form requires.
        needs_labels: `change` writes classes in words, so it needs their names.
    """

    target: str
    change: Change
    makes: tuple[str, ...] = ()
    needs_labels: bool = False


@dataclass(frozen=True)
class FormSpec:
    """A form of rows.

    Attributes:
        name: under which it is registered.
        columns: those that rows have once they are loaded.
        ways: forms that its rows can be read as. A way to itself brings many spellings into one.
        column_sets: sets of columns that are read as this form; empty: the required columns.
        ignored_beside: column -> another one beside which it does not count (an answer beside choices is a number, not words).
        key: the columns by which rows stay on one side of a cut into splits; empty: all that are no answers.
        duplicate_key: the columns by which a held-out row is also a training row; empty: all in words that are no answers.
        without_answer: a row -> the row that the key is taken from; None: the row itself.
        asked: the columns that a row to be answered is read from, where it has them; empty: those that are no answers.
        answers_in_sets: columns of `column_sets` that rows to be answered lack as well.
        row_of_text: a plain text as a row to be answered; None: the only text column of `asked`.
        default_head: what a network is trained with on this form where no objective says otherwise.
        sequence_names: the sequences that one row becomes, where these are several (chosen and rejected).
        example: (number from 0, split) -> a row for checks, where it cannot be made of the kinds of the columns.
        answered: (row, names of the classes, whether it is right) -> an answer to the row for checks, likewise.
        instead_of: a form that rows of this one could be read as by mistake; `is_meant` looks at rows and says which it is.
        why_not: the source's name and its rows, which are not of this form -> a problem that says more than the lacking columns.
    """

    name: str
    columns: tuple[Column, ...]
    ways: tuple[Way, ...] = ()
    column_sets: tuple[tuple[str, ...], ...] = ()
    ignored_beside: Mapping[str, str] = field(default_factory=dict)
    key: tuple[str, ...] = ()
    duplicate_key: tuple[str, ...] = ()
    without_answer: Callable[[Row], Row] | None = None
    asked: tuple[Column, ...] = ()
    answers_in_sets: tuple[str, ...] = ()
    row_of_text: Callable[[str], Row] | None = None
    default_head: str = "tokens"
    sequence_names: tuple[str, ...] = ()
    example: Callable[[int, str], Row] | None = None
    answered: Callable[[Row, Sequence[str], bool], Prediction] | None = None
    instead_of: str = ""
    is_meant: Callable[[Dataset | IterableDataset], bool] | None = None
    why_not: Callable[[str, Dataset | IterableDataset], Problem | None] | None = None

    @property
    def sequences(self) -> int:
        """How many sequences one row becomes."""
        return max(1, len(self.sequence_names))

    @property
    def required(self) -> tuple[str, ...]:
        """Columns that every row has once it is loaded."""
        return names_of(column for column in self.columns if column.is_required)

    @property
    def optional(self) -> tuple[str, ...]:
        """Columns that rows may have."""
        return names_of(column for column in self.columns if not column.is_required)

    @property
    def answers(self) -> frozenset[str]:
        """Columns that say what the model is to answer."""
        return frozenset({*self.answers_in_sets, *names_of(column for column in self.columns if column.is_answer)})

    @property
    def asked_columns(self) -> tuple[Column, ...]:
        """The columns that a row to be answered is read from."""
        if self.asked:
            return self.asked
        return tuple(column for column in self.columns if not column.is_answer and column.kind not in ("any", "aside"))

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns by which rows stay on one side of a cut into splits."""
        return self.key or names_of(self.asked_columns)

    @property
    def duplicate_columns(self) -> tuple[str, ...]:
        """The columns by which a held-out row is also a training row."""
        return self.duplicate_key or names_of(column for column in self.of_kind(*IN_WORDS) if not column.is_answer)

    @property
    def has_messages(self) -> bool:
        """Whether rows are conversations, which a chat template renders."""
        return bool(self.of_kind("messages"))

    @property
    def is_whole(self) -> bool:
        """Whether no column is an answer: what is learnt stands within what is read (a text, a conversation)."""
        return not any(column.is_answer for column in self.columns)

    @property
    def has_prompts_alone(self) -> bool:
        """Whether rows are prompts: an answer may stand beside one, and need not."""
        return not self.is_whole and self.answers.isdisjoint(self.required)

    def column(self, name: str) -> Column | None:
        """The column of a name; None where the form has none."""
        return next((column for column in self.columns if column.name == name), None)

    def of_kind(self, *kinds: ColumnKind) -> tuple[Column, ...]:
        """The columns of these kinds."""
        return tuple(column for column in self.columns if column.kind in kinds)

    @property
    def class_column(self) -> Column | None:
        """The column whose values become class numbers."""
        return next(iter(self.of_kind(*NUMBERED)), None)

    @property
    def sets(self) -> tuple[tuple[str, ...], ...]:
        """The sets of columns that are read as this form."""
        return self.column_sets or (self.required,)


def names_of(columns: Iterable[Column]) -> tuple[str, ...]:
    """The names of columns, each once, in their order."""
    return tuple(dict.fromkeys(column.name for column in columns))
