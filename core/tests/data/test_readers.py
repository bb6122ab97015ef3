"""What readers make of files from the field, and of files that are damaged: rows, or a word that names file and line."""

import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import socket
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ftp.data import chunks, tables
from ftp.data.read import read
from ftp.data.readers import Reader
from ftp.data.target_form import shape
from ftp.errors import UserError
from ftp_testing.read_files import error_of, rows_of

ROWS = [{"text": "a warm, dry room", "label": "good"}, {"text": "a cold bed", "label": "bad"}]


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("text;label\na warm, dry room;good\na cold bed;bad\n", "separated by semicolons"),
        ("text\tlabel\na warm, dry room\tgood\na cold bed\tbad\n", "separated by tabs"),
        ("text|label\na warm, dry room|good\na cold bed|bad\n", "separated by bars"),
        ("sep=;\r\ntext;label\r\na warm, dry room;good\r\na cold bed;bad\r\n", "separated by semicolons"),
        ('sep=,\ntext,label\n"a warm, dry room",good\na cold bed,bad\n', ""),
        ('\ufefftext,label\r"a warm, dry room",good\ra cold bed,bad\r', "lines end in CR alone"),
    ],
)
def test_csv_files_as_spreadsheets_write_them(tmp_path: Path, text: str, note: str) -> None:
    (tmp_path / "a.csv").write_bytes(text.encode())
    rows, notes = rows_of(tmp_path / "a.csv")
    assert rows == ROWS and note in notes and bool(note) == bool(notes)


def test_commas_win_where_they_fit_and_a_line_that_differs_is_told_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text;more,label\na;b,good\n")
    rows, notes = rows_of(tmp_path / "a.csv")
    assert rows == [{"text;more": "a;b", "label": "good"}] and "semicolons would fit as well" in notes
    (tmp_path / "b.csv").write_text("sep=;\ntext;label\na;good\nb;bad;c\n")
    assert "line 4: 3 cells" in error_of(tmp_path / "b.csv")


def test_a_reader_reads_in_one_way_alone() -> None:
    with pytest.raises(TypeError, match="'cards' has either read or read_file"):
        Reader("cards", lambda path: False)
    with pytest.raises(TypeError, match="'cards' has either read or read_file"):
        Reader("cards", lambda path: False, lambda path: [], read_file=lambda file: iter(()))


