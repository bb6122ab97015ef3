"""The first row of a table: the names of its columns."""

from __future__ import annotations

from collections.abc import Sequence

from ftp.errors import UserError


def name_columns(where: str, cells: Sequence[str]) -> list[str]:
    """Names of the columns without blanks around them; `column_2` for the third where its cell is empty.

    Args:
        where: file and line, or file, sheet and row, which an error names.
        cells: the first row, as text.

    Raises:
        UserError: two columns have one name.
    """
    names = [cell.strip() or f"column_{index}" for index, cell in enumerate(cells)]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise UserError(
            f"{where}: the header names {', '.join(doubled)} more than once",
            "give each column a name of its own",
        )
    return names
