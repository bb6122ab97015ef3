"""Whether the columns of a form hold what they are to hold, in every row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def check(rows: Rows, form: Form, told: str) -> None:
    """UserError where a required column has no value or the wrong type, or tags do not match their tokens."""
    from datasets import Dataset, Value

    wrong: list[Problem] = []
    kinds: Mapping[str, Any] = rows.features or {}
    for column in TEXTS.get(form, ()):
        if column in kinds and kinds[column] not in (Value("string"), Value("large_string")):
            wrong.append(Problem(
                f"{told}: {column} holds {getattr(kinds[column], 'dtype', None) or 'lists'}, not text",
                "map a column with text", f"--columns {column}=NAME"))  # fmt: skip
    for column, meant, fits in SHAPES.get(form, ()):
        if column == "label" and form == "labelled" and _is_list(kinds.get(column)):
            wrong.append(unsupported_labels.lists_problem(told))
        elif column in kinds and not fits(kinds[column]):
            shown = getattr(kinds[column], "dtype", None) or "lists or fields of another kind"
            wrong.append(Problem(f"{told}: {column} holds {shown}, not {meant}", "write it so, or map another column",
                                 f"--columns {column}=NAME"))
    if wrong and form in SHAPES:  # what follows looks into these columns
        raise UserError(wrong)
    if not isinstance(rows, Dataset):
        if wrong:
            raise UserError(wrong)
        return
    if not len(rows):
        raise UserError(f"{told} has no rows", "give at least one row")
    needed = [column for column in forms.FORMS[form].required if column != "label"]  # labels.encode looks at those
    needed += [column for column in TEXTS.get(form, ()) if column not in needed and column in kinds]
    nulls: dict[str, list[int]] = {column: [] for column in needed}
    uneven, broken = list[int](), set[int]()
    for start in range(0, len(rows), 10_000):
        batch = rows.select_columns(needed).with_format("arrow")[start : start + 10_000]
        for column in needed:
            if batch.column(column).null_count:
                missing = batch.column(column).is_null().to_pylist()
                nulls[column] += [start + place for place, absent in enumerate(missing) if absent]
        if form == "question":
            broken.update(start + place for place in _unsaid(batch.column("answers")))
        if form == "tagged":
            import pyarrow.compute as pc

            lengths = [pc.list_value_length(batch.column(column)).to_pylist() for column in needed]
            uneven += [start + place for place, (a, b) in enumerate(zip(*lengths, strict=True)) if a != b]
    for column, places in nulls.items():
        if places:
            wrong.append(Problem(
                f"{told}: {len(places)} rows have no {column}; the first, counted from 0: {places[:5]}",
                "mend or leave out these rows"))  # fmt: skip
    if uneven:
        wrong.append(Problem(
            f"{told}: {len(uneven)} rows have another number of tags than tokens; the first, counted from 0: {uneven[:5]}",
            "give each token one tag"))  # fmt: skip
    if broken:
        wrong.append(Problem(
            f"{told}: {len(broken)} rows have an answer (in answers) that is null; the first, counted from 0: "
            f"{sorted(broken)[:5]}", "mend or leave out these rows"))  # fmt: skip
    if wrong:
        raise UserError(wrong)


def _unsaid(column: pa.ChunkedArray) -> set[int]:
    """Places of the rows of a column of answers in which one is null."""
    import pyarrow.compute as pc

    texts = pc.struct_field(column.combine_chunks(), "text")
    return set(pc.list_parent_indices(texts).filter(pc.is_null(pc.list_flatten(texts))).to_pylist())
