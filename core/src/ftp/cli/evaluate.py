"""`ftp evaluate`: the scores of a finished run on other data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftp.cli.trust import changed_base, trust, trust_recipe
from ftp.errors import UserError
from ftp.folder.writing import plain
from ftp.host.terminal import console, say, say_json
from ftp.types import Data

if TYPE_CHECKING:
    from datasets import Dataset

    from ftp.runs.predictor import Predictor


@click.command("evaluate")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", "source", required=True, help="A file, a folder of splits, or a hub id (hub_id:config).")
@click.option("--split", default="", help="Only this split of it; default: all but train.")
@click.option("--domain", default="", help="Whose rows these are, of a run of several domains.")
@click.option("--columns", default="", help="Column mapping, ours=theirs (text=sentence,label=target); default: as in the run.")
@click.option("--join-labels", is_flag=True, help="Labels that are spelt otherwise count as the class of the run that they mean; "
              "default: as in the run.")
@click.option("--max-decompressed", help="What a compressed file may grow to (64GB). Default: 200 times its size.")
@trust
@trust_recipe
@changed_base
@click.option("--json", "as_json", is_flag=True, help="{run, data, scores: [{name, value, goal, split, n}]}.")
def command(run: Path, source: str, split: str, domain: str, columns: str, join_labels: bool, max_decompressed: str | None,
            trust_remote_code: bool, trust_recipe: bool, allow_changed_base: bool, as_json: bool) -> None:
    """Measure a finished run on other data, with the scores of its own plugins."""
    if not run.is_dir():
        raise UserError(f"{run}: there is no such folder", "name the folder of a run", "ftp runs")

    from ftp.runs.predictor import load

    predictor = load(run, trust_remote_code, trust_recipe, allow_changed_base)
    data, notes = held_out(predictor, source, split, columns, max_decompressed, join_labels, domain)
    scores, _ = predictor.evaluate(data)
    if as_json:
        say_json({"run": str(run), "data": source, "scores": plain(scores), "notes": notes})
        return
    from ftp.report.outcome import score_table

    for note in notes:
        say(note)
    console().print(score_table(scores, []))


def held_out(
    predictor: Predictor, source: str, split: str, columns: str, max_decompressed: str | None = None, join_labels: bool = False,
    domain: str = "",
) -> tuple[Data, list[str]]:
    """The rows of `source` in the form of the run, with its classes, and what there is to tell of them; a single file counts
    as `test`.

    Args:
        split: the only one to take; empty: all but train.
        columns: a mapping, as in `--columns`; what it does not name is as in the run.
        max_decompressed: what a compressed file may grow to; None: as in the run.
        join_labels: also where the run did not.
        domain: whose rows these are, of a run of several domains.
    """
    _check_domain(predictor, domain)
    from ftp.data import new_rows
    from ftp.data.domains import join
    from ftp.data.target_form import shape

    run = predictor.run
    form = predictor.data.form
    reading: list[str] = []
    is_file = Path(source).expanduser().is_file()
    present = new_rows.read_splits(source, run, form, reading, splits={"test": "test"} if is_file else {}, domain=domain,
                                   columns=columns, max_decompressed=max_decompressed)
    named = {}
    for name, rows in _chosen(present, split, source).items():
        named[name], _ = new_rows.named(rows, run, f"{source} ({name})", domain=domain, columns=columns)
    splits, labels, notes = shape(named, form, predictor.data.labels, source_name=source,
                                  join_labels=join_labels or run.settings.join_labels, plain_values=True)
    domains = {}
    if domain:  # the run's plugins score the rows of a domain by its name
        domains = {domain: splits}
        splits, _ = join(domains, form)
    return Data(splits, form, labels or predictor.data.labels, domains), reading + notes


def _chosen(present: Mapping[str, Dataset], split: str, source: str) -> Mapping[str, Dataset]:
    """The split that is named, else all but train; train where there is nothing else, as in a hub set, as `test`."""
    if split and split not in present:
        raise UserError(f"--split {split}: {source} has no such split", f"it has: {', '.join(present)}")
    if split:
        return {split: present[split]}
    # the model was trained on rows like those of train, if not on these
    without_train = {name: rows for name, rows in present.items() if name != "train"}
    return without_train or {"test": present["train"]}


def _check_domain(predictor: Predictor, domain: str) -> None:
    """Raise `UserError` where a run of several domains is not told whose rows these are, or has no such domain."""
    from ftp.plugins.several import joined_domains

    names = [plugin.name for plugin in joined_domains(predictor.run.hooks.picked)]
    if domain and domain not in names:
        fix = f"one of: {', '.join(names)}" if names else "leave it out: this run has one domain"
        raise UserError(f"--domain {domain}: this run has no several domains with this one among them", fix)
    if names and not domain:
        raise UserError(f"this run has several domains ({', '.join(names)}), each with scores of its own",
                        "say whose rows these are", f"--domain {names[0]}")
