"""Forms of rows: which columns a data set has, and which other form its rows can be read as.

A form is a `FormSpec` of the entry-point group `ftp.forms`; core's own are in `ftp.data.core_forms`. Imports nothing heavy.
"""

from ftp.forms.catalogue import all_forms, detect, get, kind_of, lacking, offers, other_names, read_columns, text_columns
from ftp.forms.spec import IN_WORDS, Column, ColumnKind, FormSpec, Way
from ftp.forms.texts import AS_TEXT, TEXT_COLUMN, TEXT_PAIR_COLUMN
from ftp.forms.ways import fits, offers_to, reachable, way

__all__ = [
    "AS_TEXT", "IN_WORDS", "TEXT_COLUMN", "TEXT_PAIR_COLUMN", "Column", "ColumnKind", "FormSpec", "Way", "all_forms", "detect",
    "fits", "get", "kind_of", "lacking", "offers", "offers_to", "other_names", "reachable", "read_columns", "text_columns", "way",
]  # fmt: skip
