"""Labels that are no classes: numbers (regression), and several labels of one row (multi-label)."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

from ftp import registry
from ftp.data.label_values import Counts
from ftp.errors import Problem
from ftp.forms import ColumnKind, catalogue

if TYPE_CHECKING:
    from ftp.data.row_types import Rows

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


def numbers_problem(source_name: str, values: Collection[object], column: str = "label") -> Problem | None:
    """The problem of a column of decimals, which is to be predicted as a number; None for any other column.

    Args:
        values: the different values of the column.
    """
    num_known = 0
    decimals: list[float] = []
    texts: list[str] = []
    for value in values:
        if value is None or value == "" or value != value:  # NaN
            continue
        num_known += 1
        if isinstance(value, float) and value % 1:
            decimals.append(value)
        elif isinstance(value, str) and DECIMAL.fullmatch(value.strip()):
            texts.append(value)
    # Most of the values: a stray decimal among classes is a mistake in a row, which is told as one.
    is_numeric = len(decimals) * 2 > num_known or (len(texts) > MANY and len(texts) * 2 > num_known)
    if not is_numeric:
        return None
    first = sorted(decimals)[:3] or sorted(texts)[:3]
    return Problem(
        f"{source_name}: {column} holds decimals ({', '.join(map(str, first))} ...; {num_known} different values): "
        "a number is to be predicted "
        "(regression), and this run tells classes apart",
        f"part the numbers into ranges that have names, such as low and high; or {_plugin_for('number')}",
        "ftp plugins",
    )


def several_labels_problem(source_name: str, counts: Counts, column: str = "label") -> Problem | None:
    """The problem of cells that hold several labels each ("price,speed"); None where cells hold one.

    A sign between words may be part of a class's name ("Albany, NY"), so the parts have to recur in other labels.
    """
    names = [name for name in counts if isinstance(name, str)]
    combined, separator = _combined(names)
    if not combined:
        return None
    num_rows = sum(map(counts.__getitem__, combined))
    shown = ", ".join(map(repr, combined[:3]))
    fix = f"{_plugin_for('classes')}; or give each row one class"
    if separator:
        fix += f", or write a combination that is meant as a class of its own without {separator!r}, as with +"
    return Problem(
        f"{source_name}: {column} holds several labels in a cell ({shown}; {num_rows:,} rows): more than one label a row "
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


def columns_problem(source_name: str, rows: Rows) -> Problem | None:
    """The problem of rows without a column `label` that have several labels each, in a list or in columns of 0 and 1."""
    for name, kind in (rows.features or {}).items():
        if name.lower() in PLURALS and getattr(kind, "feature", None) is not None:
            return lists_problem(source_name, name)
    flags = flag_columns(rows)
    return flags_problem(source_name, flags) if flags else None


def flag_columns(rows: Rows) -> list[str]:
    """Columns of 0 and 1 (or true and false) alone, where there are several: a column for each label, as it seems."""
    types = rows.features or {}
    candidates = [name for name, column_type in types.items() if getattr(column_type, "dtype", "") in FLAGS]
    if len(candidates) < 2 or not hasattr(rows, "num_rows"):
        return []
    # Other numbers show soon where there are any.
    table = rows.select_columns(candidates).with_format("arrow")[:1000]
    flags = [name for name in candidates if set(table.column(name).unique().to_pylist()) <= {0, 1, None}]
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
    packages: set[str] = set()
    for name in catalogue.with_kind(kind):
        if any(column.is_answer for column in catalogue.get(name).of_kind(kind)):
            packages.add(registry.package_of(catalogue.GROUP, name))
    if packages:
        return f"name a plugin of {' or '.join(sorted(packages))}, which reads such rows"
    return f"install a package with a form of rows that have a column of the kind '{kind}'"


def _combined(names: list[str]) -> tuple[list[str], str]:
    """Labels that are several labels in one text, and the sign that parts them (empty for lists written as JSON)."""
    # Lists written as JSON say themselves that they are several labels.
    lists = list(filter(_is_json_list, names))
    if lists and len(lists) * 2 > len(names):
        return lists, ""
    for separator in SEPARATORS:
        combined: list[str] = []
        combined_parts: set[str] = set()
        cells_with: Counter[str] = Counter()
        for name in names:
            parts = _parts(name, separator)
            cells_with.update(set(parts))
            if len(parts) > 1:
                combined.append(name)
                combined_parts.update(parts)
        # "Albany, NY" has a comma as well, but its parts stand in few other labels.
        recurring = [part for part in combined_parts if cells_with[part] > 1]
        if len(combined) > 1 and len(recurring) >= RECURS * len(combined_parts):
            return combined, separator
    return [], ""


def _parts(name: str, separator: str) -> list[str]:
    """The labels of a cell."""
    parts = map(str.strip, name.split(separator))
    return list(filter(None, parts))


def _is_json_list(name: str) -> bool:
    if not (name.startswith("[") and name.endswith("]")):
        return False
    try:
        return isinstance(json.loads(name.replace("'", '"')), list)
    except ValueError:
        return False
