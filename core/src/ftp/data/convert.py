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


def convert(dataset: Rows, source: Form, target: Form, labels: Sequence[str] = (), told: str = "data") -> Rows:
    """The rows as `target`, in its canonical columns; other columns are kept, those that clash are replaced.

    `labels`: names of the classes, used where numbers become words. Rows rated bad are left out on the way from
    feedback to conversation. `source == target` only brings the columns into canonical shape.
    UserError names the row of `told` that cannot be read.
    """
    walked = downhill.way(source, target)
    if walked is None:
        raise UserError(
            f"rows of the form '{source}' cannot be read as '{target}'",
            f"'{source}' can be read as: {', '.join(sorted(downhill.reachable([source])))}",
        )
    dataset = _renamed(dataset)
    if source in downhill.CANONICAL and not _is_canonical(dataset, source):
        dataset = _apply(dataset, downhill.CANONICAL[source], source, labels, told)
    for start, end in pairwise(walked):
        dataset = _apply(dataset, downhill.DOWNHILL[start, end], end, labels, told)
    return dataset


def _renamed(dataset: Rows) -> Rows:
    """The data set with common other names of our columns replaced by ours."""
    have = list(dataset.column_names or ())
    found = {
        next(name for name in names if name in have): ours
        for ours, names in forms.ALIASES.items()
        if ours not in have and any(name in have for name in names)
    }
    return dataset.rename_columns(found) if found else dataset


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


def _apply(dataset: Rows, change: downhill.Change, form: Form, labels: Sequence[str], told: str) -> Rows:
    """The rows of a data set, each changed into the columns of `form`. Messages, and tools beside them, become JSON."""
    from datasets import Features

    from ftp.data import json_column

    features = dataset.features
    kinds = _kinds(form)
    if form == "prompt" and change is not downhill.conversation_to_prompt:  # an answer, where there is one, is nobody's business
        kinds.pop("completion")
    names = tuple(kinds)
    if form in forms.MESSAGES and {"tools", "functions"} & set(dataset.column_names or ()):
        kinds["tools"] = json_column.JsonColumn()
    step = partial(_changed, change=change, names=names, tools="tools" in kinds, labels=tuple(labels), told=told,
                   features=features)
    if not hasattr(dataset, "num_rows"):
        made = Features({**_kept(features, kinds), **kinds}) if features is not None else None
        return dataset.map(partial(_batch, step=step), batched=True, with_indices=True, features=made)
    return _stored(dataset, step, kinds, told)


def _stored(dataset: Any, step: Callable[..., Any], kinds: Mapping[str, Any], told: str) -> Any:
    """Stored rows, changed; Arrow in, Arrow out, as `datasets` would write JSON columns with fewer digits."""
    from datasets import Features

    rows = dataset.with_format("arrow")
    features = Features({**_kept(dataset.features, kinds), **kinds})
    try:
        with without_progress_bars():
            made = rows.map(partial(_table, step=step, kinds=kinds), batched=True, with_indices=True, features=features)
    except UserError as error:
        raise UserError([*error.problems, *_more_problems(rows, step, told)]) from None
    return made.with_format(None)


def _more_problems(stored: Dataset, step: Callable[..., Any], told: str, most: int = 5) -> list[Problem]:
    """The rows that cannot be read behind the first one, and how many there are in all."""
    from ftp.data import json_column

    wrong: list[int] = []
    problems: list[Problem] = []
    for start in range(0, len(stored), 1000):
        for number, row in enumerate(json_column.rows_of(stored[start : start + 1000]), start):
            try:
                step([row], [number])
            except UserError as error:
                wrong.append(number)
                problems += error.problems if 1 < len(wrong) <= most else []
    if len(wrong) > most:
        problems.append(Problem(f"{told}: {len(wrong)} rows cannot be read; the first, counted from 0: {wrong[:most]}",
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
    told: str,
    features: Mapping[str, Any] | None,
) -> tuple[list[int], dict[str, list[Any]]]:
    """Which rows stay, and the columns that are made of them. UserError names a row that cannot be read."""
    from ftp.data import json_column

    kept: list[int] = []
    columns: dict[str, list[Any]] = {name: [] for name in (*names, *(("tools",) if tools else ()))}
    for place, row in enumerate(rows):
        if features is not None:
            row = {name: json_column.as_said(value, features.get(name)) for name, value in row.items()}
        try:
            made = change(row, labels)
            if made is not None and tools:
                made = {**made, "tools": chat_rows.tools(row)}
        except turns.Unfit as error:
            raise UserError(f"{told}: row {indices[place]} {error}", "rows count from 0; mend the row or leave it out") from None
        if made is not None:
            kept.append(place)
            for name, column in columns.items():
                column.append(made[name])
    return kept, columns


def _batch(batch: Mapping[str, list[Any]], indices: list[int], *, step: Callable[..., Any]) -> dict[str, list[Any]]:
    """A batch of a stream, changed."""
    rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
    kept, columns = step(rows, indices)
    return {**{name: [values[place] for place in kept] for name, values in batch.items() if name not in columns}, **columns}


def _table(batch: pa.Table, indices: list[int], *, step: Callable[..., Any], kinds: Mapping[str, Any]) -> pa.Table:
    """A batch of stored rows, changed."""
    import pyarrow as pa
    from datasets import Json
    from datasets.features.features import get_nested_type

    from ftp.data import json_column

    kept, columns = step(json_column.rows_of(batch), indices)
    stays = pa.array(kept, pa.int64())
    made = {name: batch.column(name).take(stays) for name in batch.column_names if name not in columns}
    for name, values in columns.items():
        kind = kinds[name]
        made[name] = json_column.array(values) if isinstance(kind, Json) else pa.array(values, get_nested_type(kind))
    return pa.table(made)
