"""Labels that are no classes: numbers (regression), and several labels of one row (multi-label)."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from ftp import registry
from ftp.errors import Problem
from ftp.forms import ColumnKind, catalogue

SEPARATORS = (",", ";", "|")
"""What parts the labels of one cell, where there are several."""

DECIMAL = re.compile(r"-?\d*\.\d+([eE][-+]?\d+)?|-?\d+(\.\d+)?[eE][-+]?\d+")
MANY = 20
"""Different numbers from which a column of texts that are decimals is no column of classes (versions, sizes)."""

PLURALS = ("labels", "categories", "classes", "tags", "topics", "genres")
"""Names of columns whose lists are the labels of a row."""

FLAGS = ("bool", "int8", "int32", "int64", "uint8", "float64")
"""Types of columns that may hold 0 and 1 alone."""

RECURS = 0.8
"""Share of the parts of combined labels that occur in other labels too, from which they are labels themselves."""


def numbers_problem(source_name: str, values: Collection[Any], column: str = "label") -> Problem | None:
    """The problem of a column of decimals, which is to be predicted as a number; None for any other column.

    Args:
        values: the different values of the column.
    """
    decimals = [value for value in values if isinstance(value, float) and value == value and value % 1]
    texts = [value for value in values if isinstance(value, str) and DECIMAL.fullmatch(value.strip())]
    known = [value for value in values if value is not None and value == value and value != ""]
    is_numeric = len(decimals) * 2 > len(known) or (len(texts) > MANY and len(texts) * 2 > len(known))
    if not is_numeric:
        return None
    shown = ", ".join(str(value) for value in sorted(decimals or texts)[:3])
    return Problem(
        f"{source_name}: {column} holds decimals ({shown} ...; {len(known)} different values): a number is to be predicted "
        "(regression), and this run tells classes apart",
        f"part the numbers into ranges that have names, such as low and high; or {_plugin_for('number')}",
        "ftp plugins",
    )


def several_labels_problem(source_name: str, counts: Mapping[Any, int], column: str = "label") -> Problem | None:
    """The problem of cells that hold several labels each ("price,speed"); None where cells hold one.

    A sign between words may be part of a class's name ("Albany, NY"), so the parts have to recur in other labels.
    """
    names = [name for name in counts if isinstance(name, str)]
    combined, separator = _combined(names)
    if not combined:
        return None
    rows = sum(counts[name] for name in combined)
    shown = ", ".join(repr(name) for name in combined[:3])
    fix = f"{_plugin_for('classes')}; or give each row one class"
    if separator:
        fix += f", or write a combination that is meant as a class of its own without {separator!r}, as with +"
    return Problem(
        f"{source_name}: {column} holds several labels in a cell ({shown}; {rows:,} rows): more than one label a row "
        "(multi-label), and this run gives each row one",
        fix,
        "ftp plugins",
    )


def lists_problem(source_name: str, column: str = "label") -> Problem:
    """The problem of a label column whose cells are lists."""
    return Problem(
        f"{source_name}: {column} holds lists: more than one label a row (multi-label), and this run gives each row one",
        f"{_plugin_for('classes')}; or give each row one class, as a word, a whole number, or true/false",
        "ftp plugins",
    )


def columns_problem(source_name: str, rows: Any) -> Problem | None:
    """The problem of rows without a column `label` that have several labels each, in a list or in columns of 0 and 1."""
    for name, kind in (rows.features or {}).items():
        if name.lower() in PLURALS and getattr(kind, "feature", None) is not None:
            return lists_problem(source_name, name)
    flags = flag_columns(rows)
    return flags_problem(source_name, flags) if flags else None


def flag_columns(rows: Any) -> list[str]:
    """Columns of 0 and 1 (or true and false) alone, where there are several: a column for each label, as it seems."""
    kinds = rows.features or {}
    able = [name for name, kind in kinds.items() if getattr(kind, "dtype", "") in FLAGS]
    if len(able) < 2 or not hasattr(rows, "num_rows"):
        return []
    table = rows.select_columns(able).with_format("arrow")[:1000]
    flags = [name for name in able if set(table.column(name).unique().to_pylist()) <= {0, 1, None}]
    return flags if len(flags) > 1 else []


def flags_problem(source_name: str, columns: list[str]) -> Problem:
    """The problem of rows with a column of 0 and 1 for each label."""
    return Problem(
        f"{source_name}: there is no column of classes, but columns of 0 and 1 ({', '.join(columns[:6])}): more than one label "
        "a row (multi-label), and this run gives each row one",
        f"{_plugin_for('classes')}; or learn one of them at a time",
        f"--columns label={columns[0]}",
    )


def _plugin_for(kind: ColumnKind) -> str:
    """Which installed package has rows whose answer is of a kind; what to look for where none has."""
    packages = set()
    for name in catalogue.with_kind(kind):
        if any(column.is_answer for column in catalogue.get(name).of_kind(kind)):
            packages.add(registry.package_of(catalogue.GROUP, name))
    if packages:
        return f"name a plugin of {' or '.join(sorted(packages))}, which reads such rows"
    return f"install a package with a form of rows that have a column of the kind '{kind}'"


def _combined(names: list[str]) -> tuple[list[str], str]:
    """Labels that are several labels in one text, and the sign that parts them (empty for lists written as JSON)."""
    lists = [name for name in names if _is_json_list(name)]
    if lists and len(lists) * 2 > len(names):
        return lists, ""
    for separator in SEPARATORS:
        combined = [name for name in names if len(_parts(name, separator)) > 1]
        labels_with = Counter(part for name in names for part in {*_parts(name, separator)})
        parts = {part for name in combined for part in _parts(name, separator)}
        recurring = [part for part in parts if labels_with[part] > 1]
        if len(combined) > 1 and len(recurring) >= RECURS * len(parts):
            return combined, separator
    return [], ""


def _parts(name: str, separator: str) -> list[str]:
    """The labels of a cell."""
    return [part.strip() for part in name.split(separator) if part.strip()]


def _is_json_list(name: str) -> bool:
    if not (name.startswith("[") and name.endswith("]")):
        return False
    try:
        return isinstance(json.loads(name.replace("'", '"')), list)
    except ValueError:
        return False
