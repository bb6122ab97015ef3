"""What a domain calls to read its rows, and what core calls to settle the rows of all domains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ftp.data import (
    arrow,
    chunks,
    downhill,
    forms,
    read,
    split_files,
    splits,
    tables,
    target_form,
)
from ftp.data.readers import ReadColumns
from ftp.errors import Problem, UserError
from ftp.types import Data, Form

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

    from ftp.types import Run

    Rows: TypeAlias = Dataset | IterableDataset


def load(
    run: Run,
    sample: Path | None = None,
    *,
    form: Form,
    labels: Sequence[str] = (),
    columns: Mapping[str, str] = {},
    adapt: Callable[[Rows], Rows] | None = None,
) -> dict[str, Rows]:
    """The rows that `--data` names, else those of `sample`, in the form that the run's objective reads.

    `form`: the domain's own form; rows richer than needed are converted downhill, poorer ones are an error that
    names the columns. `labels`: the domain's classes in the order of their numbers. `columns`: the domain's own
    mapping (ours -> theirs) for its sample; `--columns` maps those of `--data`. `adapt`: brings the rows of a split whose
    columns the domain knows and core does not into columns that core reads; all others it gives back as they are.
    """
    settings = run.settings
    source: str | Path | None = settings.data if settings.data is not None else sample
    if source is None:
        raise UserError("there are no data: this domain has no sample of its own", "name your data", "--data FILE_OR_FOLDER")
    chosen = mapping(settings.columns)
    if settings.data is None:
        chosen = {**columns, **chosen}
    reading: list[str] = []
    limit = settings.max_decompressed
    read_columns = ReadColumns()
    try:
        found = read.read(source, columns=chosen, streaming=settings.streaming, max_decompressed=limit, notes=reading,
                          read_columns=read_columns)
    finally:
        for note in reading:  # also before an error, which they may explain
            run.tell(note)
    if unused := split_files.left_out(source):
        run.tell(f"{source}: not used, as their names are no split's: {', '.join(unused)}")
    adapted = found
    if adapt is not None:
        adapted = {split: adapt(rows) for split, rows in found.items()}
    if all(adapted[split] is rows for split, rows in found.items()):  # else the domain reads columns of its own
        names = _columns_read(found, run.task.form, form)
        if names:
            names |= {settings.group_column} if settings.group_column else set()
            read_columns.limit_to((chosen.get(name, name) for name in names), run.tell)
    found = adapted
    made, _, notes = target_form.shape(found, run.task.form, labels, prefer=form, told=str(source), others=run.task.others,
                           mapped=chosen, files=split_files.files_of(source), join_labels=settings.join_labels)
    for note in notes:
        run.tell(note)
    return made


def _columns_read(found: Mapping[str, Rows], target: Form, prefer: Form) -> set[str]:
    """Every column that bringing these splits to the target form looks at; none where that is not known."""
    names: set[str] = set()
    for rows in found.values():
        leading = downhill.offers_to(rows.column_names or (), target)
        if not leading:
            return set()
        sources = {prefer if prefer in leading else leading[0]}
        if "feedback" in leading:
            sources |= {"feedback", "conversation"}  # by what its labels turn out to be
        for source in sources:
            names |= forms.read_columns(source)
    return names


def settle(
    found: Mapping[str, Rows], run: Run, refused: list[Problem] | None = None
) -> tuple[Data, list[str]]:
    """The rows of all domains as the `Data` of a run, and notes to tell.

    Every split is brought to `run.task.form`, its columns and types checked, labels made class numbers over all
    splits, a missing validation cut from train, and `max_train_rows` kept. Only train may stay a stream.
    UserError says what is wrong with which split. `refused`: as in `splits.complete`.
    """
    from datasets import Dataset

    settings, form = run.settings, run.task.form
    strange = [split for split in found if split not in split_files.SPLITS]
    if strange:
        raise UserError(f"unknown splits: {', '.join(strange)}", f"splits are named {', '.join(split_files.SPLITS)}")
    plain = {split: rows if split == "train" else _stored(rows, split) for split, rows in found.items()}
    made, names, notes = target_form.shape(plain, form, join_labels=settings.join_labels)
    whole, more = splits.complete(
        made,
        seed=settings.seed,
        validation_share=settings.validation_share,
        group=settings.group_column,
        form=form,
        refused=refused,
    )
    notes += more
    most = settings.max_train_rows
    train = whole.get("train")
    if most is None or train is None:
        return Data(whole, form, names), notes
    if not isinstance(train, Dataset):
        whole["train"] = train.take(most)
    elif len(train) > most:
        import numpy as np

        some = np.random.default_rng(settings.seed).permutation(len(train))[:most]
        whole["train"] = train.select(np.sort(some))
        notes.append(f"train: {most} of {len(train)} rows used (max_train_rows)")
    return Data(whole, form, names), notes


def _stored(rows: Rows, split: str) -> Dataset:
    """Rows of a split that is looked at again and again: a stream is read to its end and kept."""
    from datasets import Dataset

    from ftp.data import json_column

    if isinstance(rows, Dataset):
        return rows
    if not hasattr(rows, "iter"):
        raise TypeError(f"load_data gave a {type(rows).__name__} for {split}, not a datasets.Dataset")
    # Python objects, as `datasets` infers Arrow anew for each batch of rows that were changed on the way
    parts = (json_column.with_kinds(arrow.table(chunk), rows.features) for chunk in chunks.chunked(enumerate(rows), 10_000))
    stored = tables.dataset(parts, told=split)
    return stored.cast(rows.features) if rows.features else stored


def mapping(columns: Iterable[str]) -> dict[str, str]:
    """`("text=sentence", "label=target")` -> {"text": "sentence", "label": "target"}; commas part pairs as well."""
    found: dict[str, str] = {}
    for pair in (pair.strip() for text in columns for pair in text.split(",")):
        ours, equals, theirs = pair.partition("=")
        if not equals or not ours.strip() or not theirs.strip():
            raise UserError(f"--columns {pair}: not of the form ours=theirs", "name our column first", "--columns text=sentence")
        if ours.strip() in found:
            raise UserError(f"--columns: {ours.strip()} is mapped twice", "map each of our columns once")
        found[ours.strip()] = theirs.strip()
    return found
