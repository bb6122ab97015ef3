"""`ftp predict`: the answers of a finished run to texts, to lines of standard input, or to the rows of a file."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from ftp import forms, heads
from ftp.cli.trust import changed_base, trust, trust_recipe
from ftp.errors import UserError
from ftp.folder import state, writing
from ftp.forms.catalogue import new_names
from ftp.host.faults import disk
from ftp.host.terminal import is_interactive, say, say_json, warn
from ftp.types import Row

if TYPE_CHECKING:
    from datasets import Dataset

    from ftp.runs.predictor import Predictor

ROWS = 256
"""Rows that are answered before they are written, so that any length of input fits in memory."""
ADDED = ("answer", "scores")
"""Columns that are added to a row."""
ORIGINAL = "_original"
"""What stands behind the name of a column of the file that has one of these names."""
Emit = Callable[[Row, Row], None]
"""Takes a row and the answer to it (`answer`, and with classes `scores`)."""


@click.command("predict")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("texts", nargs=-1)
@click.option("--input", "source", type=click.Path(path_type=Path), help="A file of rows: csv, jsonl, txt, parquet ...")
@click.option("--output", "target", type=click.Path(path_type=Path), help="Write a .csv or .jsonl file instead of the screen.")
@click.option("--columns", default="", help="Column mapping, ours=theirs (text=sentence); default: as in the run.")
@click.option("--max-decompressed", help="What a compressed --input may grow to (64GB). Default: 200 times its size.")
@trust
@trust_recipe
@changed_base
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: the row, its answer, its scores.")
def command(run: Path, texts: tuple[str, ...], source: Path | None, target: Path | None, columns: str,
            max_decompressed: str | None, trust_remote_code: bool, trust_recipe: bool, allow_changed_base: bool,
            as_json: bool) -> None:
    """Ask a finished run for its answers.

    TEXTS are answered; without any, the rows of --input, or else the lines of standard input. Rows keep their columns;
    `answer` is added, and with classes `scores`, the probability of each; a column that has such a name becomes
    `answer_original`.
    """
    if texts and source is not None:
        raise UserError("predict takes texts or --input, not both", "leave one of them out")
    if target is not None:
        _check_target(target, source)
    if not texts and source is None and is_interactive():
        raise UserError("predict: no texts are given", "give texts, --input FILE, or lines on standard input",
                        f'ftp predict {run} "a text"')
    if not run.is_dir():
        raise UserError(f"{run}: there is no such folder", "name the folder of a run", "ftp runs")

    from ftp.runs.predictor import load

    predictor = load(run, trust_remote_code, trust_recipe, allow_changed_base)
    # a model that scores answers is asked about them
    reads_answers = heads.get(predictor.model.head).reads_answers
    answer_columns = frozenset() if reads_answers else forms.get(predictor.data.form).answers
    rows: Iterable[Row]
    if source is not None:
        rows = _file(source, predictor, columns, max_decompressed)
    else:
        rows = ({"text": text} for text in (texts or _lines(sys.stdin.buffer)))
    # what is shown of a row is all of it; what the model is asked has no answers in it
    with _sink(target, as_json) as emit:
        count = 0
        for chunk in _chunks(rows, ROWS):
            asked = [row["text"] if source is None else _without(row, answer_columns) for row in chunk]
            for row, answer in zip(chunk, predictor.predict(asked, start=count), strict=True):
                emit(_with_room(row), writing.plain(answer))
                count += 1
    if target is not None:
        say(f"{count} answers in {target}")


def _check_target(target: Path, source: Path | None) -> None:
    """Raise `UserError` where answers would be written over what is read, over a file of a run, or in no known format."""
    if source is not None and source.resolve() == target.resolve():
        raise UserError(f"--output {target}: is the file that --input names", "name another file")
    if source is not None and target.exists() and source.resolve() in target.resolve().parents:
        raise UserError(f"--output {target}: is a file of the folder that --input names", "name another file")
    state.check_writable_over(target, "--output")
    if target.suffix.lower() not in (".csv", ".jsonl"):
        raise UserError(f"--output {target}: written as .csv or .jsonl, by the ending of its name")


def _file(source: Path, predictor: Predictor, columns: str, max_decompressed: str | None) -> Iterator[Row]:
    """The rows of a file, its columns under our names."""
    from ftp.data import new_rows
    from ftp.data.dropped_columns import require_held
    from ftp.data.json_column import as_written

    form = predictor.data.form
    notes: list[str] = []
    read = new_rows.read_splits(str(source), predictor.run, form, notes, splits={"test": "test"}, columns=columns,
                                max_decompressed=max_decompressed)
    for note in notes:
        warn(note)
    require_held(read["test"], forms.get(form).required)
    rows, theirs_of = new_rows.named(read["test"], predictor.run, str(source), columns=columns)
    _check_columns(rows, form, theirs_of, source)
    # null in a struct of a table is a field that the row does not have (tools that differ between rows)
    features = rows.features or {}
    return ({name: as_written(value, features.get(name)) for name, value in row.items()} for row in rows)


def _check_columns(rows: Dataset, form: str, mapped: Mapping[str, str], source: Path) -> None:
    """Raise `UserError` where rows lack a column that the form needs to be asked, or have no room for answers.

    Args:
        mapped: our names -> those of the file, as rows were renamed by.
    """
    from ftp.data.asked import asked_form
    from ftp.data.suggest import column_meant, columns_option, with_second_text

    present = list(rows.column_names or ())
    spec = forms.get(asked_form(tuple(present), form))
    if not spec.has_messages:  # a conversation may be asked by several columns
        known = {*present, *new_names(present, spec.name).values()}
        for name in spec.required:
            if name in known or name in spec.answers:
                continue
            meant = column_meant(rows, name)
            advised = with_second_text(rows, spec.name, {name: meant}) if meant else {}
            raise UserError(f"--input {source}: no column '{name}'; its columns: {', '.join(present)}",
                            "name the column that holds it", columns_option(mapped, advised))
    for name in ADDED:
        if name in present and f"{name}{ORIGINAL}" in present:
            raise UserError(f"--input {source}: has a column '{name}', which is where the answers go, and '{name}{ORIGINAL}', "
                            "where it would make room for them", "rename one of them")


def _with_room(row: Row) -> Row:
    """A row in which no column has a name that answers take."""
    return {f"{name}{ORIGINAL}" if name in ADDED else name: value for name, value in row.items()}


def _without(row: Row, columns: Collection[str]) -> Row:
    """A row without these columns, which the model is asked for."""
    return {name: value for name, value in row.items() if name not in columns}


def _lines(stream: IO[bytes]) -> Iterator[str]:
    """Lines of standard input; an empty line is a text too, so that answers and lines keep step."""
    for number, line in enumerate(stream, 1):
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise UserError(f"standard input, line {number}: not UTF-8 ({error.reason} at byte {error.start})",
                            "convert it, with iconv for example") from error


def _chunks(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, size)):
        yield chunk


@contextlib.contextmanager
def _sink(target: Path | None, as_json: bool) -> Iterator[Emit]:
    """Where answers go. A file appears under its name only when all of it is written."""
    if target is None:
        yield _shown_as_json if as_json else _line
        return
    aside = target.with_name(f".{target.name[:40]}.{os.getpid()}.part")  # a name may be as long as the system allows
    try:
        with disk(target, "--output"), aside.open("w", encoding="utf-8", newline="") as file:
            yield _csv(file) if target.suffix.lower() == ".csv" else _object(file)
        with disk(target, "--output"):
            aside.replace(target)
    finally:
        with contextlib.suppress(OSError):  # a folder that is none, for example, which was told
            aside.unlink(missing_ok=True)


def _line(row: Row, answer: Row) -> None:
    """`positive  98.1%  (negative 1.9%)  the text`, on the screen."""
    parts = [str(answer["answer"])]
    scores = answer.get("scores")
    if isinstance(scores, Mapping):
        # an answer of several classes is none of them
        if isinstance(answer["answer"], str) and answer["answer"] in scores:
            parts.append(f"{scores[answer['answer']]:.1%}")
        best_first = sorted(scores.items(), key=itemgetter(1), reverse=True)
        others = [f"{name} {value:.1%}" for name, value in best_first if name != answer["answer"]]
        parts.append(f"({', '.join(others)})")
    parts.append(str(row.get("text") or _first_text(row)))
    say("  ".join(parts))


def _first_text(row: Row) -> str:
    return next((value for value in row.values() if isinstance(value, str)), "")


def _shown_as_json(row: Row, answer: Row) -> None:
    say_json({**writing.plain(row), **answer})


def _object(file: IO[str]) -> Emit:
    """One JSON object a line: the row and its answer."""

    def emit(row: Row, answer: Row) -> None:
        file.write(json.dumps({**writing.plain(row), **answer}, ensure_ascii=False) + "\n")

    return emit


def _csv(file: IO[str]) -> Emit:
    """A column `answer`, and `score_<label>` for each class; columns that hold more than one value are written as JSON."""
    writer: csv.DictWriter[str] | None = None

    def emit(row: Row, answer: Row) -> None:
        nonlocal writer
        cells = {name: _cell(value) for name, value in {**row, "answer": answer["answer"]}.items()}
        for name, score in _named_scores(answer.get("scores")):
            cells[f"score_{name}"] = _cell(score)
        if writer is None:  # the columns are known with the first row
            writer = csv.DictWriter(file, list(cells))
            writer.writeheader()
        writer.writerow(cells)

    return emit


def _named_scores(scores: object) -> list[tuple[object, object]]:
    """Scores with the names of their classes, or with their numbers where classes have no names."""
    if isinstance(scores, Mapping):
        return list(scores.items())
    if isinstance(scores, (list, tuple)):
        return list(enumerate(scores))
    return [(0, scores)] if scores else []


def _cell(value: object) -> object:
    return json.dumps(writing.plain(value), ensure_ascii=False) if isinstance(value, (list, tuple, dict)) else value
