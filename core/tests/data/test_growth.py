"""A small .arrow or .parquet file that would fill memory is refused before it does; whole ones are read as they are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from ftp.data import read as reading
from ftp.data.readers import growth

LIMIT = "1MB"
BOUND = 24_000_000  # bytes that may be allocated while files are refused


def write_arrow(path: Path, table: pa.Table | pa.RecordBatch, is_stream: bool = False, **options: Any) -> Path:
    new = pa.ipc.new_stream if is_stream else pa.ipc.new_file
    with new(str(path), table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write(table)
    return path


def dictionary(value: str, rows: int) -> pa.Table:
    """A column that names one value in each row."""
    indices = pa.array([0] * rows, pa.int16())
    return pa.table({"text": pa.DictionaryArray.from_arrays(indices, pa.array([value]))})


def runs(value: str, rows: int) -> pa.Table:
    """A column of one run of equal values."""
    return pa.table({"text": pa.RunEndEncodedArray.from_arrays(pa.array([rows], pa.int32()), pa.array([value]))})


def views(value: str, rows: int) -> pa.Table:
    """A column of views that all show one value."""
    column = pa.array([value], pa.string_view())
    buffers = column.buffers()
    views_of_value = pa.py_buffer(buffers[1].to_pybytes()[:16] * rows)
    return pa.table({"text": pa.Array.from_buffers(pa.string_view(), rows, [None, views_of_value, *buffers[2:]])})


LONG = pa.table({"text": ["a" * 60_000_000]})


BOMBS = {
    "zstd": (LONG, {"compression": "zstd"}),
    "lz4": (LONG, {"compression": "lz4"}),
    "stream": (LONG, {"compression": "zstd", "is_stream": True}),
    "legacy": (LONG, {"compression": "zstd", "is_stream": True, "use_legacy_format": True}),
    "compressed dictionary": (dictionary("a" * 60_000_000, 1), {"compression": "zstd"}),
    "dictionary": (dictionary("a" * 100_000, 1000), {}),
    "views": (views("a" * 100_000, 1000), {}),
    "runs": (runs("a" * 100, 1_000_000), {}),
    "nulls": (pa.record_batch([pa.nulls(100_000_000)], names=["text"]), {}),
}
READ = """
import json, sys
import pyarrow as pa
from ftp.data import read
from ftp.errors import UserError

for path in sys.argv[2:]:
    message = ""
    try:
        read.read(path, max_decompressed=sys.argv[1])
    except UserError as error:
        message = str(error)
    print(json.dumps([path, message, pa.default_memory_pool().max_memory()]))
"""


def test_a_file_that_grows_is_refused_before_it_does(tmp_path: Path) -> None:
    """In a process of its own, where nothing else has allocated."""
    paths = []
    for name, (table, options) in BOMBS.items():
        paths.append(write_arrow(tmp_path / f"{name}.arrow", table, **options))
    paths.append(tmp_path / "dictionary.parquet")
    pq.write_table(pa.table({"text": ["a" * 500_000] * 400}), paths[-1], dictionary_pagesize_limit=1 << 30)
    assert all(path.stat().st_size < 1_000_000 for path in paths)
    Dataset.from_dict({"text": ["some text"]}).save_to_disk(str(tmp_path / "set"))
    (tables_file,) = (tmp_path / "set").glob("*.arrow")
    write_arrow(tables_file, LONG, is_stream=True, compression="zstd")
    paths.append(tmp_path / "set")

    done = subprocess.run([sys.executable, "-c", READ, LIMIT, *map(str, paths)], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-2000:]
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [path for path, _, _ in results] == [str(path) for path in paths]
    for path, message, allocated in results:
        assert "--max-decompressed" in message and allocated < BOUND, (path, message, allocated)


@pytest.mark.parametrize("make", [dictionary, runs, views])
def test_rows_that_are_read_in_slices_are_all_there(tmp_path, monkeypatch, make):
    monkeypatch.setattr(growth, "SLICE_BYTES", 1000)
    path = write_arrow(tmp_path / "whole.arrow", make("some text that is no short one", 501))
    assert list(reading.read(path)["train"]["text"]) == ["some text that is no short one"] * 501


@pytest.mark.parametrize("options", [{}, {"is_stream": True}, {"is_stream": True, "use_legacy_format": True}])
@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_the_size_is_that_of_the_buffers(tmp_path, options, compression):
    letters = pa.array(["a", "b"]).dictionary_encode()
    table = pa.table({"text": ["some text"] * 4000, "number": range(4000), "letter": letters.take(pa.array([0, 1] * 2000))})
    path = write_arrow(tmp_path / "a.arrow", table, compression=compression, **options)
    with pa.OSFile(str(path)) as source:
        size = growth.decompressed_size(source)
    # buffers are padded, and those that do not shrink are kept as they are
    assert table.nbytes <= size < table.nbytes + 4096
    plain = write_arrow(tmp_path / "b.arrow", table, **options)
    with pa.OSFile(str(plain)) as source:
        assert growth.decompressed_size(source) == 0


def test_a_parquet_file_is_read_in_as_many_rows_as_its_dictionary_allows(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a" * 1000, "b" * 500] * 50, "number": range(100)}), path)
    with pa.OSFile(str(path)) as source:
        metadata = pq.ParquetFile(str(path)).metadata
        # a dictionary of 1508 bytes: two values, each after its length
        assert growth.batch_rows(source, metadata, limit=15080, most=100) == 10
        assert growth.batch_rows(source, metadata, limit=10, most=100) == 1
        assert growth.batch_rows(source, metadata, limit=10**9, most=100) == 100


def test_a_saved_data_set_is_read(tmp_path):
    Dataset.from_dict({"text": ["some text"]}).save_to_disk(str(tmp_path / "set"))
    assert list(reading.read(tmp_path / "set")["train"]["text"]) == ["some text"]
