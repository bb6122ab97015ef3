"""Rows: read, brought into a form, split, encoded once, and dealt out in batches. Importing this loads nothing heavy.

`load` (what a domain calls) > `read` (files and hub sets: `split_files`, `stored_rows`, `streamed_rows`, `hub_sets`) >
`target_form` (forms: `core_forms`, `convert`, `check` with `column_kinds`; classes: `labels`) > `splits` > `encode` (token
ids, cached) > `updates` (what the loop gets), by `batches` or `stream` (the order in which training sees the rows). `collect`
joins all domains.
"""

from ftp.data.load import load, settle

__all__ = ["load", "settle"]
