"""Forms of rows: which columns a data set has, and which other form its rows can be read as.

A form is a `FormSpec` of the entry-point group `ftp.forms`; core's own are in `ftp.data.core_forms`. Imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Literal

from ftp.errors import Problem
from ftp.registry import look_up, registered
from ftp.types import Prediction, Row

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

__all__ = [
    "IN_WORDS", "Column", "ColumnKind", "FormSpec", "Way", "all_forms", "detect", "fits", "get", "kind_of", "lacking", "offers",
    "offers_to", "other_names", "reachable", "read_columns", "text_columns", "way",
]  # fmt: skip

GROUP = "ftp.forms"
OWN = tuple(
    f"ftp.data.core_forms:{name}"
    for name in ("PREFERENCE", "FEEDBACK", "QUESTION", "TAGGED", "LABELLED", "CONVERSATION", "TEXT", "PROMPT")
)

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

    Args:
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

    Args:
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

    Args:
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
        return _names(column for column in self.columns if column.is_required)

    @property
    def optional(self) -> tuple[str, ...]:
        """Columns that rows may have."""
        return _names(column for column in self.columns if not column.is_required)

    @property
    def answers(self) -> frozenset[str]:
        """Columns that say what the model is to answer."""
        return frozenset({*self.answers_in_sets, *_names(column for column in self.columns if column.is_answer)})

    @property
    def asked_columns(self) -> tuple[Column, ...]:
        """The columns that a row to be answered is read from."""
        if self.asked:
            return self.asked
        return tuple(column for column in self.columns if not column.is_answer and column.kind not in ("any", "aside"))

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns by which rows stay on one side of a cut into splits."""
        return self.key or _names(self.asked_columns)

    @property
    def duplicate_columns(self) -> tuple[str, ...]:
        """The columns by which a held-out row is also a training row."""
        return self.duplicate_key or _names(column for column in self.of_kind(*IN_WORDS) if not column.is_answer)

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


def _names(columns: Iterable[Column]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(column.name for column in columns))


@cache
def all_forms() -> Mapping[str, FormSpec]:
    """Every registered form; the richest first (by the columns that it requires), in which order `detect` looks."""
    specs = registered(GROUP, FormSpec, OWN)
    richest_first = sorted(specs.values(), key=lambda spec: -len(spec.required))
    return {spec.name: spec for spec in richest_first}


def get(name: str) -> FormSpec:
    """The form of a name. Raises `UserError` where no installed package registers it."""
    return look_up(all_forms(), name, "form")


def with_kind(kind: ColumnKind) -> tuple[str, ...]:
    """The forms that have a column of a kind."""
    return tuple(name for name, spec in all_forms().items() if spec.of_kind(kind))


def _all_columns() -> Iterable[Column]:
    """The columns of all forms, the richest form first."""
    return chain.from_iterable(spec.columns for spec in all_forms().values())


@cache
def other_names(name: str) -> tuple[str, ...]:
    """The common names of a column in all forms that have it."""
    names = chain.from_iterable(column.other_names for column in _all_columns() if column.name == name)
    return tuple(dict.fromkeys(names))


@cache
def likely_names(name: str) -> tuple[str, ...]:
    """Further names under which a column may be met."""
    names = chain.from_iterable(column.likely_names for column in _all_columns() if column.name == name)
    return tuple(dict.fromkeys(names))


@cache
def kind_of(name: str) -> ColumnKind | None:
    """The kind of a column by its name, as the richest form that has it says; None where no form has it."""
    return next((column.kind for column in _all_columns() if column.name == name), None)


@cache
def text_columns() -> tuple[str, ...]:
    """The columns of all forms that say something in words."""
    return _names(column for column in _all_columns() if column.kind in IN_WORDS)


@cache
def aside() -> frozenset[str]:
    """Columns of forms that no objective reads."""
    return frozenset(column.name for column in _all_columns() if column.kind == "aside")


def read_columns(form: str) -> frozenset[str]:
    """Every column that reading rows as this form looks at, under all its names."""
    spec = get(form)
    names = {*spec.required, *spec.optional}.union(*spec.column_sets)
    names.update(*map(other_names, tuple(names)))
    if spec.has_messages:
        names |= BESIDE_MESSAGES
    return frozenset(names - aside())


def offers(columns: Iterable[str]) -> tuple[str, ...]:
    """Every form that these columns can be read as, the richest first. Common other names count."""
    have = set(columns)
    return tuple(name for name, spec in all_forms().items() if _has_columns(have, spec))


def _has_columns(have: set[str], spec: FormSpec) -> bool:
    """Whether one of the column sets of a form is there whole."""
    counted = {name for name in have if spec.ignored_beside.get(name) not in have}
    return not lacking(counted, spec.name)


def lacking(columns: Iterable[str], form: str) -> frozenset[str]:
    """The columns of a form that are not there, under no common name; of its column sets, the one that lacks fewest."""
    have = set(columns)
    lacking_of_set: list[frozenset[str]] = []
    for names in get(form).sets:
        lacking_of_set.append(frozenset(name for name in names if have.isdisjoint({name, *other_names(name)})))
    return min(lacking_of_set, key=len)


def detect(columns: Iterable[str]) -> str | None:
    """The richest form that these columns can be read as, or None."""
    return next(iter(offers(columns)), None)


@cache
def steps() -> Mapping[tuple[str, str], Way]:
    """Every way from one form to another that takes one step: (source, target) -> the way."""
    ways: dict[tuple[str, str], Way] = {}
    for name, spec in all_forms().items():
        for step in spec.ways:
            if step.target != name:
                ways[name, step.target] = step
    return ways


def canonical(form: str) -> Way | None:
    """How the spellings of a form become one; None where it has one alone."""
    return next((step for step in get(form).ways if step.target == form), None)


@cache
def way(source: str, target: str) -> tuple[str, ...] | None:
    """The shortest way downhill, both ends included; None where there is none."""
    ways: list[tuple[str, ...]] = [(source,)]
    # Breadth first, so that the first way found is the shortest: the list grows while it is read.
    for forms in ways:
        if forms[-1] == target:
            return forms
        for start, end in steps():
            if start == forms[-1] and end not in forms:
                ways.append((*forms, end))
    return None


def reachable(gives: Iterable[str]) -> frozenset[str]:
    """Every form that rows of these forms can be read as, themselves included."""
    sources = tuple(gives)
    return frozenset(target for target in all_forms() if any(way(source, target) for source in sources))


def fits(gives: Iterable[str], wants: str) -> bool:
    """Whether rows of one of the forms in `gives` can be read as `wants`."""
    return wants in reachable(gives)


def offers_to(columns: Iterable[str], target: str) -> tuple[str, ...]:
    """Every form that these columns can be read as and that leads to `target`, the richest first."""
    return tuple(form for form in offers(columns) if way(form, target))


def forget() -> None:
    """Look at the installed packages again (in tests that install one)."""
    for function in (all_forms, other_names, likely_names, kind_of, text_columns, aside, steps, way):
        function.cache_clear()