def test_ids_of_many_digits_keep_them_all(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,score\n12345678901234567890123,1\n7,2.5\n")
    assert rows_of(tmp_path / "a.csv")[0] == [
        {"id": "12345678901234567890123", "score": 1.0}, {"id": "7", "score": 2.5}]


@pytest.mark.parametrize(
    "whole",
    [
        {"text": [row["text"] for row in ROWS], "label": [row["label"] for row in ROWS]},
        {"text": {"0": ROWS[0]["text"], "1": ROWS[1]["text"]}, "label": {"0": "good", "1": "bad"}},
        {"0": ROWS[0], "1": ROWS[1]},
        {"columns": ["text", "label"], "index": [0, 1], "data": [list(row.values()) for row in ROWS]},
        {"version": 1, "rows": ROWS},
    ],
)
def test_json_of_columns_of_rows_and_of_a_table(tmp_path: Path, whole: Any) -> None:
    (tmp_path / "a.json").write_text(json.dumps(whole))
    assert rows_of(tmp_path / "a.json")[0] == ROWS


@pytest.mark.parametrize(
    "row",
    [
        {"tokens": ["a", "b"], "tags": ["O", "O"]},
        {"chosen": [{"role": "user", "content": "x"}], "rejected": [{"role": "user", "content": "y"}]},
        {"text": "a", "label": "good"},
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
        {"question": "x", "context": "y", "answers": {"text": ["y"], "answer_start": [0]}},
        {"review": "a", "stars": 5},
    ],
)
def test_json_of_one_row_stays_a_row_and_is_told(tmp_path: Path, row: Any) -> None:
    (tmp_path / "a.json").write_text(json.dumps(row))
    rows, notes = rows_of(tmp_path / "a.json")
    assert rows == [row] and "one object, which is read as one row" in notes


NESTED = [
    ({"data": {"rows": ROWS}}, "its rows are those inside 'data'"),
    ({"status": "ok", "data": {"rows": ROWS, "total": 2}}, "its rows are those of 'rows'; not read: total"),
    ({"title": "reviews", "rows": ROWS}, "its rows are those of 'rows'; not read: title"),
    ([["text", "label"], *(list(row.values()) for row in ROWS)], "the names of the columns: text, label"),
    ({"features": [{"name": "text"}], "rows": [{"row_idx": i, "row": row, "truncated_cells": []} for i, row in
      enumerate(ROWS)], "num_rows_total": 900}, "read as an answer of the hub's viewer, which gives some rows of a set: 2"),
]  # fmt: skip


@pytest.mark.parametrize(("whole", "note"), NESTED)
def test_json_of_rows_in_a_wrapper_is_read_and_told(tmp_path: Path, whole: Any, note: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(whole))
    rows, notes = rows_of(tmp_path / "a.json")
    assert rows == ROWS and note in notes
    if isinstance(whole, dict):  # the same on the only line of a .jsonl file
        (tmp_path / "a.jsonl").write_text(json.dumps(whole))
        assert "one object that holds rows" in error_of(tmp_path / "a.jsonl")


@pytest.mark.parametrize("names", [("id1", "id2"), ("7", "8")])
def test_json_of_rows_by_their_ids_is_read(tmp_path: Path, names: tuple[str, str]) -> None:
    (tmp_path / "a.json").write_text(json.dumps(dict(zip(names, ROWS, strict=True))))
    rows, notes = rows_of(tmp_path / "a.json")
    assert [{"text": row["text"], "label": row["label"]} for row in rows] == ROWS
    if names[0] == "id1":
        assert [row["id"] for row in rows] == ["id1", "id2"]
        assert "2 objects by their ids, which are read as its rows" in notes


def test_json_of_columns_by_ids_is_read(tmp_path: Path) -> None:
    columns = {name: {"x": ROWS[0][name], "y": ROWS[1][name]} for name in ("text", "label")}
    (tmp_path / "a.json").write_text(json.dumps(columns))
    assert rows_of(tmp_path / "a.json")[0] == ROWS


@pytest.mark.parametrize(
    ("whole", "message"),
    [
        ({"a": {"u": 1, "v": 2}, "b": {"u": 3, "v": 4}}, "whether they are rows is not clear: a, b, with the fields u, v"),
        ({"intents": [["hello", "greet"], ["bye", "leave"]], "u": 1}, "is not clear: intents (a list of 2), u (int)"),
        ({"config": {"seed": 1}, "cells": ["a"]}, "is not clear: config (an object of 1 fields), cells (a list of 1)"),
        ({"rows": [{"row_idx": 0, "row": {"text": "a"}, "truncated_cells": ["text"]}]}, "the hub has cut text short"),
        ({"val": [["hello", "greet"]], "oos_val": [["bye", "leave"]]}, "holds several splits: val, oos_val"),
        ({"train": ROWS, "test": ROWS}, "train.json, test.json"),
        ({"train": {"text": ["a"]}, "test": {"text": ["b"]}}, "holds several splits: train, test"),
    ],
)  # fmt: skip
def test_json_that_could_be_read_in_several_ways_is_refused(tmp_path: Path, whole: Any, message: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(whole))
    assert message in error_of(tmp_path / "a.json")


@pytest.mark.parametrize("whole", [{"train": ROWS, "test": ROWS}, {"a": {"u": 1, "v": 2}, "b": {"u": 3, "v": 4}}])
def test_the_command_that_writes_json_anew_makes_files_that_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.json").write_text(json.dumps(whole))
    with pytest.raises(UserError) as caught:
        read("a.json")
    command = caught.value.problems[0].command
    subprocess.run(command.replace("python", sys.executable), shell=True, check=True)
    if "train" in whole:
        assert {split: list(rows) for split, rows in read("a-splits").items()} == whole
    else:
        assert list(read("a-rows.json")["train"]) == list(whole.values())


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": ' + "[" * 100_000 + "]" * 100_000 + "}", "too deep"),
        ('{"text": "x", "n": ' + "7" * 5000 + "}", "a number that is too long"),
        ('{"text": "x", "text": "y"}', "the field 'text' more than once"),
        ('{"text": "\\ud83d"}', "half of a surrogate pair"),
        ('{"\\ud83d": 1}', "is no valid text"),
    ],
)
def test_json_that_no_row_can_hold(tmp_path: Path, name: str, line: str, message: str) -> None:
    lines = ['{"text": "fine"}', line]
    (tmp_path / name).write_text("\n".join(lines) if name == "a.jsonl" else f"[{lines[0]},\n{lines[1]}]")
    error = error_of(tmp_path / name)
    assert message in error and ("line 2" in error or name == "a.json" or "is no valid" in message)


