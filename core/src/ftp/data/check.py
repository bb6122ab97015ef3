"""Whether the columns of a form hold what they are to hold, in every row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from ftp.data import forms, unsupported_labels
from ftp.errors import Problem, UserError
from ftp.types import Form

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, IterableDataset

    Rows: TypeAlias = Dataset | IterableDataset

TEXTS: Mapping[Form, tuple[str, ...]] = {
    "text": ("text",), "labelled": ("text", "text_pair"), "question": ("question", "context"),
}  # fmt: skip
"""Columns that are plain text."""

BATCH_ROWS = 10_000
"""Rows that are looked at together."""


def _is_list(kind: Any) -> bool:
    return hasattr(kind, "feature") and getattr(kind.feature, "dtype", None) is not None


def _is_class(kind: Any) -> bool:
    return getattr(kind, "dtype", None) is not None


def _is_answers(kind: Any) -> bool:
    return isinstance(kind, Mapping) and _is_list(kind.get("text"))


SHAPES: Mapping[Form, tuple[tuple[str, str, Callable[[Any], bool]], ...]] = {
    "labelled": (("label", "a class (a word, a whole number, or true/false)", _is_class),),
    "tagged": (
        ("tokens", 'a list of words, as ["New", "York"]', _is_list),
        ("tags", 'a list of tags, as ["B-LOC", "I-LOC"]', _is_list),
    ),
    "question": (
        ("answers", 'SQuAD\'s {"text": ["..."], "answer_start": [0]}, both lists empty where there is no answer', _is_answers),
    ),
}
"""Columns that are no plain text: what they are to hold, and whether a type is that."""


def check(rows: Rows, form: Form, source_name: str) -> None:
    """UserError where a required column has no value or the wrong type, or tags do not match their tokens."""
    from datasets import Dataset, Value

    # What the types of the columns say; a stream can be checked no further.
    wrong: list[Problem] = []
    kinds: Mapping[str, Any] = rows.features or {}
    for column in TEXTS.get(form, ()):
        if column in kinds and kinds[column] not in (Value("string"), Value("large_string")):
            wrong.append(Problem(
                f"{source_name}: {column} holds {getattr(kinds[column], 'dtype', None) or 'lists'}, not text",
                "map a column with text", f"--columns {column}=NAME"))  # fmt: skip
    for column, meant, fits in SHAPES.get(form, ()):
        if column == "label" and form == "labelled" and _is_list(kinds.get(column)):
            wrong.append(unsupported_labels.lists_problem(source_name))
        elif column in kinds and not fits(kinds[column]):
            shown = getattr(kinds[column], "dtype", None) or "lists or fields of another kind"
            wrong.append(Problem(f"{source_name}: {column} holds {shown}, not {meant}", "write it so, or map another column",
                                 f"--columns {column}=NAME"))
    if wrong and form in SHAPES:  # what follows looks into these columns
        raise UserError(wrong)
    if not isinstance(rows, Dataset):
        if wrong:
            raise UserError(wrong)
        return
    if not len(rows):
        raise UserError(f"{source_name} has no rows", "give at least one row")
    # Labels may be null in hidden test splits: `labels.encode` looks at them.
    needed = [column for column in forms.FORMS[form].required if column != "label"]
    needed += [column for column in TEXTS.get(form, ()) if column not in needed and column in kinds]
    wrong += _row_problems(rows, form, needed, source_name)
    if wrong:
        raise UserError(wrong)


def _row_problems(
    rows: Dataset, form: Form, needed: Sequence[str], source_name: str
) -> list[Problem]:
    """What is wrong in the rows themselves: values that are null, tags that do not match their tokens.

    Args:
        needed: columns in which every row has a value; of the form "tagged" exactly tokens and tags.
    """
    without_value: dict[str, list[int]] = {column: [] for column in needed}
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
        if form == "question":
            with_null_answer.update(start + i for i in _rows_with_null_answer(batch.column("answers")))
            without_start.update(start + i for i in _rows_without_answer_start(batch.column("answers")))
        if form == "tagged":
            uneven += [start + i for i in _rows_of_uneven_length(batch, needed)]
            words = batch.column("tokens").combine_chunks()
            with_null_word.update(start + i for i in _lists_with_null(words))

    # what is wrong, the rows in which it is, and how to mend them
    mistakes: list[tuple[str, Iterable[int], str]] = []
    for column, row_indices in without_value.items():
        mistakes.append((f"no {column}", row_indices, "mend or leave out these rows"))
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
