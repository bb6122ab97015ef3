"""Rows of .jsonl and .json files, whatever their shape: objects, columns, a table with its names, or an export."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice

from ftp.data.readers import exports, json_shapes
from ftp.data.readers.lines import read_lines
from ftp.data.readers.source import DataFile, Rows
from ftp.errors import UserError

BLANKS = re.compile(r"[ \t\r\n]*")
NAMED_JSON = "let its name end in .json"


class _Doubled(ValueError):
    """An object names a field twice."""


def _object_of(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # called for every object of a file: `dict` is far quicker than a loop
    fields = dict(pairs)
    if len(fields) < len(pairs):
        [(doubled, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise _Doubled(doubled)
    return fields


DECODER = json.JSONDecoder(object_pairs_hook=_object_of)


def parse(text: str, where: str) -> object:
    """The value that JSON text holds.

    Args:
        where: file and line, which an error names.

    Raises:
        UserError: a field is doubled, a number too long, or lists and objects lie too deep inside one another.
        json.JSONDecodeError: the text is not JSON.
    """
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
    """Rows of a file with one JSON object a line; UserError where its only line holds all rows."""
    rows = _objects(file)
    first = list(islice(rows, 2))
    if len(first) == 1 and json_shapes.is_wrapper(first[0][1]):
        raise UserError(
            f"{file.path} is one object that holds rows, not one object a line", NAMED_JSON
        )
    yield from exports.convert(file, chain(first, rows))


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


def _fix_of_line(text: str, error: json.JSONDecodeError) -> str:
    """What to do with a line that is no JSON object."""
    start = text.strip()
    rest = text[error.pos :].lstrip()
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
    """Rows of a .json file: one value (`json_shapes` says which), or objects one after another."""
    text = "".join(read_lines(file))
    try:
        whole = parse(text, str(file.path))
    except json.JSONDecodeError as error:
        if error.msg != "Extra data" or not text.lstrip().startswith("{"):
            raise _not_json(file, text, error) from None
        whole = _values_of(file, text)
    yield from exports.convert(file, _numbered(file, json_shapes.rows_of(file, whole)))


def _values_of(file: DataFile, text: str) -> list[object]:
    """The JSON values that stand one after another in a text, as tools that append to a file write them."""
    values: list[object] = []
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


def _numbered(file: DataFile, rows: Sequence[object]) -> Rows:
    for index, row in enumerate(rows):
        yield index, _require_object(file, index, row)


def _require_object(file: DataFile, number: int, row: object) -> dict[str, object]:
    if isinstance(row, dict):
        return row
    converted = exports.object_of(row)
    if converted is not None:
        return dict(converted)
    raise UserError(
        f"{file.path}, row {number}: a {type(row).__name__}, not an object",
        'a row looks like {"text": "..."}',
    )
