"""`ftp evaluate`: the scores of a finished run on other data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ftp.cli.trust import changed_base, trust, trust_recipe
from ftp.errors import UserError
from ftp.folder.writing import plain
from ftp.host.terminal import console, say, say_json
from ftp.types import Data

if TYPE_CHECKING:
    from ftp.runs.predictor import Predictor


@click.command("evaluate")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", "source", required=True, help="A file, a folder of splits, or a hub id (hub_id:config).")
@click.option("--split", default="", help="Only this split of it; default: all but train.")
@click.option("--columns", default="", help="Column mapping, ours=theirs (text=sentence,label=target); default: that of the run.")
@click.option("--join-labels", is_flag=True, help="Labels that are spelt otherwise count as the class of the run that they mean; "
              "default: as in the run.")
@click.option("--max-decompressed", help="What a compressed file may grow to (64GB). Default: 200 times its size.")
@trust
@trust_recipe
@changed_base
@click.option("--json", "as_json", is_flag=True, help="{run, data, scores: [{name, value, goal, split, n}]}.")
def command(run: Path, source: str, split: str, columns: str, join_labels: bool, max_decompressed: str | None,
            trust_remote_code: bool, trust_recipe: bool, allow_changed_base: bool, as_json: bool) -> None:
    """Measure a finished run on other data, with the scores of its own plugins."""
    if not run.is_dir():
        raise UserError(f"{run}: there is no such folder", "name the folder of a run", "ftp runs")

    from ftp.runs.predictor import load

    predictor = load(run, trust_remote_code, trust_recipe, allow_changed_base)
    data, notes = held_out(predictor, source, split, columns, max_decompressed, join_labels)
    scores, _ = predictor.evaluate(data)
    if as_json:
        say_json({"run": str(run), "data": source, "scores": plain(scores), "notes": notes})
        return
    from ftp.report.outcome import score_table

    for note in notes:
        say(note)
    console().print(score_table(scores, []))


def held_out(
    predictor: Predictor, source: str, split: str, columns: str, max_decompressed: str | None = None, join_labels: bool = False
) -> tuple[Data, list[str]]:
    """The rows of `source` in the form of the run, with its classes; a single file counts as `test`."""
    from ftp.data.asked import names_of_text
    from ftp.data.load import mapping
    from ftp.data.read import read, rename
    from ftp.data.target_form import shape

    reading: list[str] = []
    single = Path(source).expanduser().is_file()
    asked = mapping([columns] if columns else predictor.run.settings.columns)
    found: Mapping[str, Any] = read(
        source, splits={"test": "test"} if single else {}, notes=reading,
        max_decompressed=max_decompressed or predictor.run.settings.max_decompressed,
        text_columns=names_of_text(predictor.data.form, asked),
    )
    if split and split not in found:
        raise UserError(f"--split {split}: {source} has no such split", f"it has: {', '.join(found)}")
    chosen = {split: found[split]} if split else {name: rows for name, rows in found.items() if name != "train"}
    if not chosen:  # a hub set or folder with nothing but train
        chosen = {"test": found["train"]}
    renamed = {}
    for name, rows in chosen.items():
        have = rows.column_names or ()
        wanted = asked if columns else {ours: theirs for ours, theirs in asked.items() if theirs in have}
        renamed[name] = rename(rows, wanted, f"{source} ({name})")
    splits, labels, notes = shape(renamed, predictor.data.form, predictor.data.labels, source_name=source,
                                 join_labels=join_labels or predictor.run.settings.join_labels, plain_values=True)
    return Data(splits, predictor.data.form, labels or predictor.data.labels), reading + notes