def test_names_with_a_nul_character_are_refused_or_kept_as_json(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"te\0xt": "a"}))
    assert "'te\\x00xt' is no valid text" in error_of(tmp_path / "a.jsonl")
    pq.write_table(pa.table({"\0ext": ["a"]}), tmp_path / "a.parquet")
    assert "holds a NUL character" in error_of(tmp_path / "a.parquet")
    row = {"text": "a", "inner": {"b\0": 1}}
    (tmp_path / "b.jsonl").write_text(json.dumps(row))
    assert rows_of(tmp_path / "b.jsonl")[0] == [row]
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "b.parquet")
    rows, notes = rows_of(tmp_path / "b.parquet")
    assert rows == [{"text": "a"}] and "the column inner is left out" in notes


def test_a_damaged_name_inside_of_a_column_is_told(tmp_path: Path) -> None:
    kind = pa.list_(pa.field("itemitem", pa.string()))
    table = pa.table({"text": ["a"], "words": pa.array([["b"]], kind)})
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    (tmp_path / "a.arrow").write_bytes(sink.getvalue().replace(b"itemitem", b"item\xfftem"))
    rows, notes = rows_of(tmp_path / "a.arrow")
    assert rows == [{"text": "a"}] and "the column words is left out" in notes


def test_nul_bytes_are_no_text(tmp_path: Path) -> None:
    for name, text in (("a.csv", "text,label\na\0,b\n"), ("a.txt", "fine\na\0b\n"), ("a.tsv", "text\nab\n\0\n")):
        (tmp_path / name).write_bytes(text.encode())
        assert "NUL byte" in error_of(tmp_path / name)
    (tmp_path / "wide.csv").write_bytes("text,label\na,b\n".encode("utf-16-le"))
    assert "iconv -f UTF-16LE" in error_of(tmp_path / "wide.csv")


def test_what_is_no_file_is_told_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jsonl")
    assert "is a pipe" in error_of(tmp_path / "a.jsonl")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "b.csv"))
        assert "is a socket" in error_of(tmp_path / "b.csv")
    assert "is a device" in error_of(Path("/dev/null"))
    (tmp_path / "c.csv").mkdir()
    assert "has no data files" in error_of(tmp_path / "c.csv")
    (tmp_path / "d.xls").write_text("x")
    assert "save it as .csv" in error_of(tmp_path / "d.xls")
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path / ("x" * 300 + ".csv"))
    with pytest.raises(UserError, match="cannot be read"):
        read("a\0b.csv")


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress,
    "zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}  # fmt: skip


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_damaged_archive_is_told(tmp_path: Path, ending: str, kind: str) -> None:
    lines = b"".join(b'{"n": %d, "s": "%d"}\n' % (n, n**7) for n in range(3000))
    if kind == "parquet":
        sink = io.BytesIO()
        pq.write_table(pa.table({"s": [str(n**7) for n in range(3000)]}), sink, compression="none")
        lines = sink.getvalue()
    packed = PACK[ending](lines)
    middle = len(packed) // 2
    path = tmp_path / f"a.{kind}.{ending}"
    for damaged in (packed[:middle], packed[:middle] + bytes(64) + packed[middle + 64 :]):
        path.write_bytes(damaged)
        message = error_of(path)
        assert "cannot be decompressed" in message or "damaged" in message


@pytest.mark.slow
@pytest.mark.parametrize("ending", PACK)
@pytest.mark.slow
def test_an_archive_that_grows_beyond_its_bound_ends_with_the_option(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.txt.{ending}"
    path.write_bytes(PACK[ending](b"so it goes on\n" * 300_000))
    assert len(rows_of(path, max_decompressed="5MB")[0]) == 300_000
    path.touch()
    os.utime(path, (1, 1))  # another time of change: not the rows that were kept
    message = error_of(path, max_decompressed="1MB")
    assert "grows to more than 1 MB" in message and "--max-decompressed 4MB" in message
    with pytest.raises(UserError, match="--max-decompressed lots: not a size"):
        read(path, max_decompressed="lots")


def test_parquet_that_grows_beyond_its_bound(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"text": ["x" * 100_000] * 500}), tmp_path / "a.parquet", use_dictionary=False, compression="zstd"
    )
    assert (tmp_path / "a.parquet").stat().st_size < 100_000
    assert "--max-decompressed" in error_of(tmp_path / "a.parquet", max_decompressed="1MB")
    pq.write_table(
        pa.table({"text": ["x" * 100_000] * 500}), tmp_path / "b.parquet"
    )  # one word of a dictionary, 500 times
    assert "--max-decompressed" in error_of(tmp_path / "b.parquet", max_decompressed="1MB")


