"""Files without some of their rows, in the format and under the name they came in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ftp import UserError
from ftp.data import readers
from ftp.host.faults import disk
from ftp.host.quiet import without_progress_bars
from ftp_leakage.clean import Removed, kept_rows

if TYPE_CHECKING:
    from datasets import Dataset


def require_new(folder: Path) -> None:
    """Check that nothing would be overwritten.

    Raises:
        UserError: the folder has files in it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"--out {folder}: there are files in it already",
            "name a new folder; nothing is overwritten",
        )


def write_clean(
    paths: Mapping[str, Sequence[Path]],
    splits: Mapping[str, Dataset],
    removed: Removed,
    folder: Path,
    excerpt: Callable[[str, int], str],
    max_decompressed: str | None = None,
) -> list[Path]:
    """Write each split without the rows that go, in the format and under the name it came in (one that is
    not lines and that another package reads, such as a spreadsheet, as .jsonl), and `removed.jsonl`; gives the files.

    Args:
        paths: the files of each split, in order; a split without files is written as Parquet.
        excerpt: the shortened text of a row.

    Raises:
        UserError: the folder exists with files in it.
    """
    require_new(folder)
    limit = readers.parse_size(max_decompressed) if max_decompressed else None
    with disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for split, rows in splits.items():
        if not paths.get(split):
            target = folder / f"{split}.parquet"
            with without_progress_bars():
                rows.select(kept_rows(rows, removed[split])).to_parquet(str(target))
            written.append(target)
            continue
        first_row = 0  # of the file, among the rows of the split
        for path in paths[split]:
            target = _target(path, split, folder, written)
            file = readers.DataFile(path, max_decompressed=limit)
            gone = {row - first_row for row in removed[split] if row >= first_row}
            first_row += _write_without(file, target, gone)
            written.append(target)
    log = folder / "removed.jsonl"
    _write_removed(log, removed, excerpt)
    return [*written, log]


def _target(path: Path, split: str, folder: Path, written: Sequence[Path]) -> Path:
    """The file that a file is written as."""
    name = f"{readers.stem_of(path)}.jsonl" if _becomes_jsonl(path) else path.name
    target = folder / name
    return folder / f"{split}-{name}" if target in written else target


def _becomes_jsonl(path: Path) -> bool:
    """Whether the rows of a file are written as .jsonl: nothing here writes its own format, and it has no lines to copy."""
    return readers.reader_of(path) is not None and not readers.counts_lines(path)


def _write_removed(log: Path, removed: Removed, excerpt: Callable[[str, int], str]) -> None:
    """Each row taken out, and why, a line."""
    with log.open("w", encoding="utf-8") as file:
        for split, findings in removed.items():
            for row, finding in sorted(findings.items()):
                line = {
                    "split": split,
                    "row": row,
                    **finding.as_dict(),
                    "text": excerpt(split, row),
                }
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _write_without(file: readers.DataFile, target: Path, gone: set[int]) -> int:
    """Write a file without some of its rows; gives the number of rows it had."""
    file_format = readers.known_format(file.path)
    if readers.counts_lines(file.path):
        return _write_lines(file, target, gone)
    if file_format == "json" or _becomes_jsonl(file.path):
        return _write_json(file, target, gone, as_lines=file_format != "json")
    return _write_table(file, target, gone, as_parquet=file_format == "parquet")


def _write_lines(file: readers.DataFile, target: Path, gone: set[int]) -> int:
    starts = [line for line, _ in readers.read_rows(file)]
    with _open_compressed(target) as sink:
        for raw in _kept_lines(readers.raw_lines(file), starts, gone):
            sink.write(raw)
    return len(starts)


def _write_json(file: readers.DataFile, target: Path, gone: set[int], as_lines: bool) -> int:
    rows = [row for _, row in readers.read_rows(file)]
    kept = [row for number, row in enumerate(rows) if number not in gone]
    text = json.dumps(kept, ensure_ascii=False, indent=1) + "\n"
    if as_lines:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
    with _open_compressed(target) as sink:
        sink.write(text.encode())
    return len(rows)


def _write_table(file: readers.DataFile, target: Path, gone: set[int], as_parquet: bool) -> int:
    import pyarrow as pa

    from ftp.data import chunks

    table = pa.concat_tables(chunks.of_file(file))
    kept = table.take([number for number in range(len(table)) if number not in gone])
    if as_parquet:
        import pyarrow.parquet as pq

        pq.write_table(kept, target)
    else:
        with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_stream(sink, kept.schema) as stream:
            stream.write_table(kept)
    return len(table)


def _kept_lines(lines: Iterable[bytes], starts: Sequence[int], gone: set[int]) -> Iterator[bytes]:
    """The lines of a file without those of the rows that go.

    Args:
        starts: the line each row begins on, from 1; what stands before the first row stays.
    """
    row = -1
    is_gone = False
    for number, line in enumerate(lines, 1):
        if row + 1 < len(starts) and number >= starts[row + 1]:
            row += 1
            is_gone = row in gone
        if not is_gone:
            yield line


def _open_compressed(target: Path) -> IO[bytes]:
    """A file to write, compressed as its name says."""
    match readers.COMPRESSIONS.get(target.suffix.lower()):
        case "xz":
            import lzma

            return lzma.open(target, "wb")
        case "gzip":
            import gzip

            return gzip.open(target, "wb")  # type: ignore[return-value]
        case "bzip2":
            import bz2

            return bz2.open(target, "wb")
        case "zstd":
            import pyarrow as pa

            return pa.output_stream(str(target), compression="zstd")  # type: ignore[no-any-return]
    return target.open("wb")
