"""Rows out of files: splits to check, benchmarks to check against, and a row as a short text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftp import forms
from ftp.data.read import read
from ftp.errors import Problem, UserError, nearest
from ftp.host.terminal import warn
from ftp_leakage.rows import Reading, by_part, reading, whole

if TYPE_CHECKING:
    from ftp.types import Data

SHOWN = 160  # characters of a text shown at most


def against(sources: Sequence[str | Path], max_decompressed: str | None = None) -> dict[str, Iterator[dict[str, str]]]:
    """Benchmark files (or folders, hub sets) by name -> the texts of each of their rows, all splits one after the other."""
    return {str(source): _texts(read(source, max_decompressed=max_decompressed)) for source in sources}


def of_recipe(recipe: str, trust_recipe: bool = False) -> Data:
    """The rows of a run as the run reads them, from its recipe: those of a domain's own sample, and a validation split that the
    run cuts. `trust_recipe`: run the Python files that it names, and remember them."""
    from dataclasses import replace

    from ftp.cli import flags
    from ftp.data.collect import collect
    from ftp.folder.log import Log
    from ftp.host.quiet import quiet_libraries
    from ftp.plugins import trust
    from ftp.plugins.call import Hooks
    from ftp.types import Run

    _, prepared = flags.assemble([recipe, *([trust.FLAG] if trust_recipe else [])])
    quiet_libraries()
    settings = replace(prepared.settings, streaming=False)
    refused: list[Problem] = []
    run = Run(settings, prepared.task, Hooks(prepared.picked, prepared.values), log=Log(None, writer=False))
    data = collect(run, refused)
    for problem in refused:
        warn(f"ftp run would refuse these rows: {problem}")
    return data


def _texts(splits: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    for rows in splits.values():
        yield from by_part(reading(forms.detect(rows.column_names), rows), rows)


def require(
    splits: Mapping[str, Any], columns: Sequence[str], group: str | None, date: str | None, flags: str, label: str | None = None
) -> None:
    """UserError with every named column that a split does not have. `flags`: how the options begin."""
    wanted = [*((name, "columns" if flags.endswith(".") else "text-column") for name in columns)]
    wanted += [(name, flag) for name, flag in ((group, "group_column"), (date, "date_column"), (label, "label_column")) if name]
    problems = []
    for name, flag in wanted:
        flag = flags + (flag if flags.endswith(".") else flag.replace("_", "-"))
        for split, rows in splits.items():
            have = list(rows.column_names or ())
            if name not in have:
                fix = nearest(name, have) or f"its columns: {', '.join(have)}"
                problems.append(Problem(f"{flag} {name}: {split} has no such column", fix))
                break
    if problems:
        raise UserError(problems)


def shower(splits: Mapping[str, Any], read_as: Reading, hide: Callable[[str], str] = str) -> Callable[[str, int], str]:
    """A function that gives the shortened text of a row of a split, without what `hide` takes out."""

    def show(split: str, row: int) -> str:
        rows = splits[split]
        if not hasattr(rows, "num_rows"):
            return ""
        text = " ".join(hide(next(whole(read_as, rows.select([row])), "")).split())
        return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"

    return show
