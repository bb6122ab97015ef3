"""General rows among training rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ftp import UserError
from ftp.types import Run

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from numpy.typing import NDArray


def mixed(
    run: Run, answer: Mapping[str, Dataset], source: str, share: float, cut: bool, name: str
) -> dict[str, Dataset]:
    """A domain's splits with general rows in `train`.

    Args:
        source: where the general rows are read.
        share: of the training rows that are to be general.
        cut: cut validation from the domain's own rows first, as core would do afterwards.
        name: what the general rows are called in what is told.
    """
    from datasets import concatenate_datasets

    from ftp.data import complete, shape

    form = run.task.form
    settings = run.settings
    splits, _, notes = shape(dict(answer), form)
    _tell(run, notes)
    if cut:
        splits, notes = complete(splits, seed=settings.seed, validation_share=settings.validation_share,
                                 group=settings.group_column, form=form)
        _tell(run, notes)
    general = _read_general(run, source)
    train = splits["train"]
    most = settings.max_train_rows
    # share = general / (train + general), solved for general
    num_general = max(1, round(len(train) * share / (1 - share)))
    # else core would take its rows from all of them, at another share
    if most is not None and len(train) + num_general > most:
        num_general = min(max(1, round(most * share)), most - 1) or 1
        train = train.select(_sample(len(train), max(1, most - num_general), settings.seed))
    if not len(general):
        raise UserError(f"--mix.data {source}: there are no rows in it", "name a file with general rows")
    part = _with_columns_of(train, general.select(_sample(len(general), num_general, settings.seed)), form)
    together = concatenate_datasets([train, part])
    real_share = len(part) / len(together)
    run.tell(f"mix: {len(part)} of {len(together)} training rows ({real_share:.1%}) are general rows of {name}")
    if len(part) < num_general:
        run.tell(f"mix: {name} has {len(general)} rows, and a share of {share:g} asks for {num_general}: it is "
                 f"{real_share:.1%} now")
    return {**splits, "train": together}


def _tell(run: Run, notes: Iterable[str]) -> None:
    for note in notes:
        run.tell(note)


def _read_general(run: Run, source: str) -> Dataset:
    """The general rows in the form of the run: of the split `general` or `train`, else of the first that there is."""
    from ftp.data import read_rows, shape

    notes: list[str] = []
    splits = read_rows(source, max_decompressed=run.settings.max_decompressed, notes=notes)
    _tell(run, notes)
    general = splits.get("general") or splits.get("train") or next(iter(splits.values()))
    shaped = shape({"general": general}, run.task.form, source_name=f"--mix.data {source}")
    return shaped[0]["general"]


def _sample(num_rows: int, count: int, seed: int) -> NDArray[np.int64]:
    """The numbers of some rows, in order."""
    import numpy as np

    return np.sort(np.random.default_rng(seed).permutation(num_rows)[:count])


def _with_columns_of(train: Dataset, general: Dataset, form: str) -> Dataset:
    """General rows with the types of `train`'s columns; columns that only `train` has are empty there, and the tools of a
    conversation are empty in `train` where it has none."""
    from datasets import Features

    from ftp import forms

    spec = forms.get(form)
    optional = [name for name in spec.optional if name in train.column_names]
    columns = list(spec.required)
    columns += [name for name in dict.fromkeys([*optional, "tools"]) if name in general.column_names]
    part = general.select_columns(columns)
    return part.cast(Features({name: train.features.get(name, general.features[name]) for name in columns}))
