"""A data set of one form -> the same rows in another form, by the ways of the forms; Arrow in, Arrow out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from ftp import forms, registry
from ftp.data import chat_rows, turns
from ftp.data.column_kinds import KINDS, make_type
from ftp.data.tables import as_rows
from ftp.errors import PluginError, Problem, UserError
from ftp.forms import catalogue, ways
from ftp.forms.catalogue import new_names
from ftp.host.quiet import without_progress_bars
from ftp.types import Row

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, Features, IterableDataset

    from ftp.data.row_types import ColumnType, ColumnTypes, RowsT

SHOWN = 5
"""Rows that cannot be read that are named each by itself."""


def convert(dataset: RowsT, source: str, target: str, labels: Sequence[str] = (), source_name: str = "data") -> RowsT:
    """The rows as `target`, in its canonical columns; other columns are kept, those that clash are replaced.

    Rows rated bad are left out on the way from feedback to conversation.

    Args:
        source: the form of the rows; the same as `target` only brings the columns into canonical shape.
        labels: names of the classes, used where numbers become words.
        source_name: for messages.

    Raises:
        UserError: a row cannot be read; it is named.
    """
    # Downhill, form by form; the first step is from the many spellings of the source to its one.
    steps = forms.way(source, target)
    if steps is None:
        raise UserError(
            f"rows of the form '{source}' cannot be read as '{target}'",
            f"'{source}' can be read as: {', '.join(sorted(forms.reachable([source])))}",
        )
    dataset = _renamed(dataset, source)
    canonical = ways.canonical(source)
    if canonical is not None and not _is_canonical(dataset, canonical):
        dataset = _apply(dataset, source, canonical, labels, source_name)
    for step in pairwise(steps):
        dataset = _apply(dataset, step[0], ways.steps()[step], labels, source_name)
    return dataset


def _renamed(dataset: RowsT, form: str) -> RowsT:
    """The data set with common other names of the columns of its form replaced by ours."""
    names = new_names(dataset.column_names or (), form)
    return dataset.rename_columns(names) if names else dataset


def _is_canonical(dataset: Dataset | IterableDataset, canonical: forms.Way) -> bool:
    """Whether the columns are in canonical shape already, judged by their types."""
    types = dataset.features or {}
    return all(KINDS[column.kind].is_canonical(types.get(column.name)) for column in _made_columns(canonical))


def _made_columns(way: forms.Way) -> list[forms.Column]:
    """The columns that a way makes."""
    spec = forms.get(way.target)
    names = way.makes or spec.required
    return [column for column in spec.columns if column.name in names]


@dataclass(frozen=True)
class _Step:
    """One way of a form, for the rows of one data set.

    Args:
        form: that of the rows, which has the way.
        made_types: the columns that it makes, and their types.
        types: the types of the columns that the rows have; None where they are not known (of some streams).
    """

    form: str
    way: forms.Way
    made_types: Mapping[str, ColumnType]
    types: ColumnTypes | None
    labels: Sequence[str]
    source_name: str

    def change_rows(self, rows: Iterable[Row], row_indices: Sequence[int]) -> tuple[list[int], dict[str, list[object]]]:
        """Which of the rows stay, and the columns that are made of them. UserError names a row that cannot be read."""
        kept: list[int] = []
        columns: dict[str, list[object]] = {name: [] for name in self.made_types}
        for i, row in enumerate(rows):
            try:
                new_row = self._change_row(row)
            except turns.Unfit as error:
                raise UserError(
                    f"{self.source_name}: row {row_indices[i]} {error}",
                    "rows count from 0; correct the row or leave it out",
                ) from None
            except PluginError as error:
                raise PluginError(f"{self.source_name}: row {row_indices[i]} (from 0): {error}") from error
            if new_row is None:  # left out on the way: an answer that was rated bad
                continue
            kept.append(i)
            for name, column in columns.items():
                column.append(new_row[name])
        return kept, columns

    def _change_row(self, row: Row) -> Row | None:
        from ftp.data.json_column import as_written

        if self.types is not None:
            row = {name: as_written(value, self.types.get(name)) for name, value in row.items()}
        new_row = self.way.change(row, self.labels)
        if new_row is None:
            return None
        if "tools" in self.made_types:
            new_row = {**new_row, "tools": chat_rows.tools(row)}
        lacking = [name for name in self.made_types if name not in new_row]
        if lacking:
            who = f"the form '{self.form}' of {registry.package_of(catalogue.GROUP, self.form)}"
            raise PluginError(f"the way of {who} to '{self.way.target}' gave {', '.join(new_row)}, "
                              f"which lacks {', '.join(lacking)}")
        return new_row

    def new_types(self) -> Features | None:
        """The types of the columns of the changed rows."""
        from datasets import Features

        if self.types is None:
            return None
        kept = {name: column_type for name, column_type in self.types.items() if name not in self.made_types}
        return Features({**kept, **self.made_types})

    def change_batch(self, batch: Mapping[str, list[object]], row_indices: list[int]) -> dict[str, list[object]]:
        """A batch of a stream, changed."""
        kept, new_columns = self.change_rows(as_rows(batch), row_indices)
        columns: dict[str, list[object]] = {}
        for name, values in batch.items():
            if name not in new_columns:
                columns[name] = [values[i] for i in kept]
        return {**columns, **new_columns}

    def change_table(self, batch: pa.Table, row_indices: list[int]) -> pa.Table:
        """A batch of stored rows, changed."""
        import pyarrow as pa
        from datasets import Json
        from datasets.features.features import get_nested_type

        from ftp.data import json_column

        kept, new_columns = self.change_rows(json_column.rows_of(batch), row_indices)
        # The other columns stay in Arrow and never become Python objects.
        kept_rows = pa.array(kept, pa.int64())
        columns = {name: batch.column(name).take(kept_rows) for name in batch.column_names if name not in new_columns}
        for name, values in new_columns.items():
            column_type = self.made_types[name]
            if isinstance(column_type, Json):
                columns[name] = json_column.array(values)
            else:
                columns[name] = pa.array(values, get_nested_type(column_type))
        return pa.table(columns)


def _apply(dataset: RowsT, form: str, way: forms.Way, labels: Sequence[str], source_name: str) -> RowsT:
    """The rows of a data set of a form, each changed on this way. Messages, and tools beside them, become JSON."""
    from datasets import Dataset

    # What a model may call belongs to the conversation, whichever form that becomes.
    made_types = {column.name: make_type(column.kind) for column in _made_columns(way)}
    if forms.get(way.target).has_messages and {"tools", "functions"} & set(dataset.column_names or ()):
        made_types["tools"] = make_type("any")
    step = _Step(form, way, made_types, dataset.features, tuple(labels), source_name)
    if isinstance(dataset, Dataset):
        return _change_stored(dataset, step)
    # `datasets` takes the Python objects of a stream through, as long as it is told the types.
    return dataset.map(step.change_batch, batched=True, with_indices=True, features=step.new_types())


def _change_stored(dataset: Dataset, step: _Step) -> Dataset:
    """Stored rows, changed; Arrow in, Arrow out, as `datasets` would write JSON columns with fewer digits."""
    rows = dataset.with_format("arrow")
    try:
        with without_progress_bars():
            changed = rows.map(step.change_table, batched=True, with_indices=True, features=step.new_types())
    except UserError as error:
        # The first row that cannot be read ended the map: the others are looked for, to name all at once.
        raise UserError([*error.problems, *_more_problems(rows, step)]) from None
    return changed.with_format(None)


def _more_problems(stored: Dataset, step: _Step) -> list[Problem]:
    """The rows that cannot be read behind the first one, and how many there are in all."""
    from ftp.data import json_column

    wrong: list[int] = []
    problems: list[Problem] = []
    for start in range(0, len(stored), 1000):
        for row_index, row in enumerate(json_column.rows_of(stored[start : start + 1000]), start):
            try:
                step.change_rows([row], [row_index])
            except UserError as error:
                wrong.append(row_index)
                if 1 < len(wrong) <= SHOWN:  # the first one is known already
                    problems += error.problems
    if len(wrong) > SHOWN:
        problems.append(
            Problem(
                f"{step.source_name}: {len(wrong)} rows cannot be read; the first, counted from 0: {wrong[:SHOWN]}",
                "correct or leave out these rows",
            )
        )
    return problems
