"""Clean splits: which rows go, and the files written without them. The input is never touched.

Rows go from train rather than from validation, and from validation rather than from test; inside a split the first of
several stays. Where a date column is named, rows go on both sides of the date that keeps most. Rows that share only a part
(a prompt), conflicting labels, and words that give labels away stay and are told, unless `Also` says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from ftp.data import readers
from ftp.errors import UserError
from ftp.host.faults import disk
from ftp.host.quiet import without_progress_bars
from ftp_leakage.findings import Finding, Kind, Place
from ftp_leakage.labels import without
from ftp_leakage.report import Report

LINES = ("csv", "tsv", "jsonl", "txt", "conll", "conllu")


@dataclass(frozen=True)
class Also:
    """What goes beside rows that are alike, rows of benchmarks, of a named group and on the wrong side of a date. `shared`:
    rows that share a prompt, a context or another part with a later split. `conflicts`: rows of one split with the same text
    and different labels, all of them. `giveaways`: words and signs that give labels away (not the rows). `group`: a column
    that was found to be one of groups."""

    shared: bool = False
    conflicts: bool = False
    giveaways: bool = False
    group: str | None = None

    def words(self, names: Mapping[str, str] = {}) -> list[str]:
        """As options of `ftp data clean`. `names`: column -> its name in the data."""
        flags = [f"--{name}" for name in ("shared", "conflicts", "giveaways") if getattr(self, name)]
        return [*flags, *(["--group-column", names.get(self.group, self.group)] if self.group else [])]


def removals(
    check: Callable[[Mapping[str, Any]], Report], splits: Mapping[str, Any], also: Also = Also()
) -> tuple[dict[str, dict[int, Finding]], Report]:
    """Rows to take out, split -> row -> why, such that `check` finds no leaked row in what stays; and its last report.
    Row numbers are those of `splits`."""
    out: dict[str, dict[int, Finding]] = {split: {} for split in splits}
    report = check(splits)
    while True:
        kept = {split: [row for row in range(len(rows)) if row not in out[split]] for split, rows in splits.items()}
        found = False
        for split, row, why in goes(report, also):
            at = kept[split][row]
            b = (why.b[0], kept[why.b[0]][why.b[1]]) if why.b and why.b[0] in kept else why.b
            if at not in out[split]:
                out[split][at] = Finding(why.kind, (split, at), b, why.similarity, why.note)
                found = True
        if not found:
            return out, report
        report = check({split: rows.select([row for row in range(len(rows)) if row not in out[split]])
                        for split, rows in splits.items()})


def stripped(
    check: Callable[[Mapping[str, Any]], Report], splits: Mapping[str, Any], parts: Sequence[str]
) -> tuple[Mapping[str, Any], list[str]]:
    """The splits with texts (`parts`) without the words and signs that give labels away, and these words and signs."""
    given: list[str] = []
    while new := [one.what for one in check(splits).giveaways if one.what not in given]:
        given += new
        with without_progress_bars():
            splits = {split: rows.map(lambda row: {name: without(row[name], new) for name in parts if isinstance(row[name], str)})
                      for split, rows in splits.items()}
    return splits, given


def goes(report: Report, also: Also = Also()) -> Iterator[tuple[str, int, Finding]]:
    """Rows that must go, with the finding that says why (`a` is the row)."""

    def out(kind: Kind, row: Place, kept: Place | None, note: str) -> tuple[str, int, Finding]:
        return *row, Finding(kind, row, kept, 1.0, note)

    for finding in (*report.alike(every=True), *(report.apart() if also.shared else ())):
        if finding.b is not None:
            inside = finding.a[0] == finding.b[0]
            row, other = (finding.b, finding.a) if inside else (finding.a, finding.b)
            yield *row, replace(finding, a=row, b=other)
    for finding in report.others():
        if finding.kind == "benchmark":
            yield *finding.a, finding
        elif finding.kind == "conflict" and also.conflicts and finding.b is not None and finding.a[0] == finding.b[0]:
            yield *finding.a, finding
            yield *finding.b, replace(finding, a=finding.b, b=finding.a)
    for shared in report.shared:
        if shared.named or shared.column == also.group:
            for value, (first, second) in shared.values.items():
                for row in first:
                    yield out("group", report.row_in_data(shared.first, row), report.row_in_data(shared.second, second[0]),
                              f"{shared.column} {value} is in {shared.second} too")
    for late in report.late:
        if late.rows:
            latest, earliest = report.row_in_data(late.first, late.latest), report.row_in_data(late.second, late.earliest)
            for row in late.go[0]:
                yield out("time", report.row_in_data(late.first, row), earliest, f"not before {late.second} begins")
            for row in late.go[1]:
                yield out("time", report.row_in_data(late.second, row), latest, f"before {late.first} ends")


def stays(report: Report) -> list[Finding]:
    """Findings that cleaning does not mend."""
    return [*report.apart(), *(one for one in report.others() if one.kind != "benchmark")]


def must_be_new(folder: Path) -> None:
    """UserError where the folder has files in it."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--out {folder}: there are files in it already", "name a new folder; nothing is overwritten")


