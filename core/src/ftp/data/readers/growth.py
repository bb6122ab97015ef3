"""How far an .arrow or .parquet file would grow, read before anything of it is decompressed or spelt out.

A few bytes can stand for gigabytes: in a compressed buffer, in a dictionary whose one long value is named ten thousand times,
in a run of equal values, in a column of nulls. pyarrow allocates all of it before anybody can count.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

SLICE_BYTES = 1 << 28
"""What the rows of one slice may become at most, where one row does not become more."""
NUMBER_BYTES = 16
"""The widest plain number."""
MAGIC = b"ARROW1"
CONTINUATION = b"\xff\xff\xff\xff"
# numbers of fields and kinds in Arrow's Message.fbs, Schema.fbs and File.fbs
DICTIONARY_BATCH = 2
RECORD_BATCH = 3
OLD_COMPRESSION = b"ARROW:experimental_compression"  # how Arrow 0.17 marked a compressed batch
# kinds in Parquet's parquet.thrift
DICTIONARY_PAGE = 2
INT32_FIELD = 0x15  # the head of an int32 field that follows the one before it


# --- Arrow: buffers that are compressed ---


def decompressed_size(source: pa.NativeFile) -> int:
    """The bytes that the compressed buffers of an Arrow file or stream say that they become.

    Args:
        source: an open file; where it stands is changed.

    Raises:
        ValueError: it is damaged.
    """
    try:
        return sum(_buffer_sizes(source, metadata, body) for metadata, body in _messages(source))
    except struct.error:
        raise ValueError("what it says of its own parts does not fit the file") from None


def _messages(source: pa.NativeFile) -> Iterator[tuple[_Table, int]]:
    """Each message of a file or stream, with the position where its buffers begin."""
    if _bytes_at(source, 0, len(MAGIC)) == MAGIC:
        for start in _blocks(source):
            message = _message(source, start)
            if message is not None:
                yield message
        return
    position = 0
    while (message := _message(source, position)) is not None:
        yield message
        metadata, body = message
        body_size = metadata.number(3, "<q")
        if body_size < 0:
            raise ValueError("a message has a negative length")
        position = body + body_size


def _message(source: pa.NativeFile, start: int) -> tuple[_Table, int] | None:
    """The message at a position; None at the end of a stream."""
    head = _bytes_at(source, start, 8)
    prefix = 8 if head[:4] == CONTINUATION else 4  # before Arrow 0.15 the length stood first
    length = head[prefix - 4 : prefix]
    if len(length) < 4 or (size := struct.unpack("<i", length)[0]) == 0:
        return None
    metadata = _bytes_at(source, start + prefix, size)
    return _Table.root(metadata), start + prefix + size


def _blocks(source: pa.NativeFile) -> list[int]:
    """Where the messages of a file begin, by its footer, which is what pyarrow goes by."""
    end = source.size() - len(MAGIC) - 4
    length = struct.unpack("<i", _bytes_at(source, end, 4))[0]
    footer = _Table.root(_bytes_at(source, end - length, length))
    starts = []
    # dictionaries, then record batches; a block is (offset, length, padding, length of the body)
    for field in (2, 3):
        for position in footer.structs(field, 24):
            starts.append(struct.unpack_from("<q", footer.content, position)[0])
    return starts


def _buffer_sizes(source: pa.NativeFile, message: _Table, body: int) -> int:
    """What the compressed buffers of one message become."""
    kind = message.number(1, "<B")
    if kind not in (DICTIONARY_BATCH, RECORD_BATCH):
        return 0
    batch = message.table(2)
    if batch is not None and kind == DICTIONARY_BATCH:
        batch = batch.table(1)
    if batch is None or not (batch.position(3) or OLD_COMPRESSION in message.content):
        return 0
    total = 0
    for position in batch.structs(2, 16):  # (offset, length)
        offset, length = struct.unpack_from("<qq", batch.content, position)
        if length:
            size = struct.unpack("<q", _bytes_at(source, body + offset, 8))[0]
            total += size if size >= 0 else length  # -1: this buffer is not compressed
    return total


class _Table:
    """A table of a flatbuffer: fields by number (https://flatbuffers.dev/internals)."""

    def __init__(self, content: bytes, start: int) -> None:
        self.content = content
        self.start = start
        self.fields = start - struct.unpack_from("<i", content, start)[0]
        self.fields_end = self.fields + struct.unpack_from("<H", content, self.fields)[0]

    @classmethod
    def root(cls, content: bytes) -> _Table:
        return cls(content, struct.unpack_from("<I", content)[0])

    def position(self, field: int) -> int:
        """Where a field stands; 0 where it has its default."""
        entry = self.fields + 4 + 2 * field
        if entry >= self.fields_end:
            return 0
        offset = struct.unpack_from("<H", self.content, entry)[0]
        return self.start + offset if offset else 0

    def number(self, field: int, form: str) -> int:
        position = self.position(field)
        return int(struct.unpack_from(form, self.content, position)[0]) if position else 0

    def table(self, field: int) -> _Table | None:
        position = self.position(field)
        return _Table(self.content, self._follow(position)) if position else None

    def structs(self, field: int, size: int) -> range:
        """Where the structs of a vector stand."""
        position = self.position(field)
        if not position:
            return range(0)
        vector = self._follow(position)
        count = struct.unpack_from("<I", self.content, vector)[0]
        return range(vector + 4, vector + 4 + size * count, size)

    def _follow(self, position: int) -> int:
        return position + int(struct.unpack_from("<I", self.content, position)[0])


def _bytes_at(source: pa.NativeFile, start: int, length: int) -> bytes:
    if start < 0 or length < 0:
        raise ValueError("an offset is negative")
    length = min(length, max(0, source.size() - start))  # no room is made for what is not there
    if not length:
        return b""
    source.seek(start)
    return bytes(source.read(length))


# --- Arrow: values that are written once and named often ---


def slices(batch: pa.RecordBatch, limit: int) -> Iterator[pa.RecordBatch]:
    """The rows of a batch in slices that become no more than `limit` bytes, or one row, when each value is spelt out."""
    row_bytes = 0
    for column in batch.columns:
        if _names_values_often(column.type):
            row_bytes += _largest_value(column)
    if not row_bytes:
        yield batch
        return
    step = max(1, min(limit, SLICE_BYTES) // row_bytes)
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)


def _names_values_often(kind: pa.DataType) -> bool:
    """Whether one value in memory may stand for many, in the type or in one inside it."""
    from pyarrow import types

    views = (types.is_string_view, types.is_binary_view, types.is_list_view, types.is_large_list_view)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind) or any(is_kind(kind) for is_kind in views):
        return True
    if hasattr(kind, "storage_type"):
        return _names_values_often(kind.storage_type)
    return any(_names_values_often(kind.field(index).type) for index in range(kind.num_fields))


