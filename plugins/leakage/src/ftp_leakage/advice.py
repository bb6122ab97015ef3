"""What to type next: commands that work, made of what was really asked."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ftp.folder.files import free_name

if TYPE_CHECKING:
    from ftp.types import Form, Run
    from ftp_leakage import Leakage
    from ftp_leakage.rows import Reading


READING = ("--text-column", "--label-column", "--max-decompressed", "--threshold")
"""Options that say how rows are read and compared, whichever split they are of."""


@dataclass(frozen=True)
class Asked:
    """What was asked for, in the words of `ftp data`. `source`: what names the data. `options`: what is looked for. `out`: where
    clean splits would go. `train`: the file of the training rows, where it is one. `names`: column -> its name in the data.
    `recut`: the source is a recipe whose run cuts its own validation split. `recipe`: that of the run that asks."""

    source: tuple[str, ...]
    options: tuple[str, ...]
    out: Path
    train: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    recut: bool = False
    recipe: Path | None = None

    def cut_again(self, column: str) -> str | None:
        """The command of a run that keeps rows of one group on one side of its own cut; None where there is none."""
        if self.recut:
            return shlex.join(["ftp", "run", *self.source, "--group-column", column])
        if self.recipe is None or self.train is None:
            return None
        named = self.names.get(column, column)
        return shlex.join(["ftp", "run", str(self.recipe), "--data", self.train, "--group-column", named])

    def clean(self, *more: str) -> str:
        """The command that writes the splits without what leaks."""
        return shlex.join(["ftp", "data", "clean", *self.source, *self.options, *more, "--out", str(free_name(self.out))])

    def look(self) -> str:
        """The command that shows every finding."""
        return shlex.join(["ftp", "data", "check", *self.source, *self.options, "--json"])

    def otherwise(self) -> str:
        """The command where cleaning would leave nothing: the training rows alone, of which a run cuts its own validation."""
        if self.train is None:
            return self.look()
        pairs = zip(self.options[::2], self.options[1::2], strict=False)  # --within, the last, has no value
        read = [word for pair in pairs if pair[0] in READING for word in pair]
        return shlex.join(["ftp", "data", "clean", "--train", self.train, *read, "--within", "--out", str(free_name(self.out))])


def words(
    text: Sequence[str] = (), label: str | None = None, group: str | None = None, date: str | None = None,
    against: Sequence[str] = (), threshold: float = 0.8, within: bool = False,
    max_decompressed: str | None = None,
) -> tuple[str, ...]:
    """What is looked for, as options of `ftp data`."""
    pairs = [*(("--text-column", name) for name in text), ("--label-column", label), ("--group-column", group),
             ("--date-column", date), *(("--against", name) for name in against), ("--max-decompressed", max_decompressed)]
    found = [word for flag, value in pairs if value is not None for word in (flag, value)]
    return (*found, *(["--threshold", f"{threshold:g}"] if threshold != 0.8 else []), *(["--within"] if within else []))


def of_files(
    folder: str | None, files: Mapping[str, str], paths: Mapping[str, Sequence[Path]], options: tuple[str, ...]
) -> Asked:
    """As a command line names its data: a folder (or the recipe of a run), or a file for each split. `paths`: all its files."""
    train = str(paths["train"][0]) if len(paths.get("train", ())) == 1 else None
    if folder is None:
        source = [word for split, path in files.items() for word in (f"--{split}", path)]
        return Asked(tuple(source), options, Path(next(iter(files.values()))).parent / "clean", train)
    place = Path(folder)
    if place.suffix == ".toml":
        return Asked((folder,), options, place.parent / "clean")
    beside = place.parent if place.exists() else Path()
    return Asked((folder,), options, beside / f"{place.name.split('.')[0] if place.is_file() else place.name}-clean", train)


def of_run(leakage: Leakage, run: Run, form: Form, read: Reading) -> Asked | None:
    """As a run names its data: its files, where they hold the rows as they were compared; else its recipe, which reads them
    again. None for a run that has neither."""
    from ftp.data.load import mapping
    from ftp.data.read import read as read_splits

    settings = run.settings
    names = mapping(settings.columns) if settings else {}

    def asked(names: Mapping[str, str]) -> tuple[str, ...]:
        def called(name: str | None) -> str | None:
            return names.get(name, name) if name else None

        text = leakage.columns or (read.parts if set(names) & set(read.parts) else ())
        return words([names.get(name, name) for name in text], names.get("label"), called(leakage.group_column),
                     called(leakage.date_column), leakage.against, leakage.threshold,
                     max_decompressed=settings.max_decompressed if settings else None)

    if settings and settings.data and (train := _as_compared(settings.data, names, form, settings.max_decompressed)):
        recipe = run.out / "run.toml" if run.out is not None else None
        return replace(of_files(settings.data, {}, train, asked(names)), names=names, recipe=recipe)
    if run.out is None:
        return None
    data = settings.data if settings and settings.data and Path(settings.data).exists() else None
    own = data is not None and "validation" not in read_splits(
        data, streaming=True, max_decompressed=settings.max_decompressed)
    return replace(of_files(str(run.out / "run.toml"), {}, {}, asked({})), recut=own)


def _as_compared(
    data: str, names: Mapping[str, str], form: Form, max_decompressed: str | None
) -> Mapping[str, Sequence[Path]]:
    """The files of a folder that holds several splits which `ftp data` reads in the form of the run; empty for other data."""
    from ftp import forms
    from ftp.data.read import read
    from ftp.data.split_files import locate

    place = Path(data).expanduser()
    if not place.is_dir() or (names and form not in ("text", "labelled")):
        return {}
    found = read(place, columns=names, streaming=True, max_decompressed=max_decompressed)
    if len(found.keys() - {"general"}) < 2 or any(forms.detect(rows.column_names or ()) != form for rows in found.values()):
        return {}
    saved = (place / "state.json").exists() or (place / "dataset_dict.json").exists()
    return {split: [] for split in found} if saved else locate(place)[0]
