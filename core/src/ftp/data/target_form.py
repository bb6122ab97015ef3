"""The rows of every split in the form that the objective reads.

Which form they have is found by their columns; they are checked, their classes are numbered, and they are converted downhill.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from ftp.data import (
    asked,
    chat_rows,
    check,
    convert,
    downhill,
    dropped_columns,
    forms,
    labels,
    suggest,
    turns,
    unsupported_labels,
)
from ftp.errors import UserError
from ftp.types import Form

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

    Rows: TypeAlias = Dataset | IterableDataset


def shape(
    found: Mapping[str, Rows],
    target: Form,
    names: Sequence[str] = (),
    prefer: Form | None = None,
    told: str = "data",
    others: Sequence[Form] = (),
    mapped: Mapping[str, str] = {},
    files: Mapping[str, str] = {},
    join_labels: bool = False,
    plain_values: bool = False,
) -> tuple[dict[str, Rows], tuple[str, ...], list[str]]:
    """Splits as `target`, read from the form `prefer` where they have it; with class names, and notes to tell.

    Args:
        others: forms that `--form` could choose in place of `target`.
        mapped: what `--columns` says already.
        files: split -> its file, for what is advised.
        join_labels: spellings of one label become one class.
        plain_values: numbers, dates and true/false in columns of texts are texts, as `ftp predict` reads them. In training they
            are refused, as a column of them is probably not the one that is meant.
    """
    from datasets import IterableDataset

    notes: list[str] = []
    found = _without_unanswered_test(found, target, prefer, notes, told, files)
    where = {split: f"{told} ({split})" for split in found}
    sources = {split: _source(rows, target, prefer, where[split], others, mapped) for split, rows in found.items()}
    made = {split: convert.convert(rows, sources[split], sources[split], told=where[split]) for split, rows in found.items()}
    for split, rows in made.items():
        if plain_values:
            made[split] = rows = asked.plain_values_as_text(rows, check.TEXTS.get(sources[split], ()))
        check.check(rows, sources[split], where[split])
    # class numbers are needed for classes alone, and class names wherever a label is said in words
    for form, column, needed in (
        ("labelled", "label", ("labelled", "conversation", "prompt")),
        ("tagged", "tags", ("tagged",)),
    ):
        mine = {split: rows for split, rows in made.items() if sources[split] == form}
        if mine and target in needed:
            coded, names, more = labels.encode(mine, names, column, join=join_labels, told=told)
            notes += more
            made = {split: coded.get(split, rows) for split, rows in made.items() if split in coded or split not in mine}
    for split, rows in made.items():
        made[split] = convert.convert(rows, sources[split], target, names, where[split])
        if sources[split] == "labelled" and target not in ("labelled", "feedback") and "label" in made[split].column_names:
            made[split] = made[split].remove_columns("label")  # the class is said in words now, and is no rating of them
        if not isinstance(rows, IterableDataset) and len(made[split]) < len(rows):
            notes.append(f"{split}: {len(rows) - len(made[split])} of {len(rows)} rows left out (rated bad)")
    return made, tuple(names) if target in ("labelled", "tagged") else (), notes

ANSWERS = frozenset({"label", "tags", "answers", "answer", "completion", "output", "chosen", "rejected"})
"""Columns that say what a model is to answer, which rows to be answered lack."""


def _without_unanswered_test(
    found: Mapping[str, Rows], target: Form, prefer: Form | None, notes: list[str], told: str, files: Mapping[str, str]
) -> Mapping[str, Rows]:
    """The splits without a test split whose rows have no answers (as in competitions), which is told."""
    if "test" not in found or "train" not in found or downhill.offers_to(found["test"].column_names or (), target):
        return found
    offers = downhill.offers_to(found["train"].column_names or (), target)
    if not offers:
        return found
    form = prefer if prefer in offers else offers[0]
    have = found["test"].column_names or ()
    lacking = forms.lacking(have, form)
    if not lacking or not lacking <= ANSWERS or lacking & dropped_columns.left_out_of(found["test"]).keys():
        return found
    file = files.get("test", "FILE")
    notes.append(
        f"{told} (test) has no {' and no '.join(sorted(lacking))}, so nothing can be scored on it and it is left out; "
        f"for answers to its rows, once the run is finished: ftp predict RUN --input {shlex.quote(file)}"
    )
    return {split: rows for split, rows in found.items() if split != "test"}


def _source(
    rows: Rows, target: Form, prefer: Form | None, told: str, others: Sequence[Form] = (), mapped: Mapping[str, str] = {}
) -> Form:
    """The form to read rows as: the preferred one, else the richest that leads to the target."""
    have = list(rows.column_names or ())
    left_out = dropped_columns.left_out_of(rows)
    for form in forms.offers([*have, *left_out]):  # a form that is there but for a column that no type holds
        if downhill.way(form, target):
            dropped_columns.require_held(rows, forms.read_columns(form))
            break
    leading = [form for form in forms.offers(have) if downhill.way(form, target)]
    if leading:
        chosen = prefer if prefer in leading else leading[0]
        if "feedback" in leading and target != "feedback" and chosen in ("feedback", "conversation"):
            # answers that are rated bad are not to be imitated; a label that is no rating says nothing of that
            return "feedback" if _rated(rows) else "conversation"
        return chosen
    if target == "labelled" and "label" not in have:
        problem = unsupported_labels.columns_problem(told, rows)
        if problem is not None:
            raise UserError([problem])
    spec = forms.FORMS[target]
    wanted = " or ".join(" + ".join(columns) for columns in spec.read_from or (spec.required,))
    uphill = [form for form in forms.FORMS if form != target and downhill.way(form, target)]
    what = f"{told} cannot be read as '{target}': its columns are {', '.join(have)}"
    if also := next((form for form in forms.offers(have) if form in others), None):
        raise UserError(what, f"they are those of the form '{also}', which this run can be about as well", f"--form {also}")
    raise UserError(
        what,
        f"'{target}' needs the columns {wanted}" + (f", or rows of the form {', '.join(uphill)}" if uphill else ""),
        suggest.columns_option(mapped, suggest.columns_meant(rows, target)),
    )


def _rated(rows: Rows) -> bool:
    """Whether the labels of the first rows are ratings, good or bad."""
    try:
        return all(chat_rows.good(row["label"]) in (True, False) for row in islice(rows, 1000))
    except turns.Unfit:
        return False
