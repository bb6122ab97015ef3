"""Rows of .jsonl and .json files, whatever their shape: objects, columns, a table with its names, or an export."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ftp.data.readers import exports
from ftp.data.readers.lines import read_lines
from ftp.data.readers.source import DataFile, Rows
from ftp.errors import UserError

BLANKS = re.compile(r"[ \t\r\n]*")
SPLIT_NAMES = {"train", "training", "validation", "valid", "val", "dev", "test"}


class _Doubled(ValueError):
    """An object names a field twice."""


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Doubled(next(name for name in names if names.count(name) > 1))
    return fields


DECODER = json.JSONDecoder(object_pairs_hook=_object_of)


def parse(text: str, where: str) -> Any:
    """The value that JSON text holds; UserError says what is wrong with it. `where`: file and line."""
    with _in_words(where):
        return DECODER.decode(text)


@contextmanager
def _in_words(where: str) -> Iterator[None]:
    """Every fault of the decoder but JSONDecodeError as a UserError that names the place."""
    try:
        yield
    except json.JSONDecodeError:
        raise
    except _Doubled as error:
        raise UserError(
            f"{where}: an object has the field '{error}' more than once", "keep one of them"
        ) from None
    except RecursionError:
        raise UserError(
            f"{where}: lists or objects lie too deep inside one another", "write the row flatter"
        ) from None
    except ValueError as error:  # Python reads whole numbers of 4,300 digits at most
        raise UserError(
            f"{where}: a number that is too long ({error})", "write it as text, in quotes"
        ) from None


def read_jsonl(file: DataFile) -> Rows:
    """Rows of a file with one JSON object a line."""
    return exports.convert(file, _objects(file))


def _objects(file: DataFile) -> Rows:
    for line, text in enumerate(read_lines(file), 1):
        if text.isspace():
            continue
        try:
            row = parse(text, f"{file.path}, line {line}")
        except json.JSONDecodeError as error:
            raise UserError(
                f"{file.path}, line {line}: not JSON ({error.msg}, column {error.colno}): {text.strip():.80}",
                _fix_of_line(text, error),
            ) from None
        if line == 1 and isinstance(row, list) and row and isinstance(row[0], dict):
            raise UserError(f"{file.path} is one list of objects, not one object a line", NAMED_JSON)
        yield line, _require_object(file, line, row)


NAMED_JSON = "let its name end in .json"


def _fix_of_line(text: str, error: json.JSONDecodeError) -> str:
    """What to do with a line that is no JSON object."""
    start, rest = text.strip(), text[error.pos :].lstrip()
    if error.msg == "Extra data" and rest.startswith(","):
        return "leave the commas between the objects out: each line is one JSON object on its own"
    if (error.msg == "Extra data" and rest.startswith("{")) or start == "{":
        return f"each line is to be one JSON object on its own; if objects go on over lines, {NAMED_JSON}"
    if start.startswith("["):
        return f"each line is to be one JSON object on its own; if the file is one list, {NAMED_JSON}"
    if start.startswith("{'"):
        return "names and texts stand in double quotes, as json.dumps writes them"
    return "each line is to be one JSON object on its own"


def read_json(file: DataFile) -> Rows:
    """Rows of a .json file: a list of objects, an object with one such list, of columns, or objects one after another."""
    text = "".join(read_lines(file))
    try:
        whole = parse(text, str(file.path))
    except json.JSONDecodeError as error:
        if error.msg != "Extra data" or not text.lstrip().startswith("{"):
            raise _not_json(file, text, error) from None
        whole = _values_of(file, text)
    rows = _rows_of(file, whole) if isinstance(whole, dict) else whole
    if not isinstance(rows, list):
        raise UserError(
            f"{file.path} holds {type(rows).__name__}", "a .json file is to hold a list of objects"
        )
    yield from exports.convert(file, _numbered(file, rows))


def _values_of(file: DataFile, text: str) -> list[Any]:
    """The JSON values that stand one after another in a text, as tools that append to a file write them."""
    values: list[Any] = []
    position = _after_blanks(text, 0)
    while position < len(text):
        try:
            with _in_words(f"{file.path}, row {len(values)}"):
                value, position = DECODER.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise _not_json(file, text, error) from None
        values.append(value)
        position = _after_blanks(text, position)
    return values


def _after_blanks(text: str, position: int) -> int:
    """The place of the first character that is no white space of JSON."""
    blanks = BLANKS.match(text, position)
    return blanks.end() if blanks else position


def _not_json(file: DataFile, text: str, error: json.JSONDecodeError) -> UserError:
    """The error for a .json file, with the place and what stands there."""
    shown = text[max(0, error.pos - 40) : error.pos + 20]
    return UserError(
        f"{file.path}, line {error.lineno}: not JSON ({error.msg}, column {error.colno})",
        f"it is near: {shown!r}" if shown else "",
    )


def _numbered(file: DataFile, rows: list[Any]) -> Rows:
    for index, row in enumerate(rows):
        yield index, _require_object(file, index, row)


def _require_object(file: DataFile, number: int, row: Any) -> dict[str, Any]:
    if isinstance(row, dict):
        return row
    pair = exports.spacy_pair(row)
    if pair is not None:
        return pair
    raise UserError(
        f"{file.path}, row {number}: a {type(row).__name__}, not an object",
        'a row looks like {"text": "..."}',
    )


def _rows_of(file: DataFile, whole: dict[str, Any]) -> list[Any]:
    """The rows that one object holds: SQuAD's articles, a list of objects, columns, or itself as the only row."""
    articles = exports.squad_rows(file, whole)
    if articles is not None:
        return articles
    lists: dict[str, list[Any]] = {
        name: value for name, value in whole.items() if _is_list_of_objects(value)
    }
    if len(lists) == 1:
        name, rows = next(iter(lists.items()))
        others = [value for key, value in whole.items() if key != name]
        if not any(isinstance(value, list) and len(value) == len(rows) for value in others):
            return rows  # else the list is one of several columns
    if len(lists) > 1 and lists.keys() <= SPLIT_NAMES:
        raise UserError(
            f"{file.path} holds several splits: {', '.join(lists)}",
            "write each list into a file of its own, as "
            + ", ".join(f"{name}.json" for name in lists),
        )
    columns = whole.get("columns")
    if isinstance(columns, list) and _is_table(whole.get("data"), columns):
        return [dict(zip(columns, row, strict=True)) for row in whole["data"]]
    return _from_columns(whole) or [whole]


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _is_table(rows: Any, columns: list[Any]) -> bool:
    """Whether these are pandas' `columns` and `data`: a list of names, and a list of cells for each row."""
    if not all(isinstance(name, str) for name in columns) or not isinstance(rows, list):
        return False
    return all(isinstance(row, list) and len(row) == len(columns) for row in rows)


def _from_columns(whole: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of an object of columns, each a list or (as pandas writes them) an object by row number; empty for others."""
    values = list(whole.values())
    if not values:
        return []
    if all(isinstance(value, list) for value in values):
        if all(isinstance(word, str) for word in whole.get("tokens", [None])):
            return []  # one row of tagged words
        if all(_is_list_of_objects(value) for value in values):
            return []  # one row of conversations, as chosen and rejected
        lengths = {len(value) for value in values}
        if len(lengths) != 1:
            return []
        return [dict(zip(whole, cells, strict=True)) for cells in zip(*values, strict=True)]
    if not all(isinstance(value, dict) and value for value in values):
        return []
    keys = list(values[0])
    if any(list(value) != keys for value in values):
        return []
    if all(name.isdigit() for name in whole):  # pandas' orient="index": an object of rows
        return values
    if all(key.isdigit() for key in keys):
        return list(_transposed(whole, keys))
    return []


def _transposed(
    columns: Mapping[str, Mapping[str, Any]], keys: list[str]
) -> Iterator[dict[str, Any]]:
    for key in keys:
        yield {name: column[key] for name, column in columns.items()}
