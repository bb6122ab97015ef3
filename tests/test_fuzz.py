"""One file of each format, damaged many times: every outcome is rows or a word, never a traceback or a dead process.

A file is read in a process of its own, which may die; `FTP_FUZZ=20000` damages each file that often, at random.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import select
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("FTP_FUZZ", "0"))
OFTEN = 1000  # times that the file of a format is damaged
SELDOM = 150  # and that of a format inside another
SLOW = 60.0  # seconds in which a small file must be read
STREAMED = 11  # every so many files are read as a stream, which is slow
SHAPED = 20  # every so many files are brought into their form, which is slow

TABLE = pa.table({
    "text": [f"a warm room number {number}" for number in range(48)],
    "label": ["good", "bad", "fair"] * 16,
    "id": list(range(48)),
    "parts": [[{"role": "user", "content": str(number)}] for number in range(48)],
    "stars": pa.array([1.5, None, 2.5] * 16),
})  # fmt: skip
FLAT = TABLE.select(["text", "label", "id", "stars"])
SPANS = [{"text": "Anna lives in Lima", "label": [[0, 4, "PER"], [14, 18, "LOC"]]}] * 6
STUDIO = {"id": 1, "data": {"text": "Anna lives in Lima"}, "annotations": [{"result": [
    {"type": "labels", "value": {"start": 0, "end": 4, "text": "Anna", "labels": ["PER"]}}]}]}  # fmt: skip
PRODIGY = {"text": "Anna sings", "answer": "accept", "tokens": [{"text": "Anna", "start": 0, "end": 4, "id": 0},
           {"text": "sings", "start": 5, "end": 10, "id": 1}], "spans": [{"start": 0, "end": 4, "label": "PER"}]}  # fmt: skip
ARGILLA = {"fields": {"text": "fine"}, "responses": {"label": [{"value": "good", "user_id": "u"}]}, "suggestions": {}}
SQUAD = {"data": [{"title": "t", "paragraphs": [{"context": "In 1820.", "qas": [
    {"id": "a", "question": "When?", "answers": [{"text": "1820", "answer_start": 3}]}]}] * 3}]}  # fmt: skip


def lines_of(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def csv_of(separator: str) -> bytes:
    lines = [
        ["text", "label", "id"],
        *([f'"room, {number}"', "good" if number % 2 else "bad", str(number)] for number in range(12)),
    ]
    return "\n".join(separator.join(line) for line in lines).encode()


def arrow_of(kind: Callable[..., Any]) -> bytes:
    sink = io.BytesIO()
    with kind(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return sink.getvalue()


def parquet_of(compression: str) -> bytes:
    sink = io.BytesIO()
    pq.write_table(TABLE, sink, compression=compression)
    return sink.getvalue()


SHEET = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>' + b"".join(
    b'<row r="%d"><c r="A%d" t="inlineStr"><is><t>a room %d</t></is></c><c r="B%d"><v>%d</v></c></row>' % (n, n, n, n, n)
    for n in range(1, 9)) + b"</sheetData></worksheet>"  # fmt: skip


def zip_of(sheet: bytes) -> bytes:
    """A spreadsheet around the XML of its only sheet."""
    kinds = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    types = '<Default Extension="xml" ContentType="application/xml"/>'
    sheets = '<sheets><sheet name="A" sheetId="1" r:id="r1"/></sheets>'

    def links(kind: str, target: str) -> str:
        link = f'<Relationship Id="r1" Type="{kinds}/{kind}" Target="{target}"/>'
        return f'<Relationships xmlns="{package}/relationships">{link}</Relationships>'

    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types">{types}</Types>',
        "_rels/.rels": links("officeDocument", "xl/workbook.xml"),
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{kinds}">{sheets}</workbook>',
        "xl/_rels/workbook.xml.rels": links("worksheet", "worksheets/sheet1.xml"),
    }
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
        archive.writestr("xl/worksheets/sheet1.xml", sheet)
    return sink.getvalue()


def zstd_of(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


def as_it_is(data: bytes) -> bytes:
    return data


@dataclass(frozen=True)
class Format:
    """A whole file: what is damaged, and what is put around it afterwards."""

    name: str
    content: bytes
    pack: Callable[[bytes], bytes] = as_it_is
    times: int = OFTEN


CONLL = b"-DOCSTART- -X- O\n\nAnna NNP B-PER\nsings VB O\n\nLima NNP B-LOC\nsleeps VB O\n"
UD = b"# text = a\n" + b"".join(b"%d\tword\t_\tNOUN\t_\t_\t_\t_\t_\t_\n" % n for n in range(1, 6)) + b"\n"

FORMATS = [
    Format("a.csv", csv_of(",")),
    Format("a.tsv", csv_of("\t")),
    Format("a.jsonl", lines_of(TABLE.to_pylist())),
    Format("a.json", json.dumps(TABLE.to_pylist()).encode()),
    Format("a.txt", b"one line\n\nand another\n" * 5),
    Format("a.conll", CONLL),
    Format("a.conllu", UD),
    Format("a.xlsx", zip_of(SHEET)),
    Format("a.parquet", parquet_of("snappy")),
    Format("a.arrow", arrow_of(pa.ipc.new_file)),
    Format("stream.arrow", arrow_of(pa.ipc.new_stream)),
    Format("semicolons.csv", csv_of(";"), times=SELDOM),
    Format("columns.json", json.dumps(FLAT.to_pydict()).encode(), times=SELDOM),
    Format("sheet.xlsx", SHEET, zip_of, SELDOM),
    Format("plain.parquet", parquet_of("none"), times=SELDOM),
    Format("outer.csv.gz", gzip.compress(csv_of(","), mtime=0), times=SELDOM),
    Format("outer.jsonl.xz", lzma.compress(lines_of(FLAT.to_pylist())), times=SELDOM),
    Format("outer.txt.bz2", bz2.compress(b"one line\n" * 40), times=SELDOM),
    Format("outer.arrow.zst", zstd_of(arrow_of(pa.ipc.new_file)), times=SELDOM),
    Format("inner.arrow.zst", arrow_of(pa.ipc.new_file), zstd_of, SELDOM),
    Format("inner.parquet.gz", parquet_of("zstd"), gzip.compress, SELDOM),
    Format("inner.jsonl.xz", lines_of(TABLE.to_pylist()), lzma.compress, SELDOM),
    Format("doccano.jsonl", lines_of(SPANS), times=SELDOM),
    Format("studio.json", json.dumps([STUDIO] * 4).encode(), times=SELDOM),
    Format("prodigy.jsonl", lines_of([PRODIGY] * 4), times=SELDOM),
    Format("argilla.jsonl", lines_of([ARGILLA] * 4), times=SELDOM),
    Format("squad.json", json.dumps(SQUAD).encode(), times=SELDOM),
]

Damage = Callable[[bytes], bytes]
# a place in a file, as a share of its length; hypothesis likes small numbers, which are spread over the file
SHARE = st.integers(0, 2**16 - 1).map(lambda number: number * 40503 + 11 & 2**16 - 1)
RUN = st.integers(1, 64)  # bytes
INSERTED = st.sampled_from([
    b"\0", b'"', b"'", b"[", b"]", b"{", b"}", b",", b";", b"\t", b"\n", b"\r", b"\\", b"\xff", b"\xef\xbb\xbf", b"\\ud800",
    b"null", b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"9" * 30, b"[" * 5000, b'{"a":' * 500, b"\xed\xa0\x80", b"sep=;\n",
])  # fmt: skip


def offset(share: int, data: bytes) -> int:
    return share * len(data) >> 16


def flip(share: int, bit: int) -> Damage:
    def change(data: bytes) -> bytes:
        if not data:
            return data
        index = offset(share, data)
        return data[:index] + bytes([data[index] ^ 1 << bit]) + data[index + 1 :]

    return change


def cut(share: int) -> Damage:
    return lambda data: data[: offset(share, data)]


def take_out(share: int, count: int) -> Damage:
    return lambda data: data[: offset(share, data)] + data[offset(share, data) + count :]


def double(share: int, count: int) -> Damage:
    return lambda data: data[: offset(share, data) + count] + data[offset(share, data) :]


def swap(first: int, second: int, count: int) -> Damage:
    def change(data: bytes) -> bytes:
        a, b = sorted((offset(first, data), offset(second, data)))
        if b < a + count:  # they overlap
            return data
        return data[:a] + data[b : b + count] + data[a + count : b] + data[a : a + count] + data[b + count :]

    return change


def insert(share: int, content: bytes) -> Damage:
    return lambda data: data[: offset(share, data)] + content + data[offset(share, data) :]


DAMAGES = st.lists(
    st.one_of(
        st.builds(flip, SHARE, st.integers(0, 7)),
        st.builds(cut, SHARE),
        st.builds(take_out, SHARE, RUN),
        st.builds(double, SHARE, RUN),
        st.builds(swap, SHARE, SHARE, RUN),
        st.builds(insert, SHARE, INSERTED),
    ),
    min_size=1,
    max_size=2,
)


class Worker:
    """The process that reads; it is started anew where a file ended it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        self.start()

    def start(self) -> None:
        script = Path(__file__).with_name("fuzz_worker.py")
        environment = {
            **os.environ,
            "FTP_CACHE": str(self.folder / "cache"),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        self.process = subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, env=environment, text=True, bufsize=1)  # fmt: skip

    def read(self, name: str, content: bytes) -> tuple[str, str]:
        path = self.folder / name
        path.write_bytes(content)
        self.count += 1
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps([str(path), self.count % STREAMED == 0, self.count % SHAPED == 0]) + "\n")
        ready, _, _ = select.select([self.process.stdout], [], [], SLOW)
        answer = self.process.stdout.readline() if ready else ""
        if answer:
            kind, text = json.loads(answer)
            return kind, text
        self.stop()
        status = self.process.returncode
        self.start()
        return "fault", f"the process ended with status {status}" if ready else f"no answer in {SLOW:.0f} s"

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    started = Worker(tmp_path_factory.mktemp("fuzz"))
    yield started
    started.stop()


def test_whole_files_are_read_and_a_dead_process_is_a_fault(worker: Worker) -> None:
    for form in FORMATS:
        assert worker.read(form.name, form.pack(form.content)) == ("rows", "")
    worker.process.kill()
    worker.process.wait()
    with pytest.raises(BrokenPipeError):
        worker.read("a.txt", b"so")
    worker.start()


def test_a_damaged_description_of_a_parquet_column_is_a_word(worker: Worker) -> None:
    content = flip(33202, 0)(parquet_of("snappy"))  # in the statistics of a column
    kind, text = worker.read("a.parquet", content)
    assert kind == "word", text


@pytest.mark.parametrize("form", FORMATS, ids=[form.name for form in FORMATS])
def test_a_damaged_file_gives_rows_or_a_word(worker: Worker, form: Format) -> None:
    @settings(
        max_examples=EXAMPLES or form.times,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(DAMAGES)
    def check(damages: list[Damage]) -> None:
        content = form.content
        for damage in damages:
            content = damage(content)
        kind, text = worker.read(form.name, form.pack(content))
        assert kind in ("rows", "word"), text

    check()
