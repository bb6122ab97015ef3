"""Rows out of files: splits to check, benchmarks to check against, and a row as a short text."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftp import Problem, UserError, forms, nearest
from ftp.data import read_rows
from ftp.host.terminal import warn
from ftp_leakage.rows import Reading, choose_reading, is_of_texts, texts_by_part, whole_texts

if TYPE_CHECKING:
    from datasets import Dataset

    from ftp.types import Data
    from ftp_leakage.advice import Request
    from ftp_leakage.check_options import CheckOptions
    from ftp_leakage.report import Report

EXCERPT = 160  # characters of a text that are shown


def read_benchmarks(
    sources: Sequence[str | Path], max_decompressed: str | None = None
) -> dict[str, Iterator[dict[str, str]]]:
    """Benchmarks by the name of their source -> the texts of each row, all splits in a row.

    Args:
        sources: files, folders or sets of the hub.
    """
    benchmarks = {}
    for source in sources:
        benchmarks[str(source)] = _texts(read_rows(source, max_decompressed=max_decompressed))
    return benchmarks


def _texts(splits: Mapping[str, Dataset]) -> Iterator[dict[str, str]]:
    for rows in splits.values():
        reading = choose_reading(forms.detect(rows.column_names), rows)
        yield from texts_by_part(reading, rows)


def read_recipe(recipe: str, trust_recipe: bool = False) -> Data:
    """The rows of a run as the run reads them: those of a domain's own sample, and a validation
    split that the run cuts.

    Args:
        recipe: the path of the run's run.toml.
        trust_recipe: run the Python files that it names, and remember them.
    """
    from ftp.cli import flags
    from ftp.data.collect import collect
    from ftp.folder.log import Log
    from ftp.host.quiet import quiet_libraries
    from ftp.plugins import trust
    from ftp.plugins.call import Hooks
    from ftp.types import Run

    line = [recipe, trust.FLAG] if trust_recipe else [recipe]
    _, prepared = flags.assemble(line)
    quiet_libraries()
    # rows are compared with one another, so all of them are read
    settings = replace(prepared.settings, streaming=False)
    hooks = Hooks(prepared.picked, prepared.values)
    run = Run(settings, prepared.task, hooks, log=Log(None, writer=False))
    problems: list[Problem] = []
    data = collect(run, problems)
    for problem in problems:
        warn(f"ftp run would refuse these rows: {problem}")
    return data


def require_columns(
    splits: Mapping[str, Dataset],
    columns: Sequence[str],
    group: str | None,
    date: str | None,
    prefix: str,
    label: str | None = None,
) -> None:
    """Check that every split has the columns that the user named.

    Args:
        prefix: how the options begin: `--leakage.` for those of a run, `--` for those of
            `ftp data`, which spell and name them in their own way.

    Raises:
        UserError: with every column that a split does not have.
    """
    is_run = prefix.endswith(".")
    option_of_text = "columns" if is_run else "text-column"
    named = [(column, option_of_text) for column in columns]
    for column, option in ((group, "group_column"), (date, "date_column"), (label, "label_column")):
        if column:
            named.append((column, option if is_run else option.replace("_", "-")))

    problems = []
    for column, option in named:
        for split, rows in splits.items():
            present = list(rows.column_names or ())
            if column not in present:
                fix = nearest(column, present) or f"its columns: {', '.join(present)}"
                problems.append(
                    Problem(f"{prefix}{option} {column}: {split} has no such column", fix)
                )
                break
    if problems:
        raise UserError(problems)


def make_excerpt(
    splits: Mapping[str, Dataset], reading: Reading, hide: Callable[[str], str] = str
) -> Callable[[str, int], str]:
    """A function that gives the shortened text of a row of a split.

    Args:
        hide: takes out of a text what must not be shown.
    """

    def excerpt(split: str, row: int) -> str:
        rows = splits[split]
        is_stream = not hasattr(rows, "num_rows")
        if is_stream:
            return ""
        text = next(whole_texts(reading, rows.select([row])), "")
        text = " ".join(hide(text).split())
        return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"

    return excerpt


@dataclass(frozen=True)
class Source:
    """The data that a command names.

    Args:
        splits: the rows of each split.
        reading: how rows are read.
        make_options: what to look for, made anew for each look, as benchmarks are read once.
        paths: the files of each split; none where it is no file's.
        request: what was asked for.
        class_names: where they are known.
    """

    splits: Mapping[str, Dataset]
    reading: Reading
    make_options: Callable[[], CheckOptions]
    paths: Mapping[str, list[Path]]
    request: Request
    class_names: tuple[str, ...] = ()

    def check(self, splits: Mapping[str, Dataset], **changes: Any) -> Report:
        """Compare splits.

        Args:
            changes: options that are other than what was asked for.
        """
        from ftp_leakage.look import look

        options = replace(self.make_options(), **changes)
        return look(splits, self.reading, options, self.class_names)


def read_source(
    folder: str | None,
    train: str | None,
    validation: str | None,
    test: str | None,
    text: tuple[str, ...],
    label: str | None,
    group: str | None,
    date: str | None,
    against: tuple[str, ...],
    threshold: float,
    within: bool,
    max_decompressed: str | None = None,
    trust_recipe: bool = False,
) -> Source:
    """Read the data that a command names, and what it asks for."""
    from ftp_leakage import advice
    from ftp_leakage.check_options import CheckOptions

    files = {}
    for split, path in (("train", train), ("validation", validation), ("test", test)):
        if path:
            files[split] = path
    if bool(folder) == bool(files):
        raise UserError(
            "give either a folder of splits, or its files by --train, --validation, --test",
            "the folder has a file for each split, such as train.csv and validation.csv",
            "ftp data check --help",
        )
    form: str | None = None
    class_names: tuple[str, ...] = ()
    paths: dict[str, list[Path]] = {}
    if folder and folder.endswith(".toml"):
        recipe = read_recipe(folder, trust_recipe)
        splits = dict(recipe.splits)
        form = recipe.form
        class_names = recipe.labels
    else:
        splits, paths = _read_splits(folder, files, max_decompressed)
    _require_no_dropped_column(splits, (*text, label, group, date))
    # general text measures what a model forgets; it is no split of the task that rows could leak from
    splits.pop("general", None)
    require_columns(splits, text, group, date, "--", label)
    first = next(iter(splits.values()))
    reading = choose_reading(form or forms.detect(first.column_names), first, text, label)
    if not text:
        splits = {split: _with_parts(rows, reading, split) for split, rows in splits.items()}
    _require_text(splits, reading)

    # benchmarks may be large: they are read when everything else was found to be right
    def make_options() -> CheckOptions:
        benchmarks = read_benchmarks(against, max_decompressed)
        return CheckOptions(threshold, within, group, date, benchmarks)

    options = advice.command_options(
        text, label, group, date, against, threshold, within, max_decompressed
    )
    request = advice.request_of_files(folder, files, paths, options)
    return Source(splits, reading, make_options, paths, request, class_names)


def _read_splits(
    folder: str | None, files: Mapping[str, str], max_decompressed: str | None
) -> tuple[dict[str, Dataset], dict[str, list[Path]]]:
    """The rows of each split, and its files, where these can be written again without some rows."""
    from ftp.data.split_files import locate
    from ftp_leakage.advice import is_saved_set

    notes: list[str] = []
    splits: dict[str, Dataset] = {}
    paths: dict[str, list[Path]] = {}
    if folder:
        splits = dict(read_rows(folder, max_decompressed=max_decompressed, notes=notes))
        path = Path(folder).expanduser()
        if path.is_dir() and not is_saved_set(path):
            paths = {split: list(files_of) for split, files_of in locate(path)[0].items()}
        elif path.is_file():
            paths = {next(iter(splits)): [path]}
    for split, file in files.items():
        contents = dict(read_rows(file, max_decompressed=max_decompressed, notes=notes))
        if len(contents) > 1:
            raise UserError(
                f"{file} has several splits: {', '.join(contents)}",
                "name a file",
                shlex.join(["ftp", "data", "check", file]),
            )
        splits[split] = next(iter(contents.values()))
        paths[split] = [Path(file).expanduser()]
    for note in notes:
        warn(note)
    return splits, paths


def _require_no_dropped_column(splits: Mapping[str, Dataset], named: Sequence[str | None]) -> None:
    """Check that no column was left out on reading that the user named or that a form reads."""
    from ftp.data import dropped_columns

    columns = [name for name in named if name]
    for form in forms.all_forms():
        columns += forms.read_columns(form)
    for rows in splits.values():
        dropped_columns.require_held(rows, columns)


def _with_parts(rows: Dataset, reading: Reading, split: str) -> Dataset:
    """The rows with their texts under the names that the first split has for them, where it is clear
    which these are."""
    if set(reading.parts) <= set(rows.column_names) or not is_of_texts(reading.form):
        return rows
    own = choose_reading(forms.detect(rows.column_names), rows)
    # of several columns without a known name nobody can tell which is which
    has_known_names = "columns" not in (reading.form, own.form)
    is_clear = len(own.parts) == 1 or has_known_names
    if not is_of_texts(own.form) or len(own.parts) != len(reading.parts) or not is_clear:
        return rows
    names = {}
    for theirs, ours in zip(own.parts, reading.parts, strict=True):
        if theirs != ours:
            names[theirs] = ours
    if not set(names.values()).isdisjoint(rows.column_names):
        return rows
    for theirs, ours in names.items():
        warn(f"{split}: its column '{theirs}' is compared with '{ours}' of the others")
    return rows.rename_columns(names)


def _require_text(splits: Mapping[str, Dataset], reading: Reading) -> None:
    """Check that every split has the columns of text that are read."""
    if not reading.parts:
        columns = ", ".join(next(iter(splits.values())).column_names)
        raise UserError(
            f"no column of text is found; the columns: {columns}", "name it", "--text-column NAME"
        )
    if not is_of_texts(reading.form):
        return  # parts of other forms are made of several columns
    missing = []
    for split, rows in splits.items():
        for name in reading.parts:
            if name not in rows.column_names:
                missing.append(f"{split} has no column '{name}'")
    if missing:
        raise UserError(
            "; ".join(missing),
            "all splits must have the same text columns",
            "--text-column NAME",
        )
