"""New rows for a finished run: read from their file, with columns named as those of the run were.

Core maps columns in this order wherever it reads a file: `--columns`, then common other names (`forms.catalogue.new_names`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ftp.data.asked import names_of_text
from ftp.data.loading import mapping
from ftp.data.read import read, rename
from ftp.types import Run

if TYPE_CHECKING:
    from datasets import Dataset


def read_splits(
    source: str, run: Run, form: str, notes: list[str], *, splits: Mapping[str, str], domain: str = "", columns: str = "",
    max_decompressed: str | None = None,
) -> dict[str, Dataset]:
    """The rows of a source by split, with the columns that its file has (`named` maps them).

    Args:
        run: the finished run.
        form: its form.
        notes: gets what a user should know about how the files were read.
        splits: as in `ftp.data.read.read`.
        domain: whose rows these are, of a run of several domains.
        columns: what `--columns` says; empty: nothing.
        max_decompressed: what a compressed file may grow to; None: as in the run.
    """
    theirs_of = {**_mapping_of(run, domain), **mapping([columns] if columns else [])}
    limit = max_decompressed or run.settings.max_decompressed
    text_columns = names_of_text(form, theirs_of)
    return read(source, splits=splits, max_decompressed=limit, notes=notes, text_columns=text_columns)


def named(rows: Dataset, run: Run, source_name: str, *, domain: str = "", columns: str = "") -> tuple[Dataset, dict[str, str]]:
    """The rows with mapped columns under our names, and the mapping: our names -> those of the file.

    The mapping of the run was for its own file, and this one may have our names already: what is not there is no mistake.

    Args:
        run: the finished run.
        source_name: for messages.
        domain: whose rows these are, of a run of several domains.
        columns: what `--columns` says, in place of what the run says of these columns; empty: nothing.

    Raises:
        UserError: a column that `--columns` names is not there.
    """
    theirs_of = mapping([columns] if columns else [])
    present = set(rows.column_names) - set(theirs_of.values())
    for ours, theirs in _mapping_of(run, domain).items():
        if theirs in present:
            theirs_of.setdefault(ours, theirs)
    return rename(rows, theirs_of, source_name), theirs_of


def _mapping_of(run: Run, domain: str) -> dict[str, str]:
    """What the run, or one of its domains, was told of its own file."""
    return mapping(run.hooks.seen_by(domain, run).settings.columns)
