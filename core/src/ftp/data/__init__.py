"""Rows: read, brought into a form, split, encoded once, and dealt out in batches. Importing this loads nothing heavy.

`read` files and hub sets > `forms` (columns, conversion downhill) > `labels` > `splits` > `load` (all of these for a
run) > `encode` (token ids, cached) > `batches` or `stream` (the order in which training sees the rows).
"""

from ftp.data.load import load, settle

__all__ = ["load", "settle"]
