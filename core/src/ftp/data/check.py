"""Whether the columns of a form hold what they are to hold, in every row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from ftp import forms
from ftp.data import unsupported_labels
from ftp.data.column_kinds import KINDS, is_finite, is_list
from ftp.errors import Problem, UserError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, IterableDataset

    Rows: TypeAlias = Dataset | IterableDataset

BATCH_ROWS = 10_000
"""Rows that are looked at together."""


def check(rows: Rows, form: str, source_name: str) -> None:
    """UserError where a required column has no value or the wrong type, or tags do not match their tokens."""
    from datasets import Dataset

    # What the types of the columns say; a stream can be checked no further.
    spec = forms.get(form)
    types: Mapping[str, Any] = rows.features or {}
    wrong: list[Problem] = []
    wrong_kinds: set[str] = set()
    for column in spec.columns:
        if column.name in types and not KINDS[column.kind].holds(types[column.name]):
            wrong.append(_type_problem(column, types[column.name], source_name))
            wrong_kinds.add(column.kind)
    if wrong_kinds - {"text"}:  # what follows looks into these columns
        raise UserError(wrong)
    if not isinstance(rows, Dataset):
        if wrong:
            raise UserError(wrong)
        return
    if not len(rows):
        raise UserError(f"{source_name} has no rows", "give at least one row")
    # Classes may be null in hidden test splits: `labels.encode` looks at them.
    needed = [column for column in spec.columns if column.is_required and column.kind not in ("class", "rating")]
    needed += [column for column in spec.of_kind("text") if not column.is_required and column.name in types]
    wrong += _row_problems(rows, needed, source_name)
    if wrong:
        raise UserError(wrong)


def _type_problem(column: forms.Column, kind: Any, source_name: str) -> Problem:
    """What is wrong with a column that has the type of another kind."""
    name = column.name
    if column.kind == "text":
        return Problem(
            f"{source_name}: {name} holds {getattr(kind, 'dtype', None) or 'lists'}, not text",
            "map a column with text",
            f"--columns {name}=NAME",
        )
    if column.kind == "class" and is_list(kind):
        return unsupported_labels.lists_problem(source_name, name)
    shown = getattr(kind, "dtype", None) or "lists or fields of another kind"
    return Problem(
        f"{source_name}: {name} holds {shown}, not {KINDS[column.kind].meaning}",
        "write it so, or map another column",
        f"--columns {name}=NAME",
    )


def _row_problems(rows: Dataset, columns: Sequence[forms.Column], source_name: str) -> list[Problem]:
    """What is wrong in the rows themselves: values that are null, tags that do not match their tokens.

    Args:
        columns: those in which every row has a value.
    """
    needed = [column.name for column in columns]
    of_kind = {column.kind: column.name for column in columns}
    without_value: dict[str, list[int]] = {column: [] for column in needed}
    no_number: dict[str, list[int]] = {column.name: [] for column in columns if column.kind == "number"}
    uneven: list[int] = []
    with_null_answer: set[int] = set()
    without_start: set[int] = set()
    with_null_word: set[int] = set()
    # Arrow batches, as Python objects of a large file would not fit into memory.
    for start in range(0, len(rows), BATCH_ROWS):
        batch = rows.select_columns(list(needed)).with_format("arrow")[start : start + BATCH_ROWS]
        for column in needed:
            if batch.column(column).null_count:
                is_null = batch.column(column).is_null().to_pylist()
                without_value[column] += [start + i for i, absent in enumerate(is_null) if absent]
        for column in no_number:
            values = batch.column(column).to_pylist()
            no_number[column] += [start + i for i, value in enumerate(values) if not is_finite(value)]
        if "answers" in of_kind:
            answers = batch.column(of_kind["answers"])
            with_null_answer.update(start + i for i in _rows_with_null_answer(answers))
            without_start.update(start + i for i in _rows_without_answer_start(answers))
        if "tags" in of_kind:
            uneven += [start + i for i in _rows_of_uneven_length(batch, (of_kind["tokens"], of_kind["tags"]))]
            words = batch.column(of_kind["tokens"]).combine_chunks()
            with_null_word.update(start + i for i in _lists_with_null(words))

    # what is wrong, the rows in which it is, and how to mend them
    mistakes: list[tuple[str, Iterable[int], str]] = []
    for column, row_indices in without_value.items():
        mistakes.append((f"no {column}", row_indices, "mend or leave out these rows"))
    for column, row_indices in no_number.items():
        # a missing value is told above
        row_indices = sorted(set(row_indices) - set(without_value[column]))
        mistakes.append((f"no finite number in {column}", row_indices, "mend or leave out these rows"))
    mistakes += [
        ("another number of tags than tokens", uneven, "give each token one tag"),
        ("an answer (in answers) that is null", with_null_answer, "mend or leave out these rows"),
        ("a word (in tokens) that is null", with_null_word, "mend or leave out these rows"),
        ("another number of places (answer_start) than texts in answers", without_start,
         "give each text the place where it begins in the context"),
    ]
    problems: list[Problem] = []
    for what, where, fix in mistakes:
        row_indices = sorted(where)
        if row_indices:
            message = f"{source_name}: {len(row_indices)} rows have {what}; the first, counted from 0: {row_indices[:5]}"
            problems.append(Problem(message, fix))
    return problems


def _rows_of_uneven_length(batch: pa.Table, columns: Sequence[str]) -> list[int]:
    """Indices of the rows of a batch whose lists in two columns differ in length."""
    import pyarrow.compute as pc

    lengths = [pc.list_value_length(batch.column(column)).to_pylist() for column in columns]
    pairs = zip(*lengths, strict=True)
    return [i for i, (first, second) in enumerate(pairs) if first != second]


def _rows_with_null_answer(column: pa.ChunkedArray) -> set[int]:
    """Indices of the rows of a column of answers in which one is null."""
    import pyarrow.compute as pc

    return _lists_with_null(pc.struct_field(column.combine_chunks(), "text"))


def _rows_without_answer_start(column: pa.ChunkedArray) -> set[int]:
    """Indices of the rows of a column of answers that say where some texts begin, and not where each does; saying none is
    allowed."""
    import pyarrow.compute as pc

    answers = column.combine_chunks()
    if "answer_start" not in [field.name for field in answers.type]:
        return set()
    lengths = [pc.list_value_length(pc.struct_field(answers, name)).to_pylist() for name in ("text", "answer_start")]
    pairs = zip(*lengths, strict=True)
    return {i for i, (num_texts, num_starts) in enumerate(pairs) if num_starts and num_texts != num_starts}


def _lists_with_null(lists: pa.Array) -> set[int]:
    """Indices of the lists of which a value is null."""
    import pyarrow.compute as pc

    return set(pc.list_parent_indices(lists).filter(pc.is_null(pc.list_flatten(lists))).to_pylist())
