"""A run, or several beside one another, as one page that needs nothing else: `report.html`.

    keep.py        what only the page needs; written while the run goes on
    progress.py    what a user sees of a run while it goes on
    outcome.py     what a user sees of a run at its end
    comparison.py  scores beside those of the baselines
    numbers.py     numbers and times as text
    story.py       a run folder as what the page tells: mistakes, calibration, before and after
    curves.py      the curves of a log
    charts.py      the pictures, as SVG (matplotlib; heavy)
    page.py        the page (jinja2), from page.html and style.css
    tables.py      the tables of the page
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ftp.errors import UserError
from ftp.folder import state, writing
from ftp.folder.files import Folder

GENERATOR = '<meta name="generator" content="ftp '
"""Stands in the head of each page (base.html); a file with it is a page that ftp may write over."""


def make(folders: Sequence[Path]) -> str:
    """The page of one run folder, or of several side by side.

    Raises:
        UserError: a folder cannot be read.
    """
    from ftp.report.page import beside, single
    from ftp.report.story import read

    stories = []
    for folder in folders:
        with state.damage_in_words(str(folder)):
            stories.append(read(folder))
    with state.damage_in_words(", ".join(map(str, folders))):
        return single(stories[0]) if len(stories) == 1 else beside(stories)


def write(folder: Path) -> Path:
    """Write report.html of a run into its folder, and give its path."""
    return Folder(folder).write_report(make([folder]))


def write_to(path: Path, folders: Sequence[Path]) -> Path:
    """Write the page of one run, or of several, to a file of the user's choice.

    Raises:
        UserError: a file of that name is not such a page.
    """
    if path.exists():
        head = path.read_bytes()[:2000].decode("utf-8", "replace")
        if GENERATOR not in head:
            raise UserError(
                f"{path}: there is a file of this name that ftp did not write",
                "name another file with --out",
            )
    writing.write_text(path, make(folders))
    return path