def arrow_file(table: pa.Table, *, is_stream: bool = False) -> bytes:
    sink = io.BytesIO()
    with (pa.ipc.new_stream if is_stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


@pytest.mark.parametrize("name", ["a.arrow", "a.arrow.xz"])
def test_arrow_with_offsets_beyond_its_text_is_refused_before_use(tmp_path: Path, name: str) -> None:
    whole = arrow_file(pa.table({"text": ["one", "two", "three"], "label": [1, 0, 1]}))
    offsets = b"".join(number.to_bytes(4, "little") for number in (0, 3, 6, 11))
    assert whole.count(offsets) == 1
    broken = whole.replace(offsets, offsets[:8] + (2**30).to_bytes(4, "little") + offsets[12:])
    (tmp_path / name).write_bytes(lzma.compress(broken) if name.endswith("xz") else broken)
    assert "is not a whole arrow file" in error_of(tmp_path / name)
    broken = whole.replace(b"onetwothree", b"on\xfftwothree")
    (tmp_path / name).write_bytes(lzma.compress(broken) if name.endswith("xz") else broken)
    assert "is not a whole arrow file" in error_of(tmp_path / name)
    broken = whole.replace(b"text", b"te\xfft")
    (tmp_path / name).write_bytes(lzma.compress(broken) if name.endswith("xz") else broken)
    assert "is not a whole arrow file" in error_of(tmp_path / name)


def test_a_saved_set_that_is_damaged_is_refused_before_use(tmp_path: Path) -> None:
    from datasets import Dataset

    Dataset.from_dict({"text": ["one", "two", "three"]}).save_to_disk(tmp_path / "saved")
    [file] = (tmp_path / "saved").glob("*.arrow")
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"onetwothree", b"on\xfftwothree"))
    with pytest.raises(UserError, match="saved is damaged"):
        read(tmp_path / "saved")


def test_types_that_rows_hold_under_another_name(tmp_path: Path) -> None:
    import uuid

    number = uuid.UUID(int=7)
    table = pa.table({
        "text": pa.array(["a", "b"], pa.string_view()),
        "label": pa.array(["x", "y"]).dictionary_encode(),
        "id": pa.array([number.bytes, None], pa.uuid()),
        "parts": pa.array([["u"], []], pa.large_list(pa.large_string())),
        "price": pa.array([1, 2], pa.int32()).cast(pa.decimal128(12, 2)),
        "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}", "[]"])),
    })  # fmt: skip
    (tmp_path / "a.arrow").write_bytes(arrow_file(table))
    rows, notes = rows_of(tmp_path / "a.arrow")
    assert rows[0]["text"] == "a" and rows[1]["label"] == "y" and rows[0]["id"] == str(number) and rows[1]["id"] is None
    assert rows[0]["parts"] == ["u"] and rows[0]["price"] == 1 and rows[1]["json"] == "[]" and not notes


@pytest.mark.parametrize("streaming", [False, True])
def test_a_column_that_rows_cannot_hold_is_left_out_and_told_unless_it_is_read(tmp_path: Path, streaming: bool) -> None:
    table = pa.table(
        {
            "text": ["a", "b"],
            "label": ["x", "y"],
            "counts": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    rows, notes = rows_of(tmp_path / "a.parquet", streaming=streaming)
    assert rows == [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
    assert "the column counts is left out" in notes and "map<string" in notes
    assert "counts has the type map" in error_of(
        tmp_path / "a.parquet", columns={"label": "counts"}, streaming=streaming
    )


def test_doubled_columns_are_named(tmp_path: Path) -> None:
    pq.write_table(pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), tmp_path / "a.parquet")
    assert "the columns text are there more than once" in error_of(tmp_path / "a.parquet")


MIXED = [
    {"text": "a", "label": "x", "id": 1},
    {"text": "b", "label": "y", "id": "two"},
    {"text": "c", "label": "x", "id": 2**80},
]


@pytest.mark.parametrize("streaming", [False, True])
def test_a_mixed_column_that_nobody_reads_is_left_out_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streaming: bool
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in MIXED))
    rows, notes = rows_of(path, streaming=streaming)
    assert rows == [{"text": row["text"], "label": row["label"]} for row in MIXED]
    assert "the column id is left out" in notes and "line 2: id is 'two' (str), but before it is int" in notes
    assert "line 2: id is 'two'" in error_of(path, columns={"label": "id"}, streaming=streaming)
    if not streaming:  # the type changes between chunks, and again what was kept is told
        monkeypatch.setattr(chunks, "CHUNK_ROWS", 1)
        monkeypatch.setattr(tables, "IN_MEMORY", 1)
        path.write_text("".join(json.dumps(row) + "\n" for row in MIXED[:2]))
        for _ in range(2):
            rows, notes = rows_of(path)
            assert (
                rows == [{"text": row["text"], "label": row["label"]} for row in MIXED[:2]]
                and "the column id is left out" in notes
            )


