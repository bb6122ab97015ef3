"""Whether the columns of a form hold what they are to hold, in every row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftp import forms
from ftp.data import unsupported_labels
from ftp.data.column_kinds import KINDS, is_finite, is_list
from ftp.errors import Problem, UserError
from ftp.forms.spec import names_of

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

    from ftp.data.row_types import ColumnType, ColumnTypes, Rows

BATCH_ROWS = 10_000
"""Rows that are looked at together."""


def check(rows: Rows, form: str, source_name: str) -> None:
    """UserError where a required column has no value or the wrong type, or tags do not match their tokens."""
    from datasets import Dataset

    # What the types of the columns say; a stream can be checked no further.
    spec = forms.get(form)
    types: ColumnTypes = rows.features or {}
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
    wrong += _row_problems(rows, needed, source_name)
    if wrong:
        raise UserError(wrong)


def _type_problem(column: forms.Column, column_type: ColumnType, source_name: str) -> Problem:
    """What is wrong with a column that has the type of another kind."""
    name = column.name
    if column.kind == "text":
        return Problem(
            f"{source_name}: {name} holds {getattr(column_type, 'dtype', None) or 'lists'}, not text",
            "map a column with text",
            f"--columns {name}=NAME",
        )
    if column.kind == "class" and is_list(column_type):
        return unsupported_labels.lists_problem(source_name, name)
    shown = getattr(column_type, "dtype", None) or "lists or fields of another kind"
    return Problem(
        f"{source_name}: {name} holds {shown}, not {KINDS[column.kind].meaning}",
        "write it so, or map another column",
        f"--columns {name}=NAME",
    )


CORRECT = "correct or leave out these rows"
LISTS: tuple[forms.ColumnKind, ...] = ("texts", "classes", "vector")
"""Kinds of columns whose values are lists that hold no null; those with words of their own for it (tokens) aside."""


@dataclass(frozen=True)
class _Mistake:
    """What is wrong with some rows: they `have` that, and it is put right so."""

    what: str
    fix: str = CORRECT


UNEVEN = _Mistake("another number of tags than tokens", "give each token one tag")
NULL_ANSWER = _Mistake("an answer (in answers) that is null")
NULL_WORD = _Mistake("a word (in tokens) that is null")
WITHOUT_START = _Mistake(
    "another number of places (answer_start) than texts in answers", "give each text the place where it begins in the context"
)


def _row_problems(rows: Dataset, columns: Sequence[forms.Column], source_name: str) -> list[Problem]:
    """What is wrong in the rows themselves: values that are null, tags that do not match their tokens.

    Args:
        columns: those in which every row has a value.
    """
    # Mistakes are told once for all rows, each with the first that have it.
    wrong: dict[_Mistake, list[int]] = defaultdict(list)
    stored = rows.select_columns(list(names_of(columns))).with_format("arrow")
    # Arrow batches, as Python objects of a large file would not fit into memory.
    for start in range(0, len(rows), BATCH_ROWS):
        batch = stored[start : start + BATCH_ROWS]
        for mistake, row_indices in _mistakes_in(batch, columns):
            wrong[mistake] += [start + i for i in row_indices]
    problems: list[Problem] = []
    for mistake, row_indices in wrong.items():
        if row_indices:
            message = f"{source_name}: {len(row_indices)} rows have {mistake.what}; the first, counted from 0: {row_indices[:5]}"
            problems.append(Problem(message, mistake.fix))
    return problems


def _mistakes_in(batch: pa.Table, columns: Sequence[forms.Column]) -> Iterator[tuple[_Mistake, list[int]]]:
    """What may be wrong in a batch, each with the rows (counted within it) in which it is; none where it is not."""
    of_kind = {column.kind: column.name for column in columns}
    for column in columns:
        values = batch.column(column.name)
        yield _Mistake(f"no {column.name}"), _true_indices(values.is_null())
        if column.kind == "number":
            present = enumerate(values.to_pylist())
            yield (
                _Mistake(f"no finite number in {column.name}"),
                [i for i, value in present if value is not None and not is_finite(value)],
            )
        # a null among texts would be read as an empty one
        if column.kind in LISTS and _is_list(values.type):
            yield _Mistake(f"a value (in {column.name}) that is null"), _lists_with_null(values.combine_chunks())
    if "tags" in of_kind:
        tokens = batch.column(of_kind["tokens"])
        tags = batch.column(of_kind["tags"])
        yield UNEVEN, _rows_of_uneven_length(tokens, tags)
        yield NULL_WORD, _lists_with_null(tokens.combine_chunks())
    if "answers" in of_kind:
        answers = batch.column(of_kind["answers"]).combine_chunks()
        yield NULL_ANSWER, _rows_with_null_answer(answers)
        yield WITHOUT_START, _rows_without_answer_start(answers)


def _true_indices(mask: pa.ChunkedArray) -> list[int]:
    import pyarrow.compute as pc

    indices: list[int] = pc.indices_nonzero(mask).to_pylist()
    return indices


def _is_list(arrow_type: pa.DataType) -> bool:
    import pyarrow as pa

    return isinstance(arrow_type, pa.ListType | pa.LargeListType)


def _rows_of_uneven_length(first: pa.ChunkedArray, second: pa.ChunkedArray) -> list[int]:
    """Indices of the rows whose lists in two columns differ in length; a missing list has none."""
    import pyarrow.compute as pc

    # -1 differs from every length, so that a missing list beside one that is there is found.
    lengths = [pc.fill_null(pc.list_value_length(column), -1) for column in (first, second)]
    return _true_indices(pc.not_equal(*lengths))


def _rows_with_null_answer(answers: pa.Array) -> list[int]:
    """Indices of the rows of a column of answers in which one is null."""
    import pyarrow.compute as pc

    return _lists_with_null(pc.struct_field(answers, "text"))


def _rows_without_answer_start(answers: pa.Array) -> list[int]:
    """Indices of the rows of a column of answers that say where some texts begin, and not where each does; saying none is
    allowed."""
    import pyarrow.compute as pc

    if "answer_start" not in [field.name for field in answers.type]:
        return []
    texts, starts = (pc.list_value_length(pc.struct_field(answers, name)) for name in ("text", "answer_start"))
    num_starts = pc.fill_null(starts, 0)
    return _true_indices(pc.and_(pc.greater(num_starts, 0), pc.not_equal(pc.fill_null(texts, -1), num_starts)))


def _lists_with_null(lists: pa.Array) -> list[int]:
    """Indices of the lists of which a value is null."""
    import pyarrow.compute as pc

    parents = pc.list_parent_indices(lists).filter(pc.is_null(pc.list_flatten(lists)))
    return sorted(set(parents.to_pylist()))
