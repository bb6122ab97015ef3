"""Rows that a finished run is asked about: read as the form that a run would train on, or a word about what they lack.

Answers are not needed. Where rows of one form are read as another (a pair of texts as a conversation), what stands in for an
answer that is not there is taken out again, so that a model is asked just what it would be trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ftp import forms
from ftp.data import chat_rows
from ftp.data.cells import Unreadable, text_of_cell
from ftp.data.column_kinds import KINDS, is_text
from ftp.data.turns import Unfit
from ftp.errors import Problem, UserError
from ftp.forms import ways
from ftp.forms.catalogue import new_names
from ftp.types import Row

if TYPE_CHECKING:
    from ftp.data.row_types import RowsT

SHOWN = 5
"""Row numbers that are listed at most."""


def plain_values_as_text(rows: RowsT, columns: Iterable[str]) -> RowsT:
    """The rows with numbers, dates and true/false in these columns as texts; empty cells stay empty."""
    from datasets import Features, Value

    from ftp.host.quiet import without_progress_bars

    types = rows.features or {}
    # Texts stay the columns that they are, and lists are told of later, with their rows.
    plain = [column for column in columns if isinstance(types.get(column), Value) and not is_text(types[column])]
    if not plain:
        return rows
    features = Features({**types, **dict.fromkeys(plain, Value("string"))})
    with without_progress_bars():
        return rows.map(partial(_cells_as_text, columns=plain), batched=True, features=features)


def _cells_as_text(batch: Mapping[str, list[object]], *, columns: Iterable[str]) -> dict[str, list[str | None]]:
    texts: dict[str, list[str | None]] = {}
    for column in columns:
        texts[column] = [_text_or_none(value, column) for value in batch[column]]
    return texts


def _text_or_none(value: object, column: str) -> str | None:
    is_empty = value is None or value != value  # NaN
    return None if is_empty else text_of_cell(value, column)


def names_of_text(form: str, theirs_by_ours: Mapping[str, str]) -> frozenset[str]:
    """Names that the columns of text of a form may have in a file, to be read as they are written.

    Args:
        theirs_by_ours: columns that `--columns`, or the run, maps.
    """
    names: set[str] = set()
    for source in forms.all_forms():
        if not forms.way(source, form):
            continue
        for column in forms.get(source).asked_columns:
            names.update((column.name, theirs_by_ours.get(column.name, column.name)), forms.other_names(column.name))
    return frozenset(names)


def readable_rows(rows: Iterable[Row], form: str, start: int = 0) -> list[dict[str, Any]]:
    """The rows with the columns of a form, which are text (or words, or messages).

    Args:
        form: that of the run; rows may have another one that leads to it, and common other names of columns.
        start: the number of the first row, counted from 0, for messages.

    Raises:
        UserError: rows lack a value, or hold another kind; all of them are counted.
    """
    readable: list[dict[str, Any]] = []
    # why a row cannot be read -> the rows of which that is so
    wrong: dict[str, list[int]] = {}
    for index, row in enumerate(rows, start):
        source = asked_form(tuple(row), form)
        names = new_names(row, source)
        cells = {names.get(name, name): value for name, value in row.items()}
        # Beside a question in its own columns, a text is what somebody made of all of them (Alpaca's `text`).
        if forms.get(source).has_messages and not row.keys().isdisjoint(chat_rows.ASKING):
            cells.pop("text", None)
        problems = _read_cells(cells, source)
        if not problems and source != form:
            try:
                cells = _as_form(cells, source, form)
            except Unfit as error:
                problems = [str(error)]
        for problem in problems:
            wrong.setdefault(problem, []).append(index)
        readable.append(cells)
    if wrong:
        fix = "rows count from 0; fill these rows in, or leave them out"
        raise UserError(Problem(f"{_which(indices)} {why}", fix) for why, indices in wrong.items())
    return readable


def _read_cells(cells: dict[str, Any], form: str) -> list[str]:
    """Read in place the cells that a model is asked by. Returns why some of them cannot be read."""
    problems: list[str] = []
    for column in forms.get(form).asked_columns:
        read_cell = KINDS[column.kind].cell
        if column.name not in cells or read_cell is None:
            continue
        value = cells[column.name]
        if not column.is_required and (value is None or value != value):  # NaN
            cells[column.name] = None
            continue
        try:
            cells[column.name] = read_cell(value, column.name)
        except Unreadable as error:
            problems.append(str(error))
    return problems


# --- rows of another form ---


@cache
def asked_form(columns: tuple[str, ...], target: str) -> str:
    """The form that rows to be answered are read as: that which training would choose by their columns, else one of which they
    only lack the answers. Where messages are asked, they are left to those who read them in all their spellings.

    Args:
        columns: those of the rows.
        target: the form of the run.
    """
    for form in (*forms.offers_to(columns, target), target, *forms.all_forms()):
        if forms.way(form, target) and _has_question(columns, form):
            are_messages = forms.get(form).has_messages and forms.get(target).has_messages
            return target if are_messages else form
    return target


def _has_question(columns: tuple[str, ...], form: str) -> bool:
    """Whether rows have all that a model is asked by, read as this form."""
    spec = forms.get(form)
    if not forms.lacking(columns, form) <= spec.answers:
        return False
    if spec.has_messages:
        return not set(columns).isdisjoint(chat_rows.ASKING)
    names = {*columns, *new_names(columns, form).values()}
    return names.issuperset(column.name for column in spec.asked_columns if column.is_required)


STAND_IN: Mapping[forms.ColumnKind, object] = {
    "text": "-", "texts": ["-"], "tokens": ["-"], "messages": [{"role": "assistant", "content": "-"}], "class": "-",
    "classes": [], "tags": [], "rating": True, "number": 0.0, "vector": [], "answers": {"text": [], "answer_start": []},
}  # fmt: skip
"""What stands in for an answer of each kind while a row is read as another form."""


def _as_form(row: dict[str, Any], source: str, target: str) -> dict[str, Any]:
    """A row as another form; its answers count where they are words that the other form has as well.

    Raises:
        Unfit: the row cannot be read so.
    """
    spec = forms.get(source)
    for column in spec.columns:
        is_kept = column.kind in forms.IN_WORDS and row.get(column.name) is not None
        if column.is_answer and not is_kept:
            row[column.name] = STAND_IN.get(column.kind)
    # Spellings of messages become one first.
    canonical = ways.canonical(source)
    if spec.has_messages and canonical is not None:
        row.update(canonical.change(row, ()) or {})
    # A class that was numbered in training is a word here: nobody needs the names of the classes.
    for step in pairwise(forms.way(source, target) or ()):
        row = {**row, **(ways.steps()[step].change(row, ()) or {})}
    present = forms.get(target).columns
    answers = {column.name for column in spec.columns if column.is_answer} - {column.name for column in present}
    return {name: value for name, value in row.items() if name not in answers}


def _which(indices: list[int]) -> str:
    """`row 1`, or `row 1 (and 3, 5: 3 rows in all)`."""
    if len(indices) == 1:
        return f"row {indices[0]}"
    shown = list(map(str, indices[1:SHOWN]))
    if len(indices) > SHOWN:
        shown.append("...")
    return f"row {indices[0]} (and {', '.join(shown)}; {len(indices)} rows in all)"
