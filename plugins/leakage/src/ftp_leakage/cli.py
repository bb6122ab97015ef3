"""`ftp data check` and `ftp data clean`."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ftp import UserError
from ftp.host.terminal import say, say_json

if TYPE_CHECKING:
    from datasets import Dataset

    from ftp.types import Risk
    from ftp_leakage.advice import Request
    from ftp_leakage.findings import Finding
    from ftp_leakage.report import Report

SHOWN = 20  # findings; all of them are in the JSON

OPTIONS = (
    click.argument("folder", required=False),
    click.option("--train", help="File of training rows, instead of FOLDER."),
    click.option("--validation", help="File of validation rows."),
    click.option("--test", help="File of test rows."),
    click.option(
        "--text-column",
        "text",
        multiple=True,
        help="Column to compare; may be given twice. Default: found.",
    ),
    click.option(
        "--label-column",
        "label",
        help="Column of the label. Default: label, where there is one.",
    ),
    click.option(
        "--group-column",
        "group",
        help="No value of it may be in two splits (author, patient, case ...).",
    ),
    click.option(
        "--date-column",
        "date",
        help="No training row may be dated after the first evaluation row.",
    ),
    click.option(
        "--against",
        multiple=True,
        help="Benchmark file whose rows must not be in train; may be given twice.",
    ),
    click.option(
        "--threshold",
        type=click.FloatRange(0.5, 1.0),
        default=0.8,
        show_default=True,
        help="Share of words in common that makes two texts near duplicates.",
    ),
    click.option(
        "--max-decompressed",
        help="What a compressed file may grow to (64GB). Default: 200 times its size.",
    ),
    click.option(
        "--trust-recipe",
        is_flag=True,
        help="Run the Python files that the recipe names, and remember them.",
    ),
    click.option("--within", is_flag=True, help="Look for duplicates inside each split as well."),
)


Command = TypeVar("Command", bound=Callable[..., object])


@click.group("data")
def data() -> None:
    """Look at data before training: what leaks between splits, and the splits without it."""


def source_options(command: Command) -> Command:
    """Add the options by which both commands name their data and what to look for. FOLDER may be
    the recipe of a run as well."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@data.command("check")
@source_options
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help='{"findings": [{kind, a: [split, row], b: [split, row], similarity, note}], '
    '"verdict": {...}}.',
)
@click.option(
    "--fail-on",
    type=click.Choice(["warn", "stop"]),
    help="End with status 2 at this verdict or a worse one.",
)
def check_command(as_json: bool, fail_on: str | None, **source: Any) -> int:
    """Find rows of one split that are in another, word for word or nearly; labels and dates given
    away; benchmarks.

    FOLDER has a file for each split (train, validation, test), or is the run.toml of a run, whose
    rows are read as the run reads them; or name the files. Rows count from 0, without a header.
    """
    from dataclasses import asdict

    from ftp_leakage.source import make_excerpt, read_source
    from ftp_leakage.summary import RANK, Levels
    from ftp_leakage.verdict import verdict

    checked = read_source(**source)
    report = checked.check(checked.splits)
    excerpt = make_excerpt(checked.splits, checked.reading)
    risk = verdict(report, Levels(), excerpt, lambda: checked.request)
    if as_json:
        findings = [finding.as_dict() for finding in report.findings()]
        say_json({"findings": findings, "verdict": asdict(risk)})
    else:
        _show_report(report, risk, checked.splits, excerpt)

    if fail_on is None:
        return 0
    if risk.level == "not_run":  # what was not looked at is never in order
        return 2
    return 2 if RANK.index(risk.level) >= RANK.index(fail_on) else 0


def _show_report(
    report: Report, risk: Risk, splits: Mapping[str, Dataset], excerpt: Callable[[str, int], str]
) -> None:
    """Print the verdict, the first findings with their texts, and the advice."""
    say(f"{risk.level}: {risk.finding}")
    for sampled in report.sampled:
        say(sampled)
    findings = list(report.findings())
    for finding in findings[:SHOWN]:
        say(f"\n{finding.kind}, {finding.note} ({round(finding.similarity, 4):.2f})")
        for place in (finding.a, finding.b):
            if place is None:
                continue
            split, row = place
            text = excerpt(split, row) if split in splits else ""
            say(f"  {split} {row}: {text}".rstrip())
    if len(findings) > SHOWN:
        kinds = _count_kinds(findings)
        say(f"\n... {len(findings)} findings in all ({kinds}); all of them with --json")
    for line in risk.advice:
        say(f"\ntry: {line}")