def test_a_mixed_column_that_the_form_reads_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "label": "x"}\n{"text": 5, "label": "y"}\n')
    notes: list[str] = []
    splits = read(path, notes=notes)
    with pytest.raises(UserError, match=r"line 2: text is 5 \(int\), but before it is str"):
        shape(splits, "labelled")


def test_zlib_faults_inside_gzip_are_told(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b'{"text": "x"}\n' * 1000, mtime=0))
    packed[20] ^= 0xFF
    (tmp_path / "a.jsonl.gz").write_bytes(bytes(packed))
    with pytest.raises((zlib.error, EOFError, OSError)):
        gzip.decompress(bytes(packed))
    assert "cannot be decompressed" in error_of(tmp_path / "a.jsonl.gz")


def test_a_table_without_any_column_that_rows_hold_is_refused(tmp_path: Path) -> None:
    maps = pa.array([[("role", "user")]] * 3, pa.map_(pa.string(), pa.string()))
    pq.write_table(pa.table({"messages": maps}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="the column messages has the type map"):
        read(tmp_path / "a.parquet")


def test_another_separator_that_fits_is_told_and_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text, in words;score\n" + "".join(f"a{n};{n},5\n" for n in range(9)))
    notes: list[str] = []
    assert read(path, notes=notes)["train"].column_names == ["text", "in words;score"]
    assert "semicolons would fit as well, and are taken where its first line is sep=;" in notes[0]
    path.write_text("sep=;\n" + path.read_text())
    assert read(path)["train"][1] == {"text, in words": "a1", "score": "1,5"}


def test_a_tsv_of_a_spreadsheet_program_keeps_tabs_and_line_breaks_in_quotes(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('text\tlabel\n"one\ttab"\tgood\n"two\nlines and ""quotes"""\tbad\nplain\tgood\n')
    notes: list[str] = []
    rows = read(path, notes=notes)["train"]
    assert rows["text"][:] == ["one\ttab", 'two\nlines and "quotes"', "plain"] and "quoted cells" in notes[0]
    path.write_text('text\tlabel\n"an open quote\tgood\nits "end"\tbad\n')
    assert read(path)["train"]["text"][:] == ['"an open quote', 'its "end"']


def test_json_objects_one_after_another_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{\n "text": "a"\n}\n{"text": "b"} {"text": "c"}{"text": "d"}\n')
    assert read(path)["train"]["text"][:] == ["a", "b", "c", "d"]
    path.write_text('{"text": "a"}\n{"text": "b"\n')
    with pytest.raises(UserError, match=r"a.json, line 3: not JSON(.|\n)*it is near"):
        read(path)


@pytest.mark.parametrize("content, message", [
    ('{"text": "a"},\n{"text": "b"}\n', "leave the commas"),
    ('{"text": "a"}{"text": "b"}\n', "let its name end in .json"),
    ('[{"text": "a"}, {"text": "b"}]\n', "is one list of objects.*\n.*let its name end in .json"),
    ('[\n{"text": "a"}\n]\n', "if the file is one list, let its name end in .json"),
    ('{\n"text": "a"\n}\n', "if objects go on over lines, let its name end in .json"),
    ("{'text': 'a'}\n", "double quotes"),
])  # fmt: skip
def test_a_line_that_is_no_object_is_told_with_its_remedy(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        read(path)


def test_an_archive_of_files_is_told_with_the_command_that_unpacks_it(tmp_path: Path) -> None:
    folder = tmp_path / "my data"
    folder.mkdir()
    with zipfile.ZipFile(folder / "a.csv.zip", "w") as archive:
        archive.writestr("train.csv", "text,label\na,b\nc,d\n")
    with pytest.raises(UserError) as caught:
        read(folder / "a.csv.zip")
    (problem,) = caught.value.problems
    if shutil.which("unzip"):
        subprocess.run(problem.command, shell=True, check=True, stdout=subprocess.DEVNULL)
        assert len(read(folder / "a")["train"]) == 2
    assert problem.command == f"unzip '{folder}/a.csv.zip' -d '{folder}/a'"


def test_the_command_that_converts_a_file_works_where_its_path_has_blanks(tmp_path: Path) -> None:
    path = tmp_path / "my file.csv"
    path.write_bytes("text,label\nschön,a\n".encode("cp1252"))
    with pytest.raises(UserError) as caught:
        read(path)
    subprocess.run(caught.value.problems[0].command, shell=True, check=True)
    assert read(tmp_path / "my file-utf8.csv")["train"]["text"][:] == ["schön"]
