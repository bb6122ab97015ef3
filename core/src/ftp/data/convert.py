"""A data set of one form -> the same rows in another form, by the table in `downhill`; Arrow in, Arrow out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from ftp.data import chat_rows, downhill, forms, turns
from ftp.errors import Problem, UserError
from ftp.host.quiet import without_progress_bars
from ftp.types import Form

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, IterableDataset

    Rows = TypeVar("Rows", Dataset, IterableDataset)


def convert(dataset: Rows, source: Form, target: Form, labels: Sequence[str] = (), source_name: str = "data") -> Rows:
    """The rows as `target`, in its canonical columns; other columns are kept, those that clash are replaced.

    `labels`: names of the classes, used where numbers become words. Rows rated bad are left out on the way from
    feedback to conversation. `source == target` only brings the columns into canonical shape.
    UserError names the row of `source_name` that cannot be read.
    """
    steps = downhill.way(source, target)
    if steps is None:
        raise UserError(
            f"rows of the form '{source}' cannot be read as '{target}'",
            f"'{source}' can be read as: {', '.join(sorted(downhill.reachable([source])))}",
        )
    dataset = _renamed(dataset)
    if source in downhill.CANONICAL and not _is_canonical(dataset, source):
        dataset = _apply(dataset, downhill.CANONICAL[source], source, labels, source_name)
    for start, end in pairwise(steps):
        dataset = _apply(dataset, downhill.DOWNHILL[start, end], end, labels, source_name)
    return dataset


def _renamed(dataset: Rows) -> Rows:
    """The data set with common other names of our columns replaced by ours."""
    columns = list(dataset.column_names or ())
    new_names: dict[str, str] = {}
    for ours, other_names in forms.ALIASES.items():
        present = [name for name in other_names if name in columns]
        if ours not in columns and present:
            new_names[present[0]] = ours
    return dataset.rename_columns(new_names) if new_names else dataset


def _is_canonical(dataset: Dataset | IterableDataset, form: Form) -> bool:
    """Whether the columns are in canonical shape already, judged by their types."""
    from datasets import Json

    features = dataset.features
    if form == "question":
        return features is None or not isinstance(features.get("answers"), Json)
    if features is None or (form == "feedback" and getattr(features.get("label"), "dtype", None) != "bool"):
        return False
    required = (name for name in forms.MESSAGES[form] if name in forms.FORMS[form].required)
    return all(getattr(features.get(name), "holds_messages", False) for name in required)


def _apply(dataset: Rows, change: downhill.Change, form: Form, labels: Sequence[str], source_name: str) -> Rows:
    """The rows of a data set, each changed into the columns of `form`. Messages, and tools beside them, become JSON."""
    from datasets import Features

    from ftp.data import json_column

    features = dataset.features
    kinds = _kinds(form)
    if form == "prompt" and change is not downhill.conversation_to_prompt:
        kinds.pop("completion")  # only conversations are split into a prompt and its answer
    names = tuple(kinds)
    if form in forms.MESSAGES and {"tools", "functions"} & set(dataset.column_names or ()):
        kinds["tools"] = json_column.JsonColumn()
    step = partial(_changed, change=change, names=names, tools="tools" in kinds, labels=tuple(labels), source_name=source_name,
                   features=features)
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


def _kinds(form: Form) -> dict[str, Any]:
    """The columns that a change into `form` makes, with their kinds."""
    from datasets import List, Value

    from ftp.data.json_column import MessagesColumn

    if form == "text":
        return {"text": Value("string")}
    if form == "question":
        return {"answers": {"text": List(Value("string")), "answer_start": List(Value("int64"))}}
    kinds: dict[str, Any] = {name: MessagesColumn() for name in forms.MESSAGES[form]}
    return {**kinds, "label": Value("bool")} if form == "feedback" else kinds


def _changed(
    rows: Sequence[dict[str, Any]],
    indices: Sequence[int],
    *,
    change: downhill.Change,
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
