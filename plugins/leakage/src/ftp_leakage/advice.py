"""The commands to type next: they work as they stand, and are made of what was really asked for."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ftp.folder.writing import free_name

if TYPE_CHECKING:
    from ftp.types import Form, Run
    from ftp_leakage import Leakage
    from ftp_leakage.rows import Reading

THRESHOLD = 0.8  # the default of `--threshold`, which needs no saying
READ_OPTIONS = ("--text-column", "--label-column", "--max-decompressed", "--threshold")
"""Options that say how rows are read and compared, whichever split they are of."""


@dataclass(frozen=True)
class Request:
    """A check in the words of `ftp data`.

    Args:
        source: what names the data.
        options: what is looked for; each option has a value, but `--within`, which is the last.
        out: where clean splits would go.
        train: the file of the training rows, where it is one.
        names: column -> its name in the data.
        cuts_validation: the source is a recipe whose run cuts its own validation split.
        recipe: that of the run that asks.
    """

    source: tuple[str, ...]
    options: tuple[str, ...]
    out: Path
    train: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    cuts_validation: bool = False
    recipe: Path | None = None

    def cut_by_group(self, column: str) -> str | None:
        """The command of a run that keeps rows of one group on one side of its own cut; None where
        the run cuts no validation split."""
        if self.cuts_validation:
            return shlex.join(["ftp", "run", *self.source, "--group-column", column])
        if self.recipe is None or self.train is None:
            return None
        name = self.names.get(column, column)
        run = ["ftp", "run", str(self.recipe), "--data", self.train, "--group-column", name]
        return shlex.join(run)

    def clean(self, *more: str) -> str:
        """The command that writes the splits without what leaks."""
        out = str(free_name(self.out))
        return shlex.join(
            ["ftp", "data", "clean", *self.source, *self.options, *more, "--out", out]
        )

    def check(self) -> str:
        """The command that shows every finding."""
        return shlex.join(["ftp", "data", "check", *self.source, *self.options, "--json"])

    def clean_train(self) -> str:
        """The command where cleaning would leave nothing: the training rows alone, of which a run
        cuts its own validation."""
        if self.train is None:
            return self.check()
        options = []
        for option, value in zip(self.options[::2], self.options[1::2], strict=False):
            if option in READ_OPTIONS:
                options += [option, value]
        out = str(free_name(self.out))
        clean = ["ftp", "data", "clean", "--train", self.train, *options, "--within", "--out", out]
        return shlex.join(clean)


def command_options(
    text: Sequence[str] = (),
    label: str | None = None,
    group: str | None = None,
    date: str | None = None,
    against: Sequence[str] = (),
    threshold: float = THRESHOLD,
    within: bool = False,
    max_decompressed: str | None = None,
) -> tuple[str, ...]:
    """What is looked for, as options of `ftp data`."""
    pairs: list[tuple[str, str | None]] = [("--text-column", name) for name in text]
    pairs += [("--label-column", label), ("--group-column", group), ("--date-column", date)]
    pairs += [("--against", name) for name in against]
    pairs.append(("--max-decompressed", max_decompressed))
    options: list[str] = []
    for option, value in pairs:
        if value is not None:
            options += [option, value]
    if threshold != THRESHOLD:
        options += ["--threshold", f"{threshold:g}"]
    if within:
        options.append("--within")
    return tuple(options)


def request_of_files(
    folder: str | None,
    files: Mapping[str, str],
    paths: Mapping[str, Sequence[Path]],
    options: tuple[str, ...],
) -> Request:
    """As a command line names its data: a folder (or the recipe of a run), or a file a split.

    Args:
        files: split -> its file, where the command line names files.
        paths: split -> all its files.
    """
    train_paths = paths.get("train", ())
    train = str(train_paths[0]) if len(train_paths) == 1 else None
    if folder is None:
        source: list[str] = []
        for split, file in files.items():
            source += [f"--{split}", file]
        first_file = Path(next(iter(files.values())))
        return Request(tuple(source), options, first_file.parent / "clean", train)
    path = Path(folder)
    if path.suffix == ".toml":
        return Request((folder,), options, path.parent / "clean")
    # a set of the hub has no folder: what is made of it goes here
    beside = path.parent if path.exists() else Path()
    name = path.name.split(".")[0] if path.is_file() else path.name
    return Request((folder,), options, beside / f"{name}-clean", train)


def request_of_run(leakage: Leakage, run: Run, form: Form, reading: Reading) -> Request | None:
    """As a run names its data: its files, where they hold the rows as they were compared; else its
    recipe, which reads them again. None for a run that has neither."""
    from ftp.data import read_rows
    from ftp.data.loading import mapping

    settings = run.settings
    data = settings.data if settings else None
    if data:
        names = mapping(settings.columns)
        paths = _files_as_compared(data, names, form, settings.max_decompressed)
        if paths:
            recipe = run.out / "run.toml" if run.out is not None else None
            options = _options_of_run(leakage, run, reading, names)
            request = request_of_files(data, {}, paths, options)
            return replace(request, names=names, recipe=recipe)
    if run.out is None:
        return None

    # a recipe names columns as the run does
    request = request_of_files(
        str(run.out / "run.toml"), {}, {}, _options_of_run(leakage, run, reading, {})
    )
    if not data or not Path(data).exists():
        return request
    splits = read_rows(data, streaming=True, max_decompressed=settings.max_decompressed)
    return replace(request, cuts_validation="validation" not in splits)


def _options_of_run(
    leakage: Leakage, run: Run, reading: Reading, names: Mapping[str, str]
) -> tuple[str, ...]:
    """What a run looks for, as options of `ftp data`.

    Args:
        names: column -> its name in the data.
    """
    text = leakage.columns
    if not text and set(names) & set(reading.parts):
        text = reading.parts
    group = leakage.group_column
    date = leakage.date_column
    return command_options(
        [names.get(name, name) for name in text],
        names.get("label"),
        names.get(group, group) if group else None,
        names.get(date, date) if date else None,
        leakage.against,
        leakage.threshold,
        max_decompressed=run.settings.max_decompressed if run.settings else None,
    )


def _files_as_compared(
    data: str, names: Mapping[str, str], form: Form, max_decompressed: str | None
) -> Mapping[str, Sequence[Path]]:
    """The files of a folder that holds several splits which `ftp data` reads in the form of the
    run; empty for other data."""
    from ftp import forms
    from ftp.data import read_rows
    from ftp.data.split_files import locate

    folder = Path(data).expanduser()
    if not folder.is_dir() or (names and forms.get(form).column("text") is None):
        return {}
    splits = read_rows(folder, columns=names, streaming=True, max_decompressed=max_decompressed)
    if len(splits.keys() - {"general"}) < 2:
        return {}
    if any(forms.detect(rows.column_names or ()) != form for rows in splits.values()):
        return {}
    if is_saved_set(folder):
        return {split: [] for split in splits}
    return locate(folder)[0]


def is_saved_set(folder: Path) -> bool:
    """Whether a folder is one that `datasets` saved, whose files are none of a split's."""
    return (folder / "state.json").exists() or (folder / "dataset_dict.json").exists()
