"""Files of tagged words, as rows with their lines, and those that do not fit."""

import gzip
from pathlib import Path

import pytest

from ftp.data import readers
from ftp.data.read import read
from ftp_testing.read_files import error_of, rows_of


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTP_CACHE", str(tmp_path / "cache"))


CONLL = "-DOCSTART- -X- O\n\n# id 1\nAnna NNP B-PER\nin IN O\nLima NNP B-LOC\n\n\nRain NN O\n"


@pytest.mark.parametrize("text", [
    "1 EU B-ORG\n2 says O\n\n1 Ann B-PER\n",
    "0\tEU\tB-ORG\n1\tsays\tO\n\n0\tAnn\tB-PER\n",
    "# from a page\n1\tEU\tO\tB-ORG\n2\tsays\tO\tO\n\n# another\n1\tAnn\tO\tB-PER\n",
])
def test_numbers_of_words_are_no_words(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.conll").write_text(text)
    rows, notes = rows_of(tmp_path / "a.conll")
    assert rows == [{"tokens": ["EU", "says"], "tags": ["B-ORG", "O"]}, {"tokens": ["Ann"], "tags": ["B-PER"]}]
    assert "the second of its" in notes


def test_words_that_are_numbers_are_words(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("7 CD O\nwon VB O\n\n1 CD O\n")
    assert rows_of(tmp_path / "a.conll")[0] == [{"tokens": ["7", "won"], "tags": ["O", "O"]}, {"tokens": ["1"], "tags": ["O"]}]


@pytest.mark.parametrize("name", ["a.conll", "a.iob", "a.bio", "a.conll.gz"])
def test_words_with_tags_line_by_line(tmp_path: Path, name: str) -> None:
    data = CONLL.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    rows, notes = rows_of(tmp_path / name)
    assert rows == [
        {"tokens": ["Anna", "in", "Lima"], "tags": ["B-PER", "O", "B-LOC"]},
        {"tokens": ["Rain"], "tags": ["O"]},
    ]
    assert "the first of its 3 columns" in notes


def test_text_and_tab_separated_files_that_hold_words_with_tags(tmp_path: Path) -> None:
    want = [{"tokens": ["Anna", "sings"], "tags": ["B-PER", "O"]}, {"tokens": ["So"], "tags": ["O"]}]
    (tmp_path / "a.txt").write_text("Anna B-PER\nsings O\n\nSo O\n")
    (tmp_path / "a.tsv").write_text("Anna\tB-PER\nsings\tO\n\nSo\tO\n")
    (tmp_path / "b.iob").write_text("Anna|B-PER sings|O\nSo|O\n")
    assert all(rows_of(tmp_path / name)[0] == want for name in ("a.txt", "a.tsv", "b.iob"))
    (tmp_path / "c.txt").write_text("Vitamin B\nGroup O\nis fine\n")
    assert [row["text"] for row in rows_of(tmp_path / "c.txt")[0]] == ["Vitamin B", "Group O", "is fine"]
    (tmp_path / "d.tsv").write_text("text\tlabel\nType O\tO\n")
    assert rows_of(tmp_path / "d.tsv")[0] == [{"text": "Type O", "label": "O"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Anna B-PER\nin\n", "line 2: one column ('in')"),
        ("Anna NNP B-PER\nin O\n", "line 2: 2 columns, but the lines before have 3"),
    ],
)
def test_a_line_of_tagged_words_that_does_not_fit_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.conll").write_text(text)
    assert message in error_of(tmp_path / "a.conll")


def test_universal_dependencies(tmp_path: Path) -> None:
    def line(number: str, form: str, upos: str) -> str:
        return "\t".join([number, form, "_", upos, *["_"] * 6]) + "\n"

    (tmp_path / "a.conllu").write_text(
        "# text = vámonos\n"
        + line("1-2", "vámonos", "_")
        + line("1", "vamos", "VERB")
        + line("2", "nos", "PRON")
        + "\n"
    )
    assert rows_of(tmp_path / "a.conllu")[0] == [{"tokens": ["vamos", "nos"], "tags": ["VERB", "PRON"]}]


def test_a_text_that_looks_so_is_one_text_where_a_row_is_a_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Anna B-PER\nsings O\n\nSo O\n")
    assert rows_of(tmp_path / "a.txt", text_by="document")[0] == [{"text": "Anna B-PER\nsings O\n\nSo O"}]


def test_rows_are_streamed_and_numbered_by_the_lines_of_their_first_words(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text(CONLL)
    numbered = list(readers.read_rows(readers.DataFile(tmp_path / "a.conll")))
    assert [line for line, _ in numbered] == [4, 9] and readers.counts_lines(tmp_path / "a.conll")
    assert list(read(tmp_path / "a.conll", streaming=True)["train"]) == [row for _, row in numbered]
