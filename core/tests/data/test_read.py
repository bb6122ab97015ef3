import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict

from ftp.data import tables
from ftp.data.read import read
from ftp.data.split_files import left_out
from ftp.errors import UserError

ROWS = [{"text": 'good, "really"\nyes', "label": 1}, {"text": "bad é", "label": 0}, {"text": "so 007", "label": 1}]


def write(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    import csv
    import io

    kind = path.name.split(".")[1]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    if kind == "arrow":
        with pa.ipc.new_file(str(path), pa.Table.from_pylist(rows).schema) as file:
            file.write_table(pa.Table.from_pylist(rows))
        return path
    if kind in ("jsonl", "ndjson"):
        text = "".join(json.dumps(row) + "\n" for row in rows)
    elif kind == "json":
        text = json.dumps(rows, indent=1)
    else:
        out = io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]), delimiter="," if kind == "csv" else "\t")
        writer.writeheader()
        writer.writerows(rows)
        text = out.getvalue()
    data = text.encode()
    pack: dict[str, Callable[[bytes], bytes]] = {".xz": lzma.compress, ".gz": gzip.compress, ".bz2": bz2.compress,
            ".zst": lambda data: pa.compress(data, codec="zstd", asbytes=True)}  # fmt: skip
    path.write_bytes(pack.get(path.suffix, lambda data: data)(data))
    return path


@pytest.mark.parametrize("name", ["csv", "jsonl", "ndjson", "json", "parquet", "arrow", "csv.xz", "jsonl.gz", "jsonl.bz2"])
@pytest.mark.parametrize("streaming", [False, True])
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str, streaming: bool) -> None:
    splits = read(write(tmp_path / f"mine.{name}"), streaming=streaming)
    assert list(splits) == ["train"]
    assert list(splits["train"]) == ROWS


def test_zstd_and_tsv_and_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b'\xef\xbb\xbftext\tlabel\n"odd" start\t1\n"whole ""cell"""\t2.5\n')
    assert list(read(tmp_path / "a.tsv")["train"]) == [
        {"text": '"odd" start', "label": 1.0},
        {"text": 'whole "cell"', "label": 2.5},
    ]
    assert list(read(write(tmp_path / "b.jsonl.zst"))["train"]) == ROWS


def test_text_by_line_and_by_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\n  \ntwo\n")
    assert read(tmp_path / "a.txt")["train"]["text"][:] == ["one", "two"]
    assert read(tmp_path / "a.txt", text_by="document")["train"]["text"][:] == ["one\n\n  \ntwo"]


def test_folder_of_splits_shards_and_what_is_left_out(tmp_path: Path) -> None:
    for name in ("train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl", "val.csv", "dev.csv", "test.csv", "extra.csv"):
        write(tmp_path / name)
    splits = read(tmp_path)
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 6, "validation": 3, "test": 3}
    assert left_out(tmp_path) == ["dev.csv", "extra.csv"]
    assert len(read(tmp_path, splits={"train": "extra"})["train"]) == 3
    with pytest.raises(UserError, match=r"has no 'extr' for the split train.*\n.*did you mean 'extra'"):
        read(tmp_path, splits={"train": "extr"})


def test_files_without_split_names_are_train_together(tmp_path: Path) -> None:
    for name in ("news.jsonl", "law-00.jsonl", "law-01.jsonl", "validation.jsonl"):
        write(tmp_path / name)
    assert {split: len(rows) for split, rows in read(tmp_path).items()} == {"train": 9, "validation": 3}


def test_sub_folders_and_save_to_disk(tmp_path: Path) -> None:
    (tmp_path / "a" / "train").mkdir(parents=True)
    write(tmp_path / "a" / "train" / "part.jsonl")
    assert len(read(tmp_path / "a")["train"]) == 3
    DatasetDict(train=Dataset.from_list(ROWS), dev=Dataset.from_list(ROWS)).save_to_disk(tmp_path / "b")
    assert set(read(tmp_path / "b")) == {"train", "validation"}
    Dataset.from_list(ROWS).save_to_disk(tmp_path / "c")
    assert list(read(tmp_path / "c", streaming=True)["train"]) == ROWS


