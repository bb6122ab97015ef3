"""General rows among training rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftp import UserError
from ftp.types import Run


def mixed(run: Run, answer: Mapping[str, Any], source: str, share: float, cut: bool, name: str) -> dict[str, Any]:
    """A domain's splits with general rows of `source` in `train`, `share` of it; what is told calls it `name`. With `cut`,
    validation is cut from the domain's own rows first, as core would do afterwards."""
    import numpy as np
    from datasets import concatenate_datasets

    from ftp import forms
    from ftp.data import complete, read_rows, shape

    form, settings = run.task.form, run.settings
    given, _, notes = shape(dict(answer), form)
    for note in notes:
        run.tell(note)
    if cut:
        given, notes = complete(given, seed=settings.seed, validation_share=settings.validation_share,
                                group=settings.group_column, form=form)
        for note in notes:
            run.tell(note)
    reading: list[str] = []
    found = read_rows(source, max_decompressed=settings.max_decompressed, notes=reading)
    for note in reading:
        run.tell(note)
    general = found.get("general") or found.get("train") or next(iter(found.values()))
    general = shape({"general": general}, form, source_name=f"--mix.data {source}")[0]["general"]
    train, most = given["train"], settings.max_train_rows
    wanted = max(1, round(len(train) * share / (1 - share)))
    if most is not None and len(train) + wanted > most:  # else core would take its rows from all of them, at another share
        wanted = min(max(1, round(most * share)), most - 1) or 1
        train = train.select(np.sort(np.random.default_rng(settings.seed).permutation(len(train))[: max(1, most - wanted)]))
    if not len(general):
        raise UserError(f"--mix.data {source}: there are no rows in it", "name a file with general rows")
    chosen = np.sort(np.random.default_rng(settings.seed).permutation(len(general))[:wanted])
    spec = forms.get(form)
    optional = [name for name in spec.optional if name in train.column_names]
    columns = [*spec.required, *(name for name in dict.fromkeys([*optional, "tools"]) if name in general.column_names)]
    part = _as(general, chosen, columns, train)
    together = concatenate_datasets([train, part])
    real = len(part) / len(together)
    run.tell(f"mix: {len(part)} of {len(together)} training rows ({real:.1%}) are general rows of {name}")
    if len(part) < wanted:
        run.tell(f"mix: {name} has {len(general)} rows, and a share of {share:g} asks for {wanted}: it is {real:.1%} now")
    return {**given, "train": together}


def _as(general: Any, chosen: Any, columns: list[str], train: Any) -> Any:
    """The chosen rows with the types of `train`'s columns; columns that only `train` has are empty there, and the tools of a
    conversation are empty in `train` where it has none."""
    from datasets import Features

    part = general.select(chosen).select_columns(columns)
    return part.cast(Features({name: train.features.get(name, general.features[name]) for name in columns}))
