"""Rows out of the one value of a .json file: a list, columns, a table, rows by their ids, or any of these in a wrapper.

An object is never taken for one row in silence: it is told, or refused with what was seen.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import TypeGuard

from ftp.data.readers import exports, squad
from ftp.data.readers.names import stem_of
from ftp.data.readers.source import DataFile
from ftp.errors import UserError
from ftp.types import Row

SPLIT_NAMES = {"train", "training", "validation", "valid", "val", "dev", "test"}
WORDS = re.compile(r"[\W_]+")
"""What separates the words of a name."""
SHOWN = 6
"""Fields that an error names."""
OWN_OF_VIEWER = frozenset({"row_idx", "row"})
"""Fields of each row in answers of the hub's viewer."""
PART_SPLITS = (
    "import json, sys; [json.dump(rows, open(f'{sys.argv[2]}/{name}.json', 'w')) "
    "for name, rows in json.load(open(sys.argv[1])).items() if isinstance(rows, (list, dict))]"
)
LIST_ROWS = (
    "import json, sys; print(json.dumps(list(json.load(open(sys.argv[1])).values())))"
)


def rows_of(file: DataFile, whole: object) -> Sequence[object]:
    """The rows that a value holds.

    Args:
        whole: the one value of a .json file.

    Raises:
        UserError: names what was seen where that is no row and no rows, or could be either.
    """
    if isinstance(whole, list):
        return _of_lists(file, whole) or whole
    if not isinstance(whole, dict):
        raise UserError(
            f"{file.path} holds {type(whole).__name__}", "a .json file is to hold a list of objects"
        )
    rows = _rows_in(file, whole)
    if rows is not None:
        return rows
    if not _is_row(whole) and any(isinstance(value, list | dict) for value in whole.values()):
        raise UserError(
            f"{file.path} holds one object, and which of it are rows is not clear: {_shown(whole)}",
            'write the rows as a list of objects, as [{"text": "..."}, {"text": "..."}]',
        )
    file.tell(f"it holds one object, which is read as one row: {_shown(whole)}")
    return [whole]


def is_wrapper(whole: Row) -> bool:
    """Whether an object is no row but holds rows: a list of objects, maybe deeper inside, or splits.

    Args:
        whole: the one object of a file.
    """
    if _is_row(whole):
        return False
    if len(_splits_in(whole)) > 1 or _name_of_list(whole) is not None:
        return True
    return any(isinstance(value, dict) and is_wrapper(value) for value in whole.values())


def _rows_in(file: DataFile, whole: Row) -> Sequence[object] | None:
    """The rows that an object holds; None for an object that is itself a row, or that nothing here knows."""
    questions = squad.rows_of(file, whole)
    if questions is not None:
        return questions
    _refuse_splits(file, whole)
    for rows in (_of_table(whole), _of_columns(whole)):
        if rows is not None:
            return rows
    name = _name_of_list(whole)
    if name is not None:
        _tell_the_rest(file, whole, name)
        return _unwrapped(file, whole[name])
    if len(whole) > 1 and _are_objects(whole.values()):
        return _of_objects_by_name(file, whole)
    return None if _is_row(whole) else _of_wrapper(file, whole)


def _are_objects(values: Iterable[object]) -> bool:
    """Whether all values are objects that are not empty."""
    return all(isinstance(value, dict) and value for value in values)


def _is_row(whole: Row) -> bool:
    """Whether the fields of an object are those of a form, or of a tool's export."""
    from ftp import forms

    return forms.detect(whole) is not None or exports.is_row(whole)


@cache
def _usual_names() -> frozenset[str]:
    """Names under which columns are met; without single letters, which name rows as well."""
    from ftp.data import suggest

    names = set(suggest.NAMES).union(*suggest.NAMES.values())
    return frozenset(name for name in names if len(name) > 1)


def _is_list_of_objects(value: object) -> TypeGuard[list[Row]]:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _name_of_list(whole: Row) -> str | None:
    """The field with the list of rows; None where there are several such lists, or the object is a row itself."""
    lists = {name: value for name, value in whole.items() if _is_list_of_objects(value)}
    if "rows" in lists and _is_of_viewer(lists["rows"]):
        return "rows"
    if len(lists) != 1:
        return None
    name, rows = next(iter(lists.items()))
    # but {"conversations": [{"conversations": ...}]} holds rows
    if _is_row(whole) and name not in rows[0]:
        return None
    for key, value in whole.items():
        # the list is one of several columns
        if key != name and isinstance(value, list) and len(value) == len(rows):
            return None
    return name


def _tell_the_rest(file: DataFile, whole: Row, name: str) -> None:
    others = [key for key in whole if key != name]
    if others:
        file.tell(f"its rows are those of '{name}'; not read: {', '.join(others)}")


def _is_of_viewer(rows: Iterable[object]) -> bool:
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("row"), dict) or not row.keys() >= OWN_OF_VIEWER:
            return False
    return True


def _unwrapped(file: DataFile, rows: Sequence[Row]) -> Sequence[object]:
    """The rows without what the viewer of the hub puts around each of them."""
    if not _is_of_viewer(rows):
        return rows
    for index, row in enumerate(rows):
        if row.get("truncated_cells"):
            raise UserError(
                f"{file.path}, row {index}: the viewer of the hub has cut {', '.join(row['truncated_cells'])} short",
                "download the data set itself",
                "hf download ORG/NAME --repo-type dataset --local-dir NAME",
            )
    file.tell(f"read as an answer of the hub's viewer, which gives some rows of a set: {len(rows)}")
    return [row["row"] for row in rows]


