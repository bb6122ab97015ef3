"""Argilla's records: of version 2 (`records`), its data sets on the hub (`tables`), and of version 1 (`old_records`).

A response of people wins over a suggestion of a model; where there is none, the suggestion is taken and counted.
"""

from ftp.data.readers import Export, Layout
from ftp_labelling.argilla import old_records, records, tables

__all__ = ["EXPORT"]

EXPORT = Export(
    "argilla",
    (
        Layout("Argilla", records.matches, records.convert),
        Layout("Argilla (a data set of the hub)", tables.matches, tables.convert),
        Layout("Argilla 1 (a data set of the hub)", tables.matches_old, tables.convert_old),
        Layout("Argilla 1", old_records.matches, old_records.convert),
    ),
    has_columns=tables.has_columns,
)
