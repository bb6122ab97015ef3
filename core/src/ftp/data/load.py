"""What a domain calls to read its rows, and what core calls to settle the rows of all domains."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ftp.data import asked, forms, labels, read, splits, suggest, tables, turns, unsupported_labels
from ftp.data.readers import ReadColumns
from ftp.errors import Problem, UserError
from ftp.types import Data, Form

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, IterableDataset

    from ftp.types import Run

    Rows: TypeAlias = Dataset | IterableDataset


def load(
    run: Run,
    sample: Path | None = None,
    *,
    form: Form,
    labels: Sequence[str] = (),
    columns: Mapping[str, str] = {},
    adapt: Callable[[Rows], Rows] | None = None,
) -> dict[str, Rows]:
    """The rows that `--data` names, else those of `sample`, in the form that the run's objective reads.

    `form`: the domain's own form; rows richer than needed are converted downhill, poorer ones are an error that
    names the columns. `labels`: the domain's classes in the order of their numbers. `columns`: the domain's own
    mapping (ours -> theirs) for its sample; `--columns` maps those of `--data`. `adapt`: brings the rows of a split whose
    columns the domain knows and core does not into columns that core reads; all others it gives back as they are.
    """
    settings = run.settings
    source: str | Path | None = settings.data if settings.data is not None else sample
    if source is None:
        raise UserError("there are no data: this domain has no sample of its own", "name your data", "--data FILE_OR_FOLDER")
    chosen = mapping(settings.columns)
    if settings.data is None:
        chosen = {**columns, **chosen}
    reading: list[str] = []
    limit = settings.max_decompressed
    read_columns = ReadColumns()
    try:
        found = read.read(source, columns=chosen, streaming=settings.streaming, max_decompressed=limit, notes=reading,
                          read_columns=read_columns)
    finally:
        for note in reading:  # also before an error, which they may explain
            run.tell(note)
    if unused := read.left_out(source):
        run.tell(f"{source}: not used, as their names are no split's: {', '.join(unused)}")
    adapted = found
    if adapt is not None:
        adapted = {split: adapt(rows) for split, rows in found.items()}
    if all(adapted[split] is rows for split, rows in found.items()):  # else the domain reads columns of its own
        names = _columns_read(found, run.task.form, form)
        if names:
            names |= {settings.group_column} if settings.group_column else set()
            read_columns.limit_to((chosen.get(name, name) for name in names), run.tell)
    found = adapted
    made, _, notes = shape(found, run.task.form, labels, prefer=form, told=str(source), others=run.task.others,
                           mapped=chosen, files=read.files_of(source), join_labels=settings.join_labels)
    for note in notes:
        run.tell(note)
    return made


def _columns_read(found: Mapping[str, Rows], target: Form, prefer: Form) -> set[str]:
    """Every column that bringing these splits to the target form looks at; none where that is not known."""
    names: set[str] = set()
    for rows in found.values():
        leading = forms.offers_to(rows.column_names or (), target)
        if not leading:
            return set()
        sources = {prefer if prefer in leading else leading[0]}
        if "feedback" in leading:
            sources |= {"feedback", "conversation"}  # by what its labels turn out to be
        for source in sources:
            names |= forms.read_columns(source)
    return names


def settle(
    found: Mapping[str, Rows], run: Run, refused: list[Problem] | None = None
) -> tuple[Data, list[str]]:
    """The rows of all domains as the `Data` of a run, and notes to tell.

    Every split is brought to `run.task.form`, its columns and types checked, labels made class numbers over all
    splits, a missing validation cut from train, and `max_train_rows` kept. Only train may stay a stream.
    UserError says what is wrong with which split. `refused`: as in `splits.complete`.
    """
    from datasets import Dataset

    settings, form = run.settings, run.task.form
    strange = [split for split in found if split not in read.SPLITS]
    if strange:
        raise UserError(f"unknown splits: {', '.join(strange)}", f"splits are named {', '.join(read.SPLITS)}")
    plain = {split: rows if split == "train" else _stored(rows, split) for split, rows in found.items()}
    made, names, notes = shape(plain, form, join_labels=settings.join_labels)
    whole, more = splits.complete(
        made,
        seed=settings.seed,
        validation_share=settings.validation_share,
        group=settings.group_column,
        form=form,
        refused=refused,
    )
    notes += more
    most = settings.max_train_rows
    train = whole.get("train")
    if most is None or train is None:
        return Data(whole, form, names), notes
    if not isinstance(train, Dataset):
        whole["train"] = train.take(most)
    elif len(train) > most:
        import numpy as np

        some = np.random.default_rng(settings.seed).permutation(len(train))[:most]
        whole["train"] = train.select(np.sort(some))
        notes.append(f"train: {most} of {len(train)} rows used (max_train_rows)")
    return Data(whole, form, names), notes


def shape(
    found: Mapping[str, Rows],
    target: Form,
    names: Sequence[str] = (),
    prefer: Form | None = None,
    told: str = "data",
    others: Sequence[Form] = (),
    mapped: Mapping[str, str] = {},
    files: Mapping[str, str] = {},
    join_labels: bool = False,
    plain_values: bool = False,
) -> tuple[dict[str, Rows], tuple[str, ...], list[str]]:
    """Splits as `target`, read from the form `prefer` where they have it; with class names, and notes to tell.

    Args:
        others: forms that `--form` could choose in place of `target`.
        mapped: what `--columns` says already.
        files: split -> its file, for what is advised.
        join_labels: spellings of one label become one class.
        plain_values: numbers, dates and true/false in columns of texts are texts, as `ftp predict` reads them. In training they
            are refused, as a column of them is probably not the one that is meant.
    """
    from datasets import IterableDataset

    notes: list[str] = []
    found = _without_unanswered_test(found, target, prefer, notes, told, files)
    where = {split: f"{told} ({split})" for split in found}
    sources = {split: _source(rows, target, prefer, where[split], others, mapped) for split, rows in found.items()}
    made = {split: forms.convert(rows, sources[split], sources[split], told=where[split]) for split, rows in found.items()}
    for split, rows in made.items():
        if plain_values:
            made[split] = rows = asked.plain_values_as_text(rows, TEXTS.get(sources[split], ()))
        check(rows, sources[split], where[split])
    # class numbers are needed for classes alone, and class names wherever a label is said in words
    for form, column, needed in (
        ("labelled", "label", ("labelled", "conversation", "prompt")),
        ("tagged", "tags", ("tagged",)),
    ):
        mine = {split: rows for split, rows in made.items() if sources[split] == form}
        if mine and target in needed:
            coded, names, more = labels.encode(mine, names, column, join=join_labels, told=told)
            notes += more
            made = {split: coded.get(split, rows) for split, rows in made.items() if split in coded or split not in mine}
    for split, rows in made.items():
        made[split] = forms.convert(rows, sources[split], target, names, where[split])
        if sources[split] == "labelled" and target not in ("labelled", "feedback") and "label" in made[split].column_names:
            made[split] = made[split].remove_columns("label")  # the class is said in words now, and is no rating of them
        if not isinstance(rows, IterableDataset) and len(made[split]) < len(rows):
            notes.append(f"{split}: {len(rows) - len(made[split])} of {len(rows)} rows left out (rated bad)")
    return made, tuple(names) if target in ("labelled", "tagged") else (), notes


ANSWERS = frozenset({"label", "tags", "answers", "answer", "completion", "output", "chosen", "rejected"})
"""Columns that say what a model is to answer, which rows to be answered lack."""


def _without_unanswered_test(
    found: Mapping[str, Rows], target: Form, prefer: Form | None, notes: list[str], told: str, files: Mapping[str, str]
) -> Mapping[str, Rows]:
    """The splits without a test split whose rows have no answers (as in competitions), which is told."""
    if "test" not in found or "train" not in found or forms.offers_to(found["test"].column_names or (), target):
        return found
    offers = forms.offers_to(found["train"].column_names or (), target)
    if not offers:
        return found
    form = prefer if prefer in offers else offers[0]
    have = found["test"].column_names or ()
    lacking = forms.lacking(have, form)
    if not lacking or not lacking <= ANSWERS or lacking & tables.left_out_of(found["test"]).keys():
        return found
    file = files.get("test", "FILE")
    notes.append(
        f"{told} (test) has no {' and no '.join(sorted(lacking))}, so nothing can be scored on it and it is left out; "
        f"for answers to its rows, once the run is finished: ftp predict RUN --input {shlex.quote(file)}"
    )
    return {split: rows for split, rows in found.items() if split != "test"}


def _source(
    rows: Rows, target: Form, prefer: Form | None, told: str, others: Sequence[Form] = (), mapped: Mapping[str, str] = {}
) -> Form:
    """The form to read rows as: the preferred one, else the richest that leads to the target."""
    have = list(rows.column_names or ())
    left_out = tables.left_out_of(rows)
    for form in forms.offers([*have, *left_out]):  # a form that is there but for a column that no type holds
        if forms.way(form, target):
            tables.require_held(rows, forms.read_columns(form))
            break
    leading = [form for form in forms.offers(have) if forms.way(form, target)]
    if leading:
        chosen = prefer if prefer in leading else leading[0]
        if "feedback" in leading and target != "feedback" and chosen in ("feedback", "conversation"):
            # answers that are rated bad are not to be imitated; a label that is no rating says nothing of that
            return "feedback" if _rated(rows) else "conversation"
        return chosen
    if target == "labelled" and "label" not in have:
        problem = unsupported_labels.columns_problem(told, rows)
        if problem is not None:
            raise UserError([problem])
    spec = forms.FORMS[target]
    wanted = " or ".join(" + ".join(columns) for columns in spec.read_from or (spec.required,))
    uphill = [form for form in forms.FORMS if form != target and forms.way(form, target)]
    what = f"{told} cannot be read as '{target}': its columns are {', '.join(have)}"
    if also := next((form for form in forms.offers(have) if form in others), None):
        raise UserError(what, f"they are those of the form '{also}', which this run can be about as well", f"--form {also}")
    raise UserError(
        what,
        f"'{target}' needs the columns {wanted}" + (f", or rows of the form {', '.join(uphill)}" if uphill else ""),
        suggest.columns_option(mapped, suggest.columns_meant(rows, target)),
    )


def _rated(rows: Rows) -> bool:
    """Whether the labels of the first rows are ratings, good or bad."""
    try:
        return all(turns.good(row["label"]) in (True, False) for row in islice(rows, 1000))
    except turns.Unfit:
        return False


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


def _stored(rows: Rows, split: str) -> Dataset:
    """Rows of a split that is looked at again and again: a stream is read to its end and kept."""
    from datasets import Dataset

    from ftp.data import json_column

    if isinstance(rows, Dataset):
        return rows
    if not hasattr(rows, "iter"):
        raise TypeError(f"load_data gave a {type(rows).__name__} for {split}, not a datasets.Dataset")
    # Python objects, as `datasets` infers Arrow anew for each batch of rows that were changed on the way
    chunks = (json_column.with_kinds(tables.table(chunk), rows.features) for chunk in tables.chunked(enumerate(rows), 10_000))
    stored = tables.dataset(chunks, told=split)
    return stored.cast(rows.features) if rows.features else stored


def mapping(columns: Iterable[str]) -> dict[str, str]:
    """`("text=sentence", "label=target")` -> {"text": "sentence", "label": "target"}; commas part pairs as well."""
    found: dict[str, str] = {}
    for pair in (pair.strip() for text in columns for pair in text.split(",")):
        ours, equals, theirs = pair.partition("=")
        if not equals or not ours.strip() or not theirs.strip():
            raise UserError(f"--columns {pair}: not of the form ours=theirs", "name our column first", "--columns text=sentence")
        if ours.strip() in found:
            raise UserError(f"--columns: {ours.strip()} is mapped twice", "map each of our columns once")
        found[ours.strip()] = theirs.strip()
    return found
