"""A data set of one form -> the same rows in another form, by the ways of the forms; Arrow in, Arrow out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from ftp import forms
from ftp.data import chat_rows, turns
from ftp.data.column_kinds import KINDS
from ftp.errors import Problem, UserError
from ftp.host.quiet import without_progress_bars

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, IterableDataset

    Rows = TypeVar("Rows", Dataset, IterableDataset)


def convert(dataset: Rows, source: str, target: str, labels: Sequence[str] = (), source_name: str = "data") -> Rows:
    """The rows as `target`, in its canonical columns; other columns are kept, those that clash are replaced.

    `labels`: names of the classes, used where numbers become words. Rows rated bad are left out on the way from
    feedback to conversation. `source == target` only brings the columns into canonical shape.
    UserError names the row of `source_name` that cannot be read.
    """
    steps = forms.way(source, target)
    if steps is None:
        raise UserError(
            f"rows of the form '{source}' cannot be read as '{target}'",
            f"'{source}' can be read as: {', '.join(sorted(forms.reachable([source])))}",
        )
    dataset = _renamed(dataset, source)
    canonical = forms.canonical(source)
    if canonical is not None and not _is_canonical(dataset, canonical):
        dataset = _apply(dataset, canonical, labels, source_name)
    for step in pairwise(steps):
        dataset = _apply(dataset, forms.steps()[step], labels, source_name)
    return dataset


def _renamed(dataset: Rows, form: str) -> Rows:
    """The data set with common other names of the columns of its form replaced by ours."""
    columns = list(dataset.column_names or ())
    new_names: dict[str, str] = {}
    for column in forms.get(form).columns:
        present = [name for name in column.other_names if name in columns and name not in new_names]
        if column.name not in columns and present:
            new_names[present[0]] = column.name
    return dataset.rename_columns(new_names) if new_names else dataset


def _is_canonical(dataset: Dataset | IterableDataset, canonical: forms.Way) -> bool:
    """Whether the columns are in canonical shape already, judged by their types."""
    features = dataset.features or {}
    return all(KINDS[column.kind].is_canonical(features.get(column.name)) for column in _made_columns(canonical))


def _made_columns(way: forms.Way) -> list[forms.Column]:
    """The columns that a way makes."""
    spec = forms.get(way.target)
    names = way.makes or spec.required
    return [column for column in spec.columns if column.name in names]


def _apply(dataset: Rows, way: forms.Way, labels: Sequence[str], source_name: str) -> Rows:
    """The rows of a data set, each changed on this way. Messages, and tools beside them, become JSON."""
    from datasets import Features

    from ftp.data import json_column

    features = dataset.features
    kinds = {column.name: KINDS[column.kind].feature() for column in _made_columns(way)}
    names = tuple(kinds)
    if forms.get(way.target).has_messages and {"tools", "functions"} & set(dataset.column_names or ()):
        kinds["tools"] = json_column.JsonColumn()
    step = partial(_changed, change=way.change, names=names, tools="tools" in kinds, labels=tuple(labels),
                   source_name=source_name, features=features)
    if not hasattr(dataset, "num_rows"):
        # A stream: `datasets` takes Python objects through, as long as it is told the kinds.
        new_features = None
        if features is not None:
            new_features = Features({**_kept(features, kinds), **kinds})
        return dataset.map(partial(_batch, step=step), batched=True, with_indices=True, features=new_features)
    return _stored(dataset, step, kinds, source_name)


def _stored(dataset: Any, step: Callable[..., Any], kinds: Mapping[str, Any], source_name: str) -> Any:
    """Stored rows, changed; Arrow in, Arrow out, as `datasets` would write JSON columns with fewer digits."""
    from datasets import Features

    rows = dataset.with_format("arrow")
    features = Features({**_kept(dataset.features, kinds), **kinds})
    try:
        with without_progress_bars():
            changed = rows.map(partial(_table, step=step, kinds=kinds), batched=True, with_indices=True, features=features)
    except UserError as error:
        # The first row that cannot be read ended the map: the others are looked for, to name all at once.
        raise UserError([*error.problems, *_more_problems(rows, step, source_name)]) from None
    return changed.with_format(None)


def _more_problems(stored: Dataset, step: Callable[..., Any], source_name: str, most: int = 5) -> list[Problem]:
    """The rows that cannot be read behind the first one, and how many there are in all."""
    from ftp.data import json_column

    wrong: list[int] = []
    problems: list[Problem] = []
    for start in range(0, len(stored), 1000):
        for row_index, row in enumerate(json_column.rows_of(stored[start : start + 1000]), start):
            try:
                step([row], [row_index])
            except UserError as error:
                wrong.append(row_index)
                if 1 < len(wrong) <= most:  # the first one is known already
                    problems += error.problems
    if len(wrong) > most:
        problems.append(Problem(f"{source_name}: {len(wrong)} rows cannot be read; the first, counted from 0: {wrong[:most]}",
                                "mend or leave out these rows"))
    return problems


def _kept(features: Mapping[str, Any], kinds: Mapping[str, Any]) -> dict[str, Any]:
    return {name: kind for name, kind in features.items() if name not in kinds}


def _changed(
    rows: Sequence[dict[str, Any]],
    indices: Sequence[int],
    *,
    change: forms.Change,
    names: tuple[str, ...],
    tools: bool,
    labels: Sequence[str],
    source_name: str,
    features: Mapping[str, Any] | None,
) -> tuple[list[int], dict[str, list[Any]]]:
    """Which rows stay, and the columns that are made of them. UserError names a row that cannot be read."""
    from ftp.data import json_column

    kept: list[int] = []
    columns: dict[str, list[Any]] = {name: [] for name in names}
    if tools:
        columns["tools"] = []
    for i, row in enumerate(rows):
        if features is not None:
            row = {name: json_column.as_said(value, features.get(name)) for name, value in row.items()}
        try:
            new_row = change(row, labels)
            if new_row is not None and tools:
                new_row = {**new_row, "tools": chat_rows.tools(row)}
        except turns.Unfit as error:
            raise UserError(
                f"{source_name}: row {indices[i]} {error}",
                "rows count from 0; mend the row or leave it out",
            ) from None
        # None is a row that is left out on the way: an answer that was rated bad.
        if new_row is not None:
            kept.append(i)
            for name, column in columns.items():
                column.append(new_row[name])
    return kept, columns


def _batch(batch: Mapping[str, list[Any]], indices: list[int], *, step: Callable[..., Any]) -> dict[str, list[Any]]:
    """A batch of a stream, changed."""
    rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
    kept, new_columns = step(rows, indices)
    columns: dict[str, list[Any]] = {}
    for name, values in batch.items():
        if name not in new_columns:
            columns[name] = [values[i] for i in kept]
    return {**columns, **new_columns}


def _table(batch: pa.Table, indices: list[int], *, step: Callable[..., Any], kinds: Mapping[str, Any]) -> pa.Table:
    """A batch of stored rows, changed."""
    import pyarrow as pa
    from datasets import Json
    from datasets.features.features import get_nested_type

    from ftp.data import json_column

    kept, new_columns = step(json_column.rows_of(batch), indices)
    kept_rows = pa.array(kept, pa.int64())
    columns = {name: batch.column(name).take(kept_rows) for name in batch.column_names if name not in new_columns}
    for name, values in new_columns.items():
        kind = kinds[name]
        if isinstance(kind, Json):
            columns[name] = json_column.array(values)
        else:
            columns[name] = pa.array(values, get_nested_type(kind))
    return pa.table(columns)
