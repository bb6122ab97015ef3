"""The rows of every split in the form that the objective reads.

Which form they have is found by their columns; they are checked, their classes are numbered, and they are converted downhill.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from ftp import forms
from ftp.data import asked, check, convert, dropped_columns, labels, suggest
from ftp.errors import UserError
from ftp.forms import ways
from ftp.forms.spec import names_of

if TYPE_CHECKING:
    from ftp.data.row_types import Rows


def shape(
    loaded: Mapping[str, Rows],
    target: str,
    names: Sequence[str] = (),
    prefer: str | None = None,
    source_name: str = "data",
    others: Sequence[str] = (),
    mapped: Mapping[str, str] = {},
    files: Mapping[str, str] = {},
    join_labels: bool = False,
    plain_values: bool = False,
) -> tuple[dict[str, Rows], tuple[str, ...], list[str]]:
    """Splits as `target`, read from the form `prefer` where they have it; with class names, and notes to tell.

    Args:
        loaded: split -> its rows, as they were read.
        target: the form that the objective reads.
        names: the classes in the order of their numbers, where that is known.
        prefer: a domain's own form; None: the richest one.
        source_name: the file or folder, for messages.
        others: forms that `--form` could choose in place of `target`.
        mapped: what `--columns` says already.
        files: split -> its file, for what is advised.
        join_labels: spellings of one label become one class.
        plain_values: numbers, dates and true/false in columns of texts are texts, as `ftp predict` reads them. In training they
            are refused, as a column of them is probably not the one that is meant.

    Raises:
        UserError: the columns of a split are those of no form that leads to `target`, a row cannot be read, or its labels.
    """
    from datasets import Dataset

    notes: list[str] = []
    loaded = _without_unanswered_test(loaded, target, prefer, notes, source_name, files)
    split_names = {split: f"{source_name} ({split})" for split in loaded}
    sources: dict[str, str] = {}
    for split, rows in loaded.items():
        sources[split] = _choose_form(rows, target, prefer, split_names[split], others, mapped)

    # The columns in their canonical shape: only these can be checked, and their labels counted.
    canonical: dict[str, Rows] = {}
    for split, rows in loaded.items():
        form = sources[split]
        canonical[split] = convert.convert(rows, form, form, source_name=split_names[split])
        canonical[split] = _with_texts(canonical[split], form, plain_values)
    for split, rows in canonical.items():
        check.check(rows, sources[split], split_names[split])

    # Class numbers are needed for classes alone, and class names wherever a label is written in words.
    for form in dict.fromkeys(sources.values()):
        if _needs_labels(form, target):
            names, label_notes = _number_labels(canonical, form, sources, names, source_name, join_labels)
            notes += label_notes

    shaped: dict[str, Rows] = {}
    for split, rows in canonical.items():
        converted = convert.convert(rows, sources[split], target, names, split_names[split])
        shaped[split] = _without_classes(converted, sources[split], target)
        if isinstance(rows, Dataset) and len(converted) < len(rows):
            notes.append(f"{split}: {len(rows) - len(converted)} of {len(rows)} rows left out (rated bad)")
    class_names = tuple(names) if forms.get(target).class_column is not None else ()
    return shaped, class_names, notes


def _with_texts(rows: Rows, form: str, plain_values: bool) -> Rows:
    """The rows with text in columns of texts: an optional one that is empty in every row has no type, and with `plain_values`
    numbers, dates and true/false are texts."""
    from datasets import Value

    types = rows.features or {}
    names: list[str] = []
    for column in forms.get(form).of_kind("text"):
        is_empty = not column.is_required and types.get(column.name) == Value("null")
        if plain_values or is_empty:
            names.append(column.name)
    return asked.plain_values_as_text(rows, names)


def _number_labels(
    canonical: dict[str, Rows], form: str, sources: Mapping[str, str], names: Sequence[str], source_name: str, join: bool
) -> tuple[Sequence[str], list[str]]:
    """Number the classes of the splits of a form in `canonical`. Returns their names, and notes to tell."""
    column = forms.get(form).class_column
    if column is None:
        return names, []
    of_form = {split: rows for split, rows in canonical.items() if sources[split] == form}
    numbered, names, notes = labels.encode(of_form, names, column.name, column.kind, join=join, source_name=source_name)
    # A split that `encode` gives back no more has no labels (hidden ones on the hub): it is left out.
    canonical.update(numbered)
    for split in of_form.keys() - numbered.keys():
        del canonical[split]
    return names, notes


def _without_classes(rows: Rows, source: str, target: str) -> Rows:
    """The rows without classes that are written in words now; such a column would be read as something else (a rating)."""
    class_columns = set(names_of(forms.get(source).of_kind("class"))) - set(names_of(forms.get(target).columns))
    left = class_columns.intersection(rows.column_names or ())
    return rows.remove_columns(sorted(left)) if left else rows


def _needs_labels(form: str, target: str) -> bool:
    """Whether the way to the target form needs the numbers of classes, or their names."""
    steps = pairwise(forms.way(form, target) or ())
    return form == target or any(ways.steps()[step].needs_labels for step in steps)


def _without_unanswered_test(
    loaded: Mapping[str, Rows],
    target: str,
    prefer: str | None,
    notes: list[str],
    source_name: str,
    files: Mapping[str, str],
) -> Mapping[str, Rows]:
    """The splits less a test split whose rows have no answers (as in competitions), with a note of it."""
    if "test" not in loaded or "train" not in loaded:
        return loaded
    test_columns = loaded["test"].column_names or ()
    if forms.offers_to(test_columns, target):
        return loaded
    train_forms = forms.offers_to(loaded["train"].column_names or (), target)
    if not train_forms:
        return loaded
    form = prefer if prefer in train_forms else train_forms[0]
    lacking = forms.lacking(test_columns, form)
    if not lacking or not lacking <= forms.get(form).answers:
        return loaded
    # A column of answers that no type holds is a mistake in the file, and reported as one.
    if lacking & dropped_columns.left_out_of(loaded["test"]).keys():
        return loaded
    file = files.get("test", "FILE")
    notes.append(
        f"{source_name} (test) has no {' and no '.join(sorted(lacking))}, "
        "so nothing can be scored on it and it is left out; for answers to its rows, "
        f"once the run is finished: ftp predict RUN --input {shlex.quote(file)}"
    )
    return {split: rows for split, rows in loaded.items() if split != "test"}


def _choose_form(
    rows: Rows,
    target: str,
    prefer: str | None,
    source_name: str,
    others: Sequence[str] = (),
    mapped: Mapping[str, str] = {},
) -> str:
    """The form to read rows as: the preferred one, else the richest that leads to the target."""
    columns = list(rows.column_names or ())
    left_out = dropped_columns.left_out_of(rows)
    # The richest form is there but for a column that no type holds: that column's error says more.
    for form in forms.offers_to([*columns, *left_out], target)[:1]:
        dropped_columns.require_held(rows, forms.read_columns(form))
    leading = forms.offers_to(columns, target)
    if not leading:
        raise _no_form(rows, target, source_name, others, mapped)
    chosen = prefer if prefer in leading else leading[0]
    for form in leading:
        spec = forms.get(form)
        # Two forms have these columns, and their values say which it is: answers rated bad, for example, are not to be imitated.
        if spec.is_meant is not None and chosen in (form, spec.instead_of) and target != form:
            return form if spec.is_meant(rows) else spec.instead_of
    return chosen


def _no_form(
    rows: Rows, target: str, source_name: str, others: Sequence[str], mapped: Mapping[str, str]
) -> UserError:
    """Why rows cannot be read as `target`: what it needs, or the form that the run could take instead."""
    columns = list(rows.column_names or ())
    header = suggest.header_lacking(rows, target)
    if header:  # to map such names would leave out the first row
        return UserError(
            f"{source_name} has no header, it seems: its first row is read as the names of the columns ({', '.join(columns)})",
            f"write a line with the names before it, separated as the others are: {header}",
        )
    spec = forms.get(target)
    problem = spec.why_not(source_name, rows) if spec.why_not is not None else None
    if problem is not None:
        return UserError([problem])
    what = f"{source_name} cannot be read as '{target}': its columns are {', '.join(columns)}"
    for form in forms.offers(columns):
        if form in others:
            return UserError(
                what,
                f"they are those of the form '{form}', which this run can be about as well",
                f"--form {form}",
            )
    column_sets = [" + ".join(names) for names in spec.sets]
    fix = f"'{target}' needs the columns {' or '.join(column_sets)}"
    uphill = [form for form in forms.all_forms() if form != target and forms.way(form, target)]
    if uphill:
        fix += f", or rows of the form {', '.join(uphill)}"
    return UserError(what, fix, suggest.columns_option(mapped, suggest.columns_meant(rows, target)))