def _splits_in(whole: Row) -> list[str]:
    """The fields that are named after splits and hold rows."""
    names: list[str] = []
    for name, value in whole.items():
        is_split = not SPLIT_NAMES.isdisjoint(WORDS.split(name.lower()))
        if is_split and isinstance(value, list | dict) and value:
            names.append(name)
    return names


def _refuse_splits(file: DataFile, whole: Row) -> None:
    splits = _splits_in(whole)
    if len(splits) < 2 or _is_row(whole):
        return
    folder = f"{stem_of(file.path)}-splits"
    raise UserError(
        f"{file.path} holds several splits: {', '.join(splits)}",
        f"write each into a file of its own, as {'.json, '.join(splits)}.json",
        _command(file, f"mkdir -p {shlex.quote(folder)} && ", PART_SPLITS, shlex.quote(folder)),
    )


def _command(file: DataFile, before: str, script: str, after: str) -> str:
    """A command that writes the file anew; nothing for a compressed one, which the script cannot open."""
    if file.path.suffix.lower() != ".json":
        return ""
    return f'{before}python -c "{script}" {shlex.quote(str(file.path))} {after}'


def _of_table(whole: Row) -> list[Row] | None:
    """Rows of pandas' `columns` and `data`: a list of names, and a list of cells for each row."""
    columns = whole.get("columns")
    rows = whole.get("data")
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        return None
    if not isinstance(rows, list) or not _have_width(rows, len(columns)):
        return None
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _have_width(rows: Sequence[object], width: int) -> TypeGuard[Sequence[list[object]]]:
    """Whether all rows are lists of so many cells."""
    return all(isinstance(row, list) and len(row) == width for row in rows)


def _of_lists(file: DataFile, rows: Sequence[object]) -> list[Row] | None:
    """Rows of a list of lists whose first one names the columns; None where no usual name says so."""
    header = rows[0] if rows else None
    if not isinstance(header, list) or len(rows) < 2 or not _have_width(rows, len(header)):
        return None
    if not all(isinstance(name, str) for name in header) or len(set(header)) < len(header):
        return None
    if not _usual_names() & set(header):
        return None
    file.tell(f"its first list is read as the names of the columns: {', '.join(header)}")
    return [dict(zip(header, cells, strict=True)) for cells in rows[1:]]


def _of_columns(whole: Row) -> list[Row] | None:
    """Rows of an object of columns, each a list or (as pandas writes them) an object by row number; None for others."""
    values = list(whole.values())
    if values and all(isinstance(value, list) for value in values):
        return _of_lists_by_name(whole)
    if not values or not _are_objects(values):
        return None
    # pandas' orient="index": an object of rows
    if all(name.isdigit() for name in whole):
        return values
    keys = list(values[0])
    if all(key.isdigit() for key in keys) and all(list(value) == keys for value in values):
        return list(_transposed(whole, keys))
    return None


def _of_lists_by_name(columns: Row) -> list[Row] | None:
    """Rows of columns that are lists; None where the lists are the fields of one row."""
    if all(isinstance(word, str) for word in columns.get("tokens", [None])):
        return None  # of tagged words
    lists_of_objects = [_is_list_of_objects(values) for values in columns.values()]
    if all(lists_of_objects) or (any(lists_of_objects) and _is_row(columns)):
        return None  # of conversations, as chosen and rejected
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1 or lengths == {0}:
        return None
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _transposed(columns: Row, keys: Sequence[str]) -> Iterator[Row]:
    """Rows by their keys out of columns that are objects with these keys."""
    for key in keys:
        yield {name: column[key] for name, column in columns.items()}


def _of_objects_by_name(file: DataFile, whole: Row) -> list[Row]:
    """Rows of an object of rows by their ids, or of columns by the ids of rows; UserError where it could be either."""
    fields: dict[str, None] = {}  # in order
    for value in whole.values():
        fields.update(dict.fromkeys(value))
    are_rows = _are_columns(fields) or all(map(exports.is_row, whole.values()))
    if are_rows and not _are_columns(whole):
        file.tell(f"it holds {len(whole)} objects by their ids, which are read as its rows")
        return [{"id": name, **row} for name, row in whole.items()]
    keys = list(next(iter(whole.values())))
    if not are_rows and _are_columns(whole) and all(list(value) == keys for value in whole.values()):
        return list(_transposed(whole, keys))
    raise UserError(
        f"{file.path} holds {len(whole)} objects by name, and whether they are rows is not clear: "
        f"{_named(whole)}, with the fields {_named(fields)}",
        "write them as a list of objects; if each is a row, with the command below",
        _command(file, "", LIST_ROWS, f"> {shlex.quote(stem_of(file.path))}-rows.json"),
    )


def _are_columns(names: Iterable[str]) -> bool:
    return not _usual_names().isdisjoint(names)


def _of_wrapper(file: DataFile, whole: Row) -> Sequence[object] | None:
    """The rows of the one object inside that holds any."""
    inside = [name for name, value in whole.items() if isinstance(value, dict) and is_wrapper(value)]
    if len(inside) != 1:
        return None
    file.tell(f"its rows are those inside '{inside[0]}'")
    return _rows_in(file, whole[inside[0]])


def _named(names: Iterable[str]) -> str:
    """The first names, as an error shows them."""
    names = list(names)
    shown = names[:SHOWN]
    if len(names) > SHOWN:
        shown.append("...")
    return ", ".join(shown)


def _shown(whole: Row) -> str:
    """The fields of an object with the kind of their values."""
    return _named(f"{name} ({_kind_of(value)})" for name, value in whole.items())


def _kind_of(value: object) -> str:
    if isinstance(value, dict):
        return f"an object of {len(value)} fields"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return type(value).__name__
