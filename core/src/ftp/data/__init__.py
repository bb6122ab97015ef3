"""Rows: read, brought into a form, split, encoded once, and dealt out in batches. Importing this loads nothing heavy.

`load` in `loading` (what a domain calls) > `read` (files and hub sets: `split_files`, `stored_rows`, `streamed_rows`,
`hub_sets`) > `target_form` (forms: `core_forms`, `convert`, `check` with `column_kinds`; classes: `labels` with
`label_values`) > `splits` > `encode` (token ids, cached) > `updates` (what the loop gets), by `batches` or `stream` (the order
in which training sees the rows). `collect` joins all domains. `row_types` names the types that all of them share, for type
checkers alone.
"""

from typing import TYPE_CHECKING

from ftp.deprecation import late_names

if TYPE_CHECKING:
    from ftp.data.encode import cache_key
    from ftp.data.loading import load, settle
    from ftp.data.messages import read_messages
    from ftp.data.read import read as read_rows
    from ftp.data.splits import COUNTED, complete
    from ftp.data.target_form import shape

__all__ = ["COUNTED", "cache_key", "complete", "load", "read_messages", "read_rows", "settle", "shape"]

__getattr__ = late_names(__name__, {
    "COUNTED": "ftp.data.splits:COUNTED",
    "cache_key": "ftp.data.encode:cache_key",
    "complete": "ftp.data.splits:complete",
    "load": "ftp.data.loading:load",
    "read_messages": "ftp.data.messages:read_messages",
    "read_rows": "ftp.data.read:read",
    "settle": "ftp.data.loading:settle",
    "shape": "ftp.data.target_form:shape",
})
