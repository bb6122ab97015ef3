"""Which forms are registered, what their columns are called, and which of them a set of columns can be read as."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from itertools import chain

from ftp.forms.spec import BESIDE_MESSAGES, IN_WORDS, Column, ColumnKind, FormSpec, names_of
from ftp.registry import look_up, registered

GROUP = "ftp.forms"
CORE_FORMS = ("PREFERENCE", "FEEDBACK", "QUESTION", "TAGGED", "LABELLED", "CONVERSATION", "TEXT", "PROMPT")
# Named here and not as entry points: an installation whose metadata is older than its code would lose them.
OWN = tuple(f"ftp.data.core_forms:{name}" for name in CORE_FORMS)


@cache
def all_forms() -> Mapping[str, FormSpec]:
    """Every registered form by its name; the richest first (by the columns that it requires), in which order `detect` looks."""
    specs = registered(GROUP, FormSpec, OWN)
    richest_first = sorted(specs.values(), key=lambda spec: -len(spec.required))
    return {spec.name: spec for spec in richest_first}


def get(name: str) -> FormSpec:
    """The form of a name.

    Args:
        name: under which an installed package registers it, as in `preference`.

    Raises:
        UserError: no installed package registers it.
    """
    return look_up(all_forms(), name, GROUP)


def with_kind(kind: ColumnKind) -> tuple[str, ...]:
    """The forms that have a column of a kind."""
    return tuple(name for name, spec in all_forms().items() if spec.of_kind(kind))


def _all_columns() -> Iterable[Column]:
    """The columns of all forms, the richest form first."""
    return chain.from_iterable(spec.columns for spec in all_forms().values())


def _columns_named(name: str) -> list[Column]:
    """The columns of a name in all forms that have it, the richest form first."""
    return [column for column in _all_columns() if column.name == name]


@cache
def other_names(name: str) -> tuple[str, ...]:
    """The common names of a column in all forms that have it.

    Args:
        name: ours for the column, as in `text`.
    """
    names: list[str] = []
    for column in _columns_named(name):
        names += column.other_names
    return tuple(dict.fromkeys(names))


@cache
def likely_names(name: str) -> tuple[str, ...]:
    """Further names under which a column may be met."""
    names: list[str] = []
    for column in _columns_named(name):
        names += column.likely_names
    return tuple(dict.fromkeys(names))


@cache
def kind_of(name: str) -> ColumnKind | None:
    """The kind of a column by its name, as the richest form that has it says; None where no form has it.

    Args:
        name: ours for the column, as in `text`.
    """
    columns = _columns_named(name)
    return columns[0].kind if columns else None


@cache
def text_columns() -> tuple[str, ...]:
    """The columns of all forms that say something in words."""
    return names_of(column for column in _all_columns() if column.kind in IN_WORDS)


@cache
def aside() -> frozenset[str]:
    """Columns of forms that no objective reads."""
    return frozenset(names_of(column for column in _all_columns() if column.kind == "aside"))


def read_columns(form: str) -> frozenset[str]:
    """Every column that reading rows as this form looks at, under all its names.

    Args:
        form: its name.
    """
    spec = get(form)
    names = {*spec.required, *spec.optional}.union(*spec.column_sets)
    names.update(*map(other_names, tuple(names)))
    if spec.has_messages:  # what stands beside messages is no column of the form itself
        names |= BESIDE_MESSAGES
    return frozenset(names - aside())


def new_names(columns: Iterable[str], form: str) -> dict[str, str]:
    """Columns that stand for columns of a form under a common other name -> our names for them.

    This is the one place that knows which column of a file is which of a form, once `--columns` is applied; whatever trains on
    rows, scores them, asks about them or looks at them reads their columns by it.

    Args:
        columns: names of the columns that are there.
        form: the name of the form.
    """
    have = set(columns)
    of_form = names_of(get(form).columns)
    names: dict[str, str] = {}
    for ours in of_form:
        if ours in have:
            continue
        # A column that the form itself has stands for nothing else.
        present = [name for name in other_names(ours) if name in have and name not in of_form and name not in names]
        if present:
            names[present[0]] = ours
    return names


def offers(columns: Iterable[str]) -> tuple[str, ...]:
    """Every form that these columns can be read as, the richest first.

    Args:
        columns: names of the columns of a file; common other names count.
    """
    have = set(columns)
    return tuple(name for name, spec in all_forms().items() if _has_columns(have, spec))


def _has_columns(have: set[str], spec: FormSpec) -> bool:
    """Whether one of the column sets of a form is there whole."""
    # The answer of a multiple choice is a number, no words to be learnt.
    counted = {name for name in have if spec.ignored_beside.get(name) not in have}
    return not lacking(counted, spec.name)


def lacking(columns: Iterable[str], form: str) -> frozenset[str]:
    """The columns of a form that are not there, under no common name; of its column sets, the one that lacks fewest.

    Args:
        columns: names of the columns that are there.
        form: the name of the form.
    """
    have = set(columns)
    # A form that is met in many spellings needs the columns of one of them.
    lacking_of_set: list[frozenset[str]] = []
    for names in get(form).sets:
        lacking_of_set.append(frozenset(name for name in names if have.isdisjoint({name, *other_names(name)})))
    return min(lacking_of_set, key=len)


def detect(columns: Iterable[str]) -> str | None:
    """The richest form that these columns can be read as; None where there is none.

    Args:
        columns: names of the columns of a file; common other names count.
    """
    return next(iter(offers(columns)), None)