def write(
    paths: Mapping[str, Sequence[Path]], splits: Mapping[str, Any], out: Mapping[str, Mapping[int, Finding]], folder: Path,
    show: Callable[[str, int], str], max_decompressed: str | None = None,
) -> list[Path]:
    """Write each split without the rows that go, in the format and under the name it came in (a spreadsheet as .jsonl), and
    `removed.jsonl`.

    `paths`: the files of each split, in order; a split without files is written as Parquet. UserError where the
    folder exists with files in it.
    """
    must_be_new(folder)
    limit = readers.parse_size(max_decompressed) if max_decompressed else None
    with disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
    written = []
    for split, rows in splits.items():
        if not paths.get(split):
            written.append(folder / f"{split}.parquet")
            with without_progress_bars():
                rows.select([row for row in range(len(rows)) if row not in out[split]]).to_parquet(str(written[-1]))
            continue
        start = 0
        for path in paths[split]:
            name = f"{readers.stem_of(path)}.jsonl" if _becomes_jsonl(path) else path.name
            target = folder / name
            if target in written:
                target = folder / f"{split}-{name}"
            file = readers.DataFile(path, max_decompressed=limit)
            start += _file(file, target, {row - start for row in out[split] if row >= start})
            written.append(target)
    with (folder / "removed.jsonl").open("w", encoding="utf-8") as removed:
        for split, gone in out.items():
            for row, why in sorted(gone.items()):
                line = {"split": split, "row": row, **why.as_dict(), "text": show(split, row)}
                removed.write(json.dumps(line, ensure_ascii=False) + "\n")
    return [*written, folder / "removed.jsonl"]


def _becomes_jsonl(path: Path) -> bool:
    """Whether the rows of a file are written as .jsonl: nothing here writes its own format."""
    return readers.known_format(path) == "xlsx" or readers.reader_of(path) is not None


def _file(file: readers.DataFile, target: Path, gone: set[int]) -> int:
    """Write a file without some of its rows; gives the number of rows it had."""
    form = readers.known_format(file.path)
    if form in LINES:
        starts = [line for line, _ in readers.read_rows(file)]
        with _writable(target) as sink:
            for raw in _kept(readers.raw_lines(file), starts, gone):
                sink.write(raw)
        return len(starts)
    if form == "json" or _becomes_jsonl(file.path):
        rows = [row for _, row in readers.read_rows(file)]
        kept = [row for number, row in enumerate(rows) if number not in gone]
        text = json.dumps(kept, ensure_ascii=False, indent=1) + "\n"
        if form != "json":
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
        with _writable(target) as sink:
            sink.write(text.encode())
        return len(rows)
    import pyarrow as pa

    from ftp.data import chunks

    table = pa.concat_tables(chunks.of_file(file))
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
