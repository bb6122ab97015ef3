"""`ftp data check` and `ftp data clean`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from ftp.errors import UserError

SHOWN = 20


@click.group("data")
def data() -> None:
    """Look at data before training: what leaks between splits, and the splits without it."""


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options by which both commands name their data and what to look for."""
    options = [
        click.argument("folder", required=False),
        click.option("--train", help="File of training rows, instead of FOLDER."),
        click.option("--validation", help="File of validation rows."),
        click.option("--test", "test_", help="File of test rows."),
        click.option("--text-column", "text", multiple=True, help="Column to compare; may be given twice. Default: found."),
        click.option("--label-column", "label", help="Column of the label. Default: label, where there is one."),
        click.option("--group-column", "group", help="No value of it may be in two splits (author, patient, case ...)."),
        click.option("--date-column", "date", help="No training row may be dated after the first evaluation row."),
        click.option("--against", multiple=True, help="Benchmark file whose rows must not be in train; may be given twice."),
        click.option("--threshold", type=click.FloatRange(0.5, 1.0), default=0.8, show_default=True,
                     help="Share of words in common that makes two texts near duplicates."),
        click.option("--within", is_flag=True, help="Look for duplicates inside each split as well."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@data.command("check")
@source_options
@click.option("--json", "as_json", is_flag=True,
              help='{"findings": [{kind, a: [split, row], b: [split, row], similarity, note}], "verdict": {...}}.')
@click.option("--fail-on", type=click.Choice(["warn", "stop"]), help="End with status 2 at this verdict or a worse one.")
def check_command(as_json: bool, fail_on: str | None, **named: Any) -> int:
    """Find rows of one split that are in another, word for word or nearly; labels and dates given away; benchmarks.

    FOLDER has a file for each split (train, validation, test); or name the files. Rows count from 0, without a header.
    """
    from dataclasses import asdict

    from ftp_leakage.check import look
    from ftp_leakage.source import shower
    from ftp_leakage.verdict import RANK, Levels, verdict

    splits, read_as, wanted, _, told = prepare(**named)
    report = look(splits, read_as, wanted())
    show = shower(splits, read_as)
    risk = verdict(report, Levels(), show, told)
    findings = [finding.as_dict() for finding in report.findings()]
    if as_json:
        click.echo(json.dumps({"findings": findings, "verdict": asdict(risk)}, ensure_ascii=False))
    else:
        click.echo(f"{risk.level}: {risk.finding}")
        for finding in findings[:SHOWN]:
            a, b = finding["a"], finding["b"]
            click.echo(f"\n{finding['kind']}, {finding['note']} ({finding['similarity']:.2f})")
            for place in (a, b):
                if place:
                    click.echo(f"  {place[0]} {place[1]}: {show(*place) if place[0] in splits else ''}".rstrip())
        if len(findings) > SHOWN:
            counts = ", ".join(f"{count} {kind}" for kind, count in Counter(one["kind"] for one in findings).items())
            click.echo(f"\n... {len(findings)} findings in all ({counts}); all of them with --json")
        for line in risk.advice:
            click.echo(f"\ntry: {line}")
    bad = risk.level in RANK and fail_on is not None and RANK.index(risk.level) >= RANK.index(fail_on)
    return 2 if bad or (fail_on is not None and risk.level == "not_run") else 0


@data.command("clean")
@source_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="New folder for the clean splits.")
@click.option("--json", "as_json", is_flag=True, help='{"removed": {split: rows}, "kept": [findings], "files": [...]}.')
def clean_command(out: Path, as_json: bool, **named: Any) -> int:
    """Write the splits without the rows that leak, and removed.jsonl: each row taken out, and why.

    Rows go from train rather than from validation, from validation rather than from test. The input is not touched.
    """
    from ftp_leakage.check import look
    from ftp_leakage.clean import must_be_new, removals, stays, write
    from ftp_leakage.source import shower

    must_be_new(out)
    splits, read_as, wanted, paths, _ = prepare(**named)
    if len(splits) < 2 and not named["within"] and not named["against"]:
        raise UserError(f"there is one split only ({next(iter(splits))}): nothing to clean it of",
                        "give two splits, or --within for duplicates inside of it", "ftp data clean FOLDER --within --out NEW")
    gone, report = removals(lambda rows: look(rows, read_as, wanted()), splits)
    empty = [split for split, rows in splits.items() if len(rows) and len(gone[split]) == len(rows)]
    if empty:
        raise UserError(f"every row of {', '.join(empty)} is in another split: nothing would be left",
                        "are the splits the same file?")
    written = write(paths, splits, gone, out, shower(splits, read_as))
    kept = [finding.as_dict() for finding in stays(report)]
    counts = {split: len(rows) for split, rows in gone.items()}
    if as_json:
        click.echo(json.dumps({"removed": counts, "kept": kept, "files": [str(path) for path in written]}, ensure_ascii=False))
        return 0
    for split, rows in splits.items():
        click.echo(f"{split}: {len(rows)} rows, {counts[split]} taken out")
    if kept:
        told = ", ".join(f"{count} {kind}" for kind, count in Counter(one["kind"] for one in kept).items())
        click.echo(f"left as they are, for you to judge: {told} (see them with: ftp data check {out})")
    click.echo(f"written: {', '.join(path.name for path in written)} in {out}")
    return 0


def prepare(
    folder: str | None, train: str | None, validation: str | None, test_: str | None, text: tuple[str, ...], label: str | None,
    group: str | None, date: str | None, against: tuple[str, ...], threshold: float, within: bool,
) -> tuple[Mapping[str, Any], Any, Callable[[], Any], Mapping[str, list[Path]], str]:
    """The splits, how to read them, what to look for, the files of each split, and how the source is called."""
    from ftp.data import forms
    from ftp.data.read import locate, read
    from ftp_leakage import source as sources
    from ftp_leakage.check import Wanted
    from ftp_leakage.rows import reading

    files = {name: path for name, path in (("train", train), ("validation", validation), ("test", test_)) if path}
    if bool(folder) == bool(files):
        raise UserError("give either a folder of splits, or its files by --train, --validation, --test",
                        "the folder has a file for each split, such as train.csv and validation.csv", "ftp data check FOLDER")
    paths: dict[str, list[Path]] = {}
    if folder:
        splits = {split: rows for split, rows in read(folder).items() if split != "general"}
        place, told = Path(folder).expanduser(), folder
        if place.is_dir() and not (place / "state.json").exists() and not (place / "dataset_dict.json").exists():
            paths = {split: list(found) for split, found in locate(place)[0].items()}
        elif place.is_file():
            paths = {next(iter(splits)): [place]}
    else:
        splits = {split: _only(read(path), path) for split, path in files.items()}
        paths = {split: [Path(path).expanduser()] for split, path in files.items()}
        told = " ".join(f"--{split} {path}" for split, path in files.items())
    sources.require(splits, text, group, date, "--", label)
    first = next(iter(splits.values()))
    read_as = reading(forms.detect(first.column_names), first, text, label)
    if not read_as.parts:
        raise UserError(f"no column of text is found; the columns: {', '.join(first.column_names)}", "name it",
                        "--text-column NAME")
    missing = [f"{split} has no column '{name}'" for split, rows in splits.items() for name in read_as.parts
               if read_as.form in ("columns", "labelled", "text") and name not in rows.column_names]
    if missing:
        raise UserError("; ".join(missing), "all splits must have the same text columns", "--text-column NAME")

    def wanted() -> Wanted:
        return Wanted(threshold, within, group, date, sources.against(against))

    return splits, read_as, wanted, paths, told


def _only(found: Mapping[str, Any], path: str) -> Any:
    if len(found) > 1:
        raise UserError(f"{path} has several splits: {', '.join(found)}", "name a file", f"ftp data check {path}")
    return next(iter(found.values()))
