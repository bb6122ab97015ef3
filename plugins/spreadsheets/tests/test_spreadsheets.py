"""Spreadsheets as rows, and those that are damaged or made to fill memory."""

import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ftp.data.read import read
from ftp_testing.read_files import error_of, rows_of


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTP_CACHE", str(tmp_path / "cache"))


def spreadsheet(path: Path, sheets: dict[str, list[list[Any]]]) -> Path:
    """An .xlsx file with cells as text, numbers or true/false, written by hand: no library is needed for it."""

    def cell(reference: str, value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, str):
            return f'<c r="{reference}" t="inlineStr"><is><t>{value}</t></is></c>'
        return f'<c r="{reference}"><v>{value}</v></c>'

    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    kinds = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"

    def link(number: int, kind: str, target: str) -> str:
        return f'<Relationship Id="r{number}" Type="{kinds}/{kind}" Target="{target}"/>'

    def links(content: str) -> str:
        return f'<Relationships xmlns="{package}/relationships">{content}</Relationships>'

    numbers = range(1, len(sheets) + 1)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        types = (
            f'<Types xmlns="{package}/content-types"><Default Extension="xml" ContentType="application/xml"/></Types>'
        )
        archive.writestr("[Content_Types].xml", types)
        archive.writestr("_rels/.rels", links(link(1, "officeDocument", "xl/workbook.xml")))
        names = "".join(
            f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"/>' for n, name in zip(numbers, sheets, strict=True)
        )
        archive.writestr("xl/workbook.xml", f'<workbook {main} xmlns:r="{kinds}"><sheets>{names}</sheets></workbook>')
        targets = "".join(link(number, "worksheet", f"worksheets/sheet{number}.xml") for number in numbers)
        archive.writestr("xl/_rels/workbook.xml.rels", links(targets))
        for number, rows in zip(numbers, sheets.values(), strict=True):
            lines = ""
            for row, values in enumerate(rows, 1):
                cells = "".join(cell(f"{chr(65 + column)}{row}", value) for column, value in enumerate(values))
                lines += f'<row r="{row}">{cells}</row>'
            sheet = f"<worksheet {main}><sheetData>{lines}</sheetData></worksheet>"
            archive.writestr(f"xl/worksheets/sheet{number}.xml", sheet)
    return path


def test_spreadsheets(tmp_path: Path) -> None:
    path = spreadsheet(tmp_path / "a.xlsx", {
        "Notes": [],
        "Rows": [["text", "label", "stars", "code"], ["a warm room", "good", 5, 7], [], ["a cold bed", "bad", None, "x7"]],
        "Other": [["z"]],
    })  # fmt: skip
    rows, notes = rows_of(path)
    assert rows == [{"text": "a warm room", "label": "good", "stars": 5, "code": "7"},
                    {"text": "a cold bed", "label": "bad", "stars": None, "code": "x7"}]  # fmt: skip
    assert "the sheet 'Rows' is read; not: Notes, Other" in notes and "the column code holds numbers and text" in notes
    assert "--max-decompressed" in error_of(
        spreadsheet(tmp_path / "b.xlsx", {"A": [["text"], ["x" * 9000]]}), max_decompressed="1KB"
    )
    spreadsheet(path, {"A": [["text"], ["x"]]})
    far = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(far)) as archive, zipfile.ZipFile(tmp_path / "far.xlsx", "w") as target:
        for name in archive.namelist():
            target.writestr(name, archive.read(name).replace(b'r="A2"', b'r="XFD1048576"'))
    assert "its cells span 1048576 rows" in error_of(tmp_path / "far.xlsx")
    path.write_bytes(far[: len(far) // 2])
    assert "is not a whole spreadsheet" in error_of(path)
    assert "a column without a name" in error_of(spreadsheet(tmp_path / "c.xlsx", {"A": [["text"], ["x", "y"]]}))


@pytest.mark.parametrize("reference", ['r="B%s"' % ("9" * 5000), 'r="B99999999"', "r='zzz9999999'", 'r = "ABCDE1"'])
def test_a_spreadsheet_with_a_cell_beyond_all_sheets_is_refused(tmp_path: Path, reference: str) -> None:
    path = spreadsheet(tmp_path / "a.xlsx", {"A": [["text", "n"], ["a", 1]]})
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text.replace('r="B2"', reference))
    assert "delete the far cells" in error_of(path) or "where no sheet has one" in error_of(path)


def test_a_spreadsheet_may_be_compressed_and_is_a_split_by_its_name(tmp_path: Path) -> None:
    whole = spreadsheet(tmp_path / "whole.xlsx", {"A": [["text", "label"], ["a warm room", "good"]]}).read_bytes()
    (tmp_path / "whole.xlsx").unlink()
    (tmp_path / "reviews_train.XLSX.gz").write_bytes(gzip.compress(whole))
    (tmp_path / "reviews_test.xlsx").write_bytes(whole)
    assert {split: list(rows) for split, rows in read(tmp_path).items()} == {
        "train": [{"text": "a warm room", "label": "good"}], "test": [{"text": "a warm room", "label": "good"}]}  # fmt: skip
    assert list(read(tmp_path / "reviews_test.xlsx", streaming=True)["train"]) == [{"text": "a warm room", "label": "good"}]