def _largest_value(array: pa.Array) -> int:
    """An upper bound of the bytes of one value."""
    import pyarrow.compute as pc
    from pyarrow import types

    kind = array.type
    if types.is_dictionary(kind):
        return _largest_value(array.dictionary)
    if types.is_run_end_encoded(kind):
        return _largest_value(array.values)
    if types.is_string_view(kind) or types.is_binary_view(kind):
        if not len(array):
            return 0
        # a view has 16 bytes: its length, and where it lies or the value itself
        views = np.frombuffer(array.buffers()[1], dtype=np.int32)[4 * array.offset :: 4]
        return int(views[: len(array)].max())
    if types.is_string(kind) or types.is_binary(kind) or types.is_large_string(kind) or types.is_large_binary(kind):
        return int(pc.max(pc.binary_length(array)).as_py() or 0)
    if types.is_primitive(kind):
        return NUMBER_BYTES
    return max(NUMBER_BYTES, int(array.get_total_buffer_size()))


def size_of(table: pa.Table) -> int:
    """The bytes of a table; what needs none (rows, nulls in lists) counts as one each."""
    size = int(table.nbytes) + int(table.num_rows)
    for column in table.columns:
        for chunk in column.chunks:
            size += _null_count(chunk)
    return size


def _null_count(array: pa.Array) -> int:
    """The values inside an array that take no memory."""
    from pyarrow import types

    kind = array.type
    if hasattr(kind, "storage_type"):
        return _null_count(array.storage)
    if types.is_null(kind) or (types.is_struct(kind) and kind.num_fields == 0):
        return len(array)
    if types.is_struct(kind):
        return sum(_null_count(array.field(index)) for index in range(kind.num_fields))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _null_count(array.values)
    return 0


# --- Parquet: dictionaries of a column ---


def batch_rows(source: pa.NativeFile, metadata: pq.FileMetaData, limit: int, most: int) -> int:
    """Rows that may be read at once, at most `most`, so that no more than `limit` bytes come of the values of dictionaries.

    Args:
        source: the open file; where it stands is changed.
        metadata: of the file.
        limit: bytes that the file may grow to.
        most: rows at most.
    """
    row_bytes = 1
    for group in range(metadata.num_row_groups):
        columns = metadata.row_group(group)
        group_bytes = 0
        for index in range(columns.num_columns):
            group_bytes += _dictionary_size(source, columns.column(index))
        row_bytes = max(row_bytes, group_bytes)
    return max(1, min(most, min(limit, 4 * SLICE_BYTES) // row_bytes))


def _dictionary_size(source: pa.NativeFile, column: pq.ColumnChunkMetaData) -> int:
    """The bytes of the dictionary with which a column begins: no value of it is larger. 0: it has none."""
    if column.physical_type != "BYTE_ARRAY":
        return 0
    start = column.data_page_offset
    if column.dictionary_page_offset:
        start = min(start, column.dictionary_page_offset)
    head = _bytes_at(source, start, 32)
    fields = []
    position = 0
    for _ in range(2):  # kind of the page, and its size once decompressed
        if position >= len(head) or head[position] != INT32_FIELD:  # no writer's: as if all of the column were one value
            return int(column.total_uncompressed_size)
        value, position = _varint(head, position + 1)
        fields.append(value >> 1)  # zigzag, and never negative
    kind, size = fields
    return size if kind == DICTIONARY_PAGE else 0


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """A number of seven bits a byte, and the position after it."""
    value = 0
    shift = 0
    while position < len(content):
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        # the highest bit says that more bytes follow
        if not byte & 0x80:
            break
    return value, position
