"""What a machine refuses is put in words, whichever library meets it first."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftp.data import encode, read, tables
from ftp.errors import PluginError, UserError
from ftp.host import faults

FULL = Path("/dev/full")
needs_a_full_disk = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def by_safetensors() -> None:
    from safetensors import SafetensorError

    # its own words; it renames over what is there, so that it must never be given a device
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def by_pyarrow() -> None:
    import pyarrow as pa

    table = pa.table({"a": list(range(10_000))})
    with pa.OSFile(str(FULL), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def by_python() -> None:
    with FULL.open("w") as file:
        file.write("x")


def by_json_in_a_plugin() -> None:
    try:
        by_python()
    except OSError as error:
        raise PluginError("plugin 'x' (ftp-x 1) failed in load_data: OSError") from error


@needs_a_full_disk
@pytest.mark.parametrize("write", [by_safetensors, by_pyarrow, by_python, by_json_in_a_plugin])
def test_a_full_disk_is_recognised(write: Callable[[], None]) -> None:
    with pytest.raises(Exception) as seen:  # each library has its own
        write()
    assert faults.number_of(seen.value) == errno.ENOSPC
    problem = faults.in_words(seen.value)
    assert problem is not None and str(problem).startswith("the disk is full")
    with pytest.raises(UserError, match="the disk is full: here could not be written"), faults.disk(Path("here")):
        write()


@pytest.mark.parametrize("error", [
    ValueError("a number is needed"),
    FileNotFoundError(errno.ENOENT, "No such file or directory", "a"),
    UserError("no space left on device"),  # in words already
])
def test_what_is_no_fault_of_the_machine_is_left_alone(error: Exception) -> None:
    assert faults.in_words(error) is None


def test_a_missing_file_that_was_dealt_with_is_not_blamed() -> None:
    error = ValueError("a number is needed")
    error.__context__ = FileNotFoundError(errno.ENOENT, "No such file or directory", "a")
    with pytest.raises(ValueError, match="a number"), faults.disk(Path("here")):
        raise error


@pytest.mark.parametrize(("error", "words"), [
    (PermissionError(errno.EACCES, "Permission denied", "/data/a.csv"), "/data/a.csv: Permission denied"),
    (RuntimeError("Could not determine home directory."), "HOME"),
    (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp', '/var/tmp']"), "TMPDIR"),
    (Exception("IO error: Read-only file system (os error 30)"), "Read-only file system"),
])
def test_other_faults_have_words(error: Exception, words: str) -> None:
    problem = faults.in_words(error)
    assert problem is not None and words in str(problem)


def test_a_folder_that_was_not_written_whole_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with pytest.raises(UserError, match="the disk is full"), faults.whole_folder(folder):
        folder.mkdir()
        (folder / "half").write_text("x")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not folder.exists()


def lengths(rows: Any) -> list[dict[str, Any]]:
    return [{"input_ids": [1] * len(row["text"])} for row in rows]


def test_without_a_cache_that_can_be_written_rows_are_encoded_all_the_same(tmp_path: Path) -> None:
    from datasets import Dataset

    (tmp_path / "file").write_text("in the way")
    messages: list[str] = []
    rows = Dataset.from_list([{"text": "one"}, {"text": "three"}])
    encoded = encode.encode(rows, lengths, "train", key="k", cache_dir=tmp_path / "file" / "cache", tell=messages.append)
    assert encoded["length"][:] == [3, 5]
    assert len(messages) == 1 and "cannot be written" in messages[0] and "--cache-dir" in messages[0]


def test_rows_are_read_without_a_cache_that_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows.csv").write_text("text,label\ngood,1\nbad,0\n")
    monkeypatch.setenv("FTP_CACHE", str(tmp_path / "rows.csv" / "cache"))
    assert read.read(tmp_path / "rows.csv")["train"]["text"][:] == ["good", "bad"]

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("FTP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tables, "IN_MEMORY", 0)
    monkeypatch.setattr(tables, "write", full)
    with pytest.raises(OSError, match="No space left"):  # not here, and not in the folder for temporary files
        read.read(tmp_path / "rows.csv")


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("FTP_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert tables.cache_home() is None
