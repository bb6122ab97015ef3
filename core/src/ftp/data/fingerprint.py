"""A hash of the rows of a data set by what they hold."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

    import pyarrow as pa
    from datasets import Dataset

BATCH_ROWS = 1000

_KNOWN: WeakKeyDictionary[Dataset, str] = WeakKeyDictionary()  # data sets never change: each is read once


def fingerprint(rows: Dataset) -> str:
    """A hash of the rows as Arrow holds them: the same in every process, however the rows came to be."""
    if rows not in _KNOWN:
        _KNOWN[rows] = _hashed(rows)
    return _KNOWN[rows]


def _hashed(rows: Dataset) -> str:
    import pyarrow as pa

    digest = hashlib.sha256(repr(sorted((rows.features or {}).items())).encode())
    for start in range(0, len(rows), BATCH_ROWS):
        batch = rows.with_format("arrow")[start : start + BATCH_ROWS]
        for name in sorted(batch.column_names):
            digest.update(name.encode())
            values = batch.column(name).combine_chunks()
            # extension arrays stay chunked
            _feed(digest, pa.concat_arrays(values.chunks) if isinstance(values, pa.ChunkedArray) else values)
    return digest.hexdigest()


def _feed(digest: Hash, values: pa.Array) -> None:
    """Hash an array by what it holds, whatever its offsets, padding and unused bytes are."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):  # JSON text
        values = values.storage
        kind = values.type
    digest.update(f"{kind}:{len(values)}:{values.null_count};".encode())
    if values.null_count:
        digest.update(np.packbits(values.is_valid().to_numpy(zero_copy_only=False)).tobytes())
    if pa.types.is_struct(kind):
        for field in values.flatten():
            _feed(digest, field)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        digest.update(pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False).tobytes())
        _feed(digest, values.flatten())
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        values = values.drop_null()
        digest.update(pc.binary_length(values).to_numpy(zero_copy_only=False).tobytes())
        _, offsets, data = values.buffers()
        if len(values) and data is not None:
            ends = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
            digest.update(memoryview(data)[ends[0] : ends[-1]])
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        digest.update(values.drop_null().to_numpy(zero_copy_only=False).tobytes())
    else:
        digest.update(repr(values.to_pylist()).encode())