def test_columns_are_mapped_and_a_missing_one_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [{"sentence": "x", "target": 1, "text": "old"}])
    rows = read(path, columns={"text": "sentence", "label": "target"})["train"]
    assert rows[0] == {"text": "x", "label": 1, "text_original": "old"}
    with pytest.raises(UserError) as caught:
        read(path, columns={"text": "sentense", "label": "nothing"})
    message = str(caught.value)
    assert "no column 'sentense'" in message and "did you mean 'sentence'" in message and "no column 'nothing'" in message
    assert "sentence, target, text" in message


def test_large_sets_are_kept_as_arrow_and_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "IN_MEMORY", 10)
    monkeypatch.setattr("ftp.data.chunks.CHUNK_ROWS", 2)
    # columns and fields that come late, and a null first, make more than one schema
    rows: list[dict[str, Any]] = [
        {"a": None, "m": [{"x": 1}]},
        {"a": None, "m": []},
        {"a": "s", "m": [{"x": 1, "y": "k"}], "b": 1.5},
    ]
    path = write(tmp_path / "a.jsonl", rows)
    first = read(path)["train"]
    assert first.cache_files
    assert list(first) == [
        {"a": None, "m": [{"x": 1}], "b": None},
        {"a": None, "m": [], "b": None},
        {"a": "s", "m": [{"x": 1, "y": "k"}], "b": 1.5},
    ]
    assert read(path)["train"].cache_files == first.cache_files
    kept = Path(first.cache_files[0]["filename"])
    del first
    kept.write_bytes(kept.read_bytes()[:-40])
    assert len(read(path)["train"]) == 3, "a damaged cache is made again"


@pytest.mark.slow
def test_ten_megabytes_in_one_row(tmp_path: Path) -> None:
    for name in ("a.csv", "a.jsonl"):
        path = write(tmp_path / name, [{"text": "x" * 10_000_000, "label": 1}, {"text": "y", "label": 0}])
        assert [len(row["text"]) for row in read(path)["train"]] == [10_000_000, 1]


def refused(path: Path, *words: str, streaming: bool = False) -> None:
    with pytest.raises(UserError) as caught:
        list(read(path, streaming=streaming)["train"])
    for each in (str(path.name), *words):
        assert each in str(caught.value)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"", ["is empty (0 bytes)"]),
        ("a.csv", b"text,label\n", ["has no rows"]),
        ("a.jsonl", b"\n\n", ["has no rows"]),
        ("a.csv", b"text,label\nok,1\nbr\xfcck,0\n", ["not UTF-8", "line 3", "0xfc", "byte offset 18", "iconv -f WINDOWS-1252"]),
        ("a.jsonl", "\ufeff{}".encode("utf-16"), ["not UTF-8", "iconv -f UTF-16"]),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', ["line 2", "not JSON", '{"text":']),
        ("a.jsonl", b'{"text": "a"}\n["b"]\n', ["row 2", "a list, not an object"]),
        ("a.jsonl", b'{"label": 1}\n{"label": "b"}\n', ["line 2", "label is 'b' (str)", "before it is int"]),
        ("a.csv", b"text,label\na,1\nb,1,2\n", ["line 3", "3 cells", "header has 2"]),
        ("a.csv", b'text,label\na,1\n"b,1\n', ["line 3"]),
        ("a.tsv", b"text\tlabel\na\n", ["line 2", "1 cells"]),
        ("a.csv", b"text,text\na,1\n", ["more than once"]),
        ("a.cvs", b"x", ["did you mean '.csv'"]),
        ("a.parquet", b"nonsense", ["not a whole parquet file"]),
        ("a.arrow", b"nonsense", ["not a whole arrow file"]),
        ("a.csv.gz", b"nonsense", ["gzip"]),
        ("a.jsonl.xz", b"nonsense", ["cannot be"]),
    ],
)  # fmt: skip
def test_bad_files_are_told_with_file_and_line(
    tmp_path: Path, name: str, content: bytes, words: list[str], streaming: bool
) -> None:
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, *words, streaming=streaming)


def test_a_cut_archive_is_told(tmp_path: Path) -> None:
    for pack, name in ((gzip.compress, "a.jsonl.gz"), (lzma.compress, "a.jsonl.xz")):
        whole = pack(b"".join(b'{"n": %d, "s": "%d"}\n' % (n, n**5) for n in range(4000)))
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        refused(tmp_path / name, "cut short")


