"""Spreadsheets (.xlsx, .xlsm) as rows."""

from __future__ import annotations

from pathlib import Path

from ftp.data.readers import Reader, ending_of
from ftp_spreadsheets.xlsx import read_xlsx

__all__ = ["XLSX"]

ENDINGS = (".xlsx", ".xlsm")


def is_xlsx(path: Path) -> bool:
    """Whether the name of a file says that it is a spreadsheet."""
    return ending_of(path) in ENDINGS


XLSX = Reader("xlsx", is_xlsx, read_file=read_xlsx, endings=ENDINGS)
