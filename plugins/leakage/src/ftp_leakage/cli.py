"""`ftp data check` and `ftp data clean`."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from ftp.errors import UserError
from ftp.host.terminal import say, say_json, warn

SHOWN = 20


@click.group("data")
def data() -> None:
    """Look at data before training: what leaks between splits, and the splits without it."""


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options by which both commands name their data and what to look for. FOLDER may be the recipe of a run as well."""
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
        click.option("--max-decompressed", help="What a compressed file may grow to (64GB). Default: 200 times its size."),
        click.option("--trust-recipe", is_flag=True, help="Run the Python files that the recipe names, and remember them."),
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

    FOLDER has a file for each split (train, validation, test), or is the run.toml of a run, whose rows are read as the run reads
    them; or name the files. Rows count from 0, without a header.
    """
    from dataclasses import asdict

    from ftp_leakage.look import look
    from ftp_leakage.source import shower
    from ftp_leakage.verdict import RANK, Levels, verdict

    given = prepare(**named)
    splits, read_as = given.splits, given.read_as
    report = look(splits, read_as, given.wanted(), given.names)
    show = shower(splits, read_as)
    risk = verdict(report, Levels(), show, lambda: given.asked)
    findings = [finding.as_dict() for finding in report.findings()]
    if as_json:
        say_json({"findings": findings, "verdict": asdict(risk)})
    else:
        say(f"{risk.level}: {risk.finding}")
        for sampled in report.sampled:
            say(sampled)
        for finding in findings[:SHOWN]:
            a, b = finding["a"], finding["b"]
            say(f"\n{finding['kind']}, {finding['note']} ({finding['similarity']:.2f})")
            for place in (a, b):
                if place:
                    say(f"  {place[0]} {place[1]}: {show(*place) if place[0] in splits else ''}".rstrip())
        if len(findings) > SHOWN:
            counts = ", ".join(f"{count} {kind}" for kind, count in Counter(one["kind"] for one in findings).items())
            say(f"\n... {len(findings)} findings in all ({counts}); all of them with --json")
        for line in risk.advice:
            say(f"\ntry: {line}")
    bad = risk.level in RANK and fail_on is not None and RANK.index(risk.level) >= RANK.index(fail_on)
    return 2 if bad or (fail_on is not None and risk.level == "not_run") else 0


@data.command("clean")
@source_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="New folder for the clean splits.")
@click.option("--shared", is_flag=True, help="Take out rows that share a prompt, a context or a side with a later split, too.")
@click.option("--conflicts", is_flag=True, help="Take out rows of one split that have the same text and different labels, too.")
@click.option("--giveaways", is_flag=True, help="Take words and signs that give labels away out of the texts.")
@click.option("--json", "as_json", is_flag=True,
              help='{"removed": {split: rows}, "words": [...], "kept": [findings], "files": [...]}.')
def clean_command(out: Path, as_json: bool, shared: bool, conflicts: bool, giveaways: bool, **named: Any) -> int:
    """Write the splits without the rows that leak, and removed.jsonl: each row taken out, and why.

    Rows go from train rather than from validation, from validation rather than from test; where a date column is named, on both
    sides of the date that keeps most. All rows are looked at, however many. The input is not touched.
    """
    from ftp_leakage.clean import Also, must_be_new, removals, stays, stripped, write
    from ftp_leakage.look import look
    from ftp_leakage.source import shower

    must_be_new(out)
    given = prepare(**named)
    splits, paths, also = given.splits, given.paths, Also(shared, conflicts, giveaways)
    if len(splits) < 2 and not (named["within"] or named["against"] or conflicts or giveaways):
        raise UserError(f"there is one split only ({next(iter(splits))}): nothing to clean it of",
                        "give two splits, or --within for duplicates inside of it", given.asked.clean("--within"))

    def check(rows: Mapping[str, Any]) -> Any:
        return look(rows, given.read_as, replace(given.wanted(), most_rows=sys.maxsize), given.names)

    words: list[str] = []
    if giveaways:
        splits, words = stripped(check, splits, given.read_as.parts)
        paths = {} if words else paths  # texts that changed are written anew
    gone, report = removals(check, splits, also)
    empty = [split for split, rows in splits.items() if len(rows) and len(gone[split]) == len(rows)]
    if empty:
        raise UserError(f"every row of {', '.join(empty)} would be taken out: nothing would be left",
                        "are the splits the same file? the training rows alone are enough: a run cuts its validation from them",
                        given.asked.otherwise())
    written = write(paths, splits, gone, out, shower(splits, given.read_as), named["max_decompressed"])
    kept = [finding.as_dict() for finding in stays(report)]
    counts = {split: len(rows) for split, rows in gone.items()}
    if as_json:
        files = [str(path) for path in written]
        say_json({"removed": counts, "words": words, "kept": kept, "files": files})
        return 0
    for split, rows in splits.items():
        say(f"{split}: {len(rows)} rows, {counts[split]} taken out")
    if words:
        say(f"taken out of the texts: {', '.join(words)}")
    if kept:
        told = ", ".join(f"{count} {kind}" for kind, count in Counter(one["kind"] for one in kept).items())
        bound = ["--max-decompressed", named["max_decompressed"]] if named["max_decompressed"] else []
        seen = shlex.join(["ftp", "data", "check", str(out), *bound])
        say(f"left as they are, for you to judge: {told} (see them with: {seen})")
    say(f"written: {', '.join(path.name for path in written)} in {out}")
    return 0


@dataclass(frozen=True)
class Prepared:
    """What a command names. `read_as`: how rows are read. `wanted`: what to look for, made anew for each look. `paths`: the
    files of each split. `names`: of the classes, where they are known."""

    splits: Mapping[str, Any]
    read_as: Any
    wanted: Callable[[], Any]
    paths: Mapping[str, list[Path]]
    asked: Any
    names: tuple[str, ...] = ()


def prepare(
    folder: str | None, train: str | None, validation: str | None, test_: str | None, text: tuple[str, ...], label: str | None,
    group: str | None, date: str | None, against: tuple[str, ...], threshold: float, within: bool,
    max_decompressed: str | None = None, trust_recipe: bool = False,
) -> Prepared:
    """The data that a command names, read, and what it asks for."""
    from ftp import forms
    from ftp.data import dropped_columns
    from ftp.data.read import read
    from ftp.data.split_files import locate
    from ftp_leakage import advice
    from ftp_leakage import source as sources
    from ftp_leakage.look import Wanted
    from ftp_leakage.rows import reading

    files = {name: path for name, path in (("train", train), ("validation", validation), ("test", test_)) if path}
    if bool(folder) == bool(files):
        raise UserError("give either a folder of splits, or its files by --train, --validation, --test",
                        "the folder has a file for each split, such as train.csv and validation.csv", "ftp data check --help")
    notes: list[str] = []

    def look_up(source: str | Path) -> dict[str, Any]:
        return dict(read(source, max_decompressed=max_decompressed, notes=notes))

    paths: dict[str, list[Path]] = {}
    form: str | None = None
    names: tuple[str, ...] = ()
    if folder and folder.endswith(".toml"):
        data = sources.of_recipe(folder, trust_recipe)
        splits, form, names = dict(data.splits), data.form, data.labels
    elif folder:
        splits = look_up(folder)
        place = Path(folder).expanduser()
        if place.is_dir() and not (place / "state.json").exists() and not (place / "dataset_dict.json").exists():
            paths = {split: list(found) for split, found in locate(place)[0].items()}
        elif place.is_file():
            paths = {next(iter(splits)): [place]}
    else:
        splits = {split: _only(look_up(path), path) for split, path in files.items()}
        paths = {split: [Path(path).expanduser()] for split, path in files.items()}
    for note in notes:
        warn(note)
    for rows in splits.values():
        own = {name for form in forms.all_forms() for name in forms.read_columns(form)}
        dropped_columns.require_held(rows, [*text, *(name for name in (label, group, date) if name), *own])
    splits.pop("general", None)
    sources.require(splits, text, group, date, "--", label)
    first = next(iter(splits.values()))
    read_as = reading(form or forms.detect(first.column_names), first, text, label)
    if not read_as.parts:
        raise UserError(f"no column of text is found; the columns: {', '.join(first.column_names)}", "name it",
                        "--text-column NAME")
    missing = [f"{split} has no column '{name}'" for split, rows in splits.items() for name in read_as.parts
               if read_as.form in ("columns", "labelled", "text") and name not in rows.column_names]
    if missing:
        raise UserError("; ".join(missing), "all splits must have the same text columns", "--text-column NAME")

    def wanted() -> Wanted:
        return Wanted(threshold, within, group, date, sources.against(against, max_decompressed))

    asked = advice.of_files(folder, files, paths, advice.words(text, label, group, date, against, threshold, within,
                                                          max_decompressed))
    return Prepared(splits, read_as, wanted, paths, asked, names)


def _only(found: Mapping[str, Any], path: str) -> Any:
    if len(found) > 1:
        raise UserError(f"{path} has several splits: {', '.join(found)}", "name a file",
                        shlex.join(["ftp", "data", "check", path]))
    return next(iter(found.values()))