def test_a_type_that_changes_in_a_later_chunk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftp.data.chunks.CHUNK_ROWS", 1)
    (tmp_path / "a.jsonl").write_text('{"label": 1}\n{"label": "b"}\n')
    refused(tmp_path / "a.jsonl", "line 2: label is 'b' (str), but before it is int64")


@pytest.mark.parametrize("late", [1.5, "b", True, [1], {"a": 1}])
def test_a_stream_bends_no_value_to_the_types_of_its_first_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: Any
) -> None:
    monkeypatch.setattr("ftp.data.streamed_rows.PEEK", 3)
    write(tmp_path / "a.jsonl", [*({"label": 1} for _ in range(7)), {"label": None}, {"label": late}])
    refused(tmp_path / "a.jsonl", "label", "line 9", streaming=True)
    write(tmp_path / "b.jsonl", [*({"m": [{"role": "user"}]} for _ in range(4)), {"m": [{"role": "user", "content": "x"}]}])
    assert [row["m"][0] for row in read(tmp_path / "b.jsonl", streaming=True)["train"]][3:] == [
        {"role": "user"}, {"role": "user", "content": "x"}]
    write(tmp_path / "c.jsonl", [*({"a": 1} for _ in range(4)), {"a": 1, "b": 2}])
    refused(tmp_path / "c.jsonl", "line 5", "b has other", streaming=True)


def test_missing_places(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text\na\n")
    refused(tmp_path / "trian.csv", "did you mean 'train.csv'")
    (tmp_path / "void").mkdir()
    refused(tmp_path / "void", "has no data files", "it is empty")
    (tmp_path / "void" / "notes.md").write_text("x")
    refused(tmp_path / "void", "notes.md")


def test_a_hub_set_without_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: Any, **options: Any) -> None:
        raise ConnectionError("Couldn't reach 'org/name' on the Hub (offline)")

    monkeypatch.setattr("datasets.load_dataset", offline)
    with pytest.raises(UserError, match=r"org/name is not on this machine.*(\n.*)*hf download org/name --repo-type dataset"):
        read("org/name:config")


def test_a_hub_set_by_name_and_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load(name: str, config: str | None, **options: Any) -> Any:
        asked.append((name, config, options["revision"]))
        return DatasetDict(train=Dataset.from_list(ROWS), dev=Dataset.from_list(ROWS), other=Dataset.from_list(ROWS))

    monkeypatch.setattr("datasets.load_dataset", load)
    assert set(read("org/name:small", revision="abc")) == {"train", "validation"}
    assert asked == [("org/name", "small", "abc")]
    assert set(read("org/name", splits={"train": "other"})) == {"train", "validation"}


def test_a_word_in_a_name_says_its_split_and_is_told(tmp_path: Path) -> None:
    for folder in "abc":
        (tmp_path / folder).mkdir()
    for name in ("reviews_train.jsonl", "reviews-test.jsonl", "reviews_dev.jsonl"):
        write(tmp_path / "a" / name)
    (tmp_path / "a" / "reviews_dev.jsonl").rename(tmp_path / "a" / "reviews.val.jsonl")
    notes: list[str] = []
    assert list(read(tmp_path / "a", notes=notes)) == ["train", "validation", "test"]
    assert "train is reviews_train.jsonl; validation is reviews.val.jsonl; test is reviews-test.jsonl" in notes[0]
    for name in ("news.jsonl", "news_test.jsonl", "latest.jsonl"):
        write(tmp_path / "b" / name)
    assert {split: len(rows) for split, rows in read(tmp_path / "b").items()} == {"train": 6, "test": 3}
    write(tmp_path / "c" / "my_test.jsonl")
    notes = []
    assert list(read(tmp_path / "c", notes=notes)) == ["train"] and notes == []


def test_loose_files_that_are_train_together_are_told(tmp_path: Path) -> None:
    for name in ("news.jsonl", "law.jsonl"):
        write(tmp_path / name)
    notes: list[str] = []
    read(tmp_path, notes=notes)
    assert notes == [f"{tmp_path}: its files are read as splits by their names: train is law.jsonl, news.jsonl"]
    for name in ("news.jsonl", "law.jsonl"):
        (tmp_path / name).rename(tmp_path / name.replace("news", "train").replace("law", "test"))
    notes = []
    read(tmp_path, notes=notes)
    assert notes == []