def _count_kinds(findings: Sequence[Finding]) -> str:
    """How many findings of each kind, in words."""
    counts = Counter(finding.kind for finding in findings)
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


@data.command("clean")
@source_options
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="New folder for the clean splits.",
)
@click.option(
    "--shared",
    is_flag=True,
    help="Take out rows that share a prompt, a context or a side with a later split, too.",
)
@click.option(
    "--conflicts",
    is_flag=True,
    help="Take out rows of one split that have the same text and different labels, too.",
)
@click.option(
    "--giveaways",
    is_flag=True,
    help="Take words and signs that give labels away out of the texts.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help='{"removed": {split: rows}, "words": [...], "kept": [findings], "files": [...]}.',
)
def clean_command(
    out: Path, as_json: bool, shared: bool, conflicts: bool, giveaways: bool, **source: Any
) -> int:
    """Write the splits without the rows that leak, and removed.jsonl: each row taken out, and why.

    Rows go from train rather than from validation, from validation rather than from test; where a
    date column is named, on both sides of the date that keeps most. All rows are looked at, however
    many. The input is not touched.
    """
    from ftp_leakage.clean import AlsoRemove, find_removals, findings_left, strip_giveaways
    from ftp_leakage.clean_files import require_new, write_clean
    from ftp_leakage.source import make_excerpt, read_source

    require_new(out)
    checked = read_source(**source)
    splits = checked.splits
    paths = checked.paths
    is_enough_alone = source["within"] or source["against"] or conflicts or giveaways
    if len(splits) < 2 and not is_enough_alone:
        raise UserError(
            f"there is one split only ({next(iter(splits))}): nothing to clean it of",
            "give two splits, or --within for duplicates inside of it",
            checked.request.clean("--within"),
        )

    def check(rows: Mapping[str, Dataset]) -> Report:
        return checked.check(rows, most_rows=sys.maxsize)

    words: list[str] = []
    if giveaways:
        splits, words = strip_giveaways(check, splits, checked.reading.parts)
        if words:
            paths = {}  # texts that changed are written anew
    removed, report = find_removals(check, splits, AlsoRemove(shared, conflicts, giveaways))
    _require_rows_left(splits, removed, checked.request)
    excerpt = make_excerpt(splits, checked.reading)
    bound = source["max_decompressed"]
    written = write_clean(paths, splits, removed, out, excerpt, bound)
    left = findings_left(report)
    counts = {split: len(rows) for split, rows in removed.items()}
    if as_json:
        kept = [finding.as_dict() for finding in left]
        files = [str(path) for path in written]
        say_json({"removed": counts, "words": words, "kept": kept, "files": files})
        return 0

    for split, rows in splits.items():
        say(f"{split}: {len(rows)} rows, {counts[split]} taken out")
    if words:
        say(f"taken out of the texts: {', '.join(words)}")
    if left:
        look = ["ftp", "data", "check", str(out)]
        if bound:
            look += ["--max-decompressed", bound]
        say(
            f"left as they are, for you to judge: {_count_kinds(left)} "
            f"(see them with: {shlex.join(look)})"
        )
    say(f"written: {', '.join(path.name for path in written)} in {out}")
    return 0


def _require_rows_left(
    splits: Mapping[str, Dataset], removed: Mapping[str, Mapping[int, Finding]], request: Request
) -> None:
    empty = []
    for split, rows in splits.items():
        if len(rows) and len(removed[split]) == len(rows):
            empty.append(split)
    if empty:
        raise UserError(
            f"every row of {', '.join(empty)} would be taken out: nothing would be left",
            "are the splits the same file? the training rows alone are enough: a run cuts its "
            "validation from them",
            request.clean_train(),
        )
