"""Clean splits: which rows go, and the files written without them. The input is never touched.

Rows go from train rather than from validation, and from validation rather than from test; inside a split the first of
several stays. Rows that share only a part (a prompt), conflicting labels, words that give labels away and dates stay:
what to do about them is yours to say, so they are told.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ftp.data import files
from ftp.errors import UserError
from ftp_leakage.check import Report
from ftp_leakage.findings import Finding

PASSES = 5
LINES = ("csv", "tsv", "jsonl", "txt")


def removals(
    check: Callable[[Mapping[str, Any]], Report], splits: Mapping[str, Any]
) -> tuple[dict[str, dict[int, Finding]], Report]:
    """Rows to take out, split -> row -> why, such that `check` finds no leaked row in what stays; and its last report.
    Row numbers are those of `splits`."""
    out: dict[str, dict[int, Finding]] = {split: {} for split in splits}
    report = check(splits)
    for _ in range(PASSES):
        kept = {split: [row for row in range(len(rows)) if row not in out[split]] for split, rows in splits.items()}
        found = False
        for split, row, why in _goes(report):
            at = kept[split][row]
            b = (why.b[0], kept[why.b[0]][why.b[1]]) if why.b and why.b[0] in kept else why.b
            if at not in out[split]:
                out[split][at] = Finding(why.kind, (split, at), b, why.similarity, why.note)
                found = True
        if not found:
            break
        report = check({split: rows.select([row for row in range(len(rows)) if row not in out[split]])
                        for split, rows in splits.items()})
    return out, report


def _goes(report: Report) -> Iterator[tuple[str, int, Finding]]:
    """Rows that must go, with the finding that says why (`a` is the row)."""
    for finding in report.alike(every=True):
        if finding.b is not None:
            inside = finding.a[0] == finding.b[0]
            row, other = (finding.b, finding.a) if inside else (finding.a, finding.b)
            yield *row, Finding(finding.kind, row, other, finding.similarity, finding.note)
    for finding in report.findings():
        if finding.kind == "benchmark":
            yield *finding.a, finding
    for shared in report.shared:
        if shared.named:
            for value, (first, second) in shared.values.items():
                kept = report.place(shared.second, second[0])
                for row in first:
                    goes = report.place(shared.first, row)
                    yield *goes, Finding("group", goes, kept, 1.0, f"{shared.column} {value} is in {shared.second} too")


def stays(report: Report) -> list[Finding]:
    """Findings that cleaning does not mend."""
    return [one for one in report.findings() if one.kind in ("conflict", "label", "time", "group")]


def must_be_new(folder: Path) -> None:
    """UserError where the folder has files in it."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--out {folder}: there are files in it already", "name a new folder; nothing is overwritten")


def write(
    paths: Mapping[str, Sequence[Path]], splits: Mapping[str, Any], out: Mapping[str, Mapping[int, Finding]], folder: Path,
    show: Callable[[str, int], str],
) -> list[Path]:
    """Write each split without the rows that go, in the format and under the name it came in, and `removed.jsonl`.

    `paths`: the files of each split, in order; a split without files is written as Parquet. UserError where the
    folder exists with files in it.
    """
    must_be_new(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for split, rows in splits.items():
        if not paths.get(split):
            written.append(folder / f"{split}.parquet")
            rows.select([row for row in range(len(rows)) if row not in out[split]]).to_parquet(str(written[-1]))
            continue
        start = 0
        for path in paths[split]:
            target = folder / path.name
            if target in written:
                target = folder / f"{split}-{path.name}"
            start += _file(path, target, {row - start for row in out[split] if row >= start})
            written.append(target)
    with (folder / "removed.jsonl").open("w", encoding="utf-8") as file:
        for split, gone in out.items():
            for row, why in sorted(gone.items()):
                line = {"split": split, "row": row, **why.as_dict(), "text": show(split, row)}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return [*written, folder / "removed.jsonl"]


def _file(path: Path, target: Path, gone: set[int]) -> int:
    """Write a file without some of its rows; gives the number of rows it had."""
    form = files.known_format(path)
    if form in LINES:
        starts = [line for line, _ in files.rows(path)]
        with files.opened(path) as source, _writable(target) as sink:
            for raw in _kept(source, starts, gone):
                sink.write(raw)
        return len(starts)
    if form == "json":
        rows = [row for _, row in files.rows(path)]
        kept = [row for number, row in enumerate(rows) if number not in gone]
        with _writable(target) as sink:
            sink.write((json.dumps(kept, ensure_ascii=False, indent=1) + "\n").encode())
        return len(rows)
    import pyarrow as pa

    from ftp.data import tables

    table = pa.concat_tables(tables.of_file(path))
    kept_table = table.take([number for number in range(len(table)) if number not in gone])
    if form == "parquet":
        import pyarrow.parquet as pq

        pq.write_table(kept_table, target)
    else:
        with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_stream(sink, kept_table.schema) as stream:
            stream.write_table(kept_table)
    return len(table)


def _kept(source: Iterable[bytes], starts: Sequence[int], gone: set[int]) -> Iterator[bytes]:
    """The lines of a file without those of the rows that go. `starts`: the line each row begins on, from 1."""
    row, drop = -1, False
    for number, raw in enumerate(source, 1):
        if row + 1 < len(starts) and number >= starts[row + 1]:
            row += 1
            drop = row in gone
        if not drop:
            yield raw


def _writable(target: Path) -> IO[bytes]:
    match files.COMPRESSIONS.get(target.suffix.lower()):
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
