"""What a domain calls to read its rows, and what core calls to settle the rows of all domains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ftp import forms
from ftp.data import (
    arrow,
    chat_rows,
    chunks,
    domains,
    read,
    split_files,
    splits,
    tables,
    target_form,
)
from ftp.data.column_kinds import is_text
from ftp.data.readers import ReadColumns
from ftp.errors import Problem, UserError
from ftp.forms import catalogue
from ftp.types import Data

if TYPE_CHECKING:
    from datasets import Dataset

    from ftp.data.row_types import Rows
    from ftp.types import Run


def load(
    run: Run,
    sample: Path | None = None,
    *,
    form: str,
    labels: Sequence[str] = (),
    columns: Mapping[str, str] = {},
    adapt: Callable[[Rows], Rows] | None = None,
) -> dict[str, Rows]:
    """The rows that `--data` names, else those of `sample`, in the form that the run's objective reads.

    Args:
        run: says what to read, and how.
        sample: the domain's own file or folder of rows; None: it has none.
        form: the domain's own form; rows richer than needed are converted downhill, poorer ones are an error.
        labels: the domain's classes in the order of their numbers; empty: those that rows have.
        columns: the domain's own mapping (ours -> theirs) for its sample; `--columns` maps those of `--data`.
        adapt: brings the rows of a split whose columns the domain knows and core does not into columns that core reads; all
            others it gives back as they are. None: no such columns.

    Returns:
        Split -> its rows, in the columns of the run's form.

    Raises:
        UserError: there are no rows, or they cannot be read; columns are named.
    """
    settings = run.settings
    source: str | Path | None = settings.data if settings.data is not None else sample
    if source is None:
        raise UserError("there are no data: this domain has no sample of its own", "name your data", "--data FILE_OR_FOLDER")
    mapped = mapping(settings.columns)
    if settings.data is None:
        mapped = {**columns, **mapped}
    read_columns = ReadColumns()
    loaded = _read(source, mapped, read_columns, run)
    adapted = loaded
    if adapt is not None:
        adapted = {split: adapt(rows) for split, rows in loaded.items()}
    # A domain that changed a split reads columns of its own, which nobody here knows.
    if all(adapted[split] is rows for split, rows in loaded.items()):
        _limit_columns(read_columns, loaded, run, form, mapped)
    splits, _, notes = target_form.shape(
        adapted,
        run.task.form,
        labels,
        prefer=form,
        source_name=str(source),
        others=run.task.others,
        mapped=mapped,
        files=split_files.files_of(source),
        join_labels=settings.join_labels,
    )
    for note in notes:
        run.tell(note)
    return splits


def _read(source: str | Path, mapped: Mapping[str, str], read_columns: ReadColumns, run: Run) -> dict[str, Rows]:
    """The splits of a source as the run's options say; what was noticed is told."""
    notes: list[str] = []
    try:
        loaded = read.read(
            source,
            columns=mapped,
            streaming=run.settings.streaming,
            max_decompressed=run.settings.max_decompressed,
            notes=notes,
            read_columns=read_columns,
        )
    finally:
        # Also before an error, which the notes may explain.
        for note in notes:
            run.tell(note)
    if unused := split_files.left_out(source):
        run.tell(f"{source}: not used, as their names are no split's: {', '.join(unused)}")
    return loaded


def _limit_columns(
    read_columns: ReadColumns, loaded: Mapping[str, Rows], run: Run, form: str, mapped: Mapping[str, str]
) -> None:
    """Say which columns are read, so that mistakes in others do not matter; texts that nobody reads are told."""
    names = _columns_read(loaded, run.task.form, form)
    if not names:
        return
    if run.settings.group_column:
        names.add(run.settings.group_column)
    read_columns.limit_to((mapped.get(name, name) for name in names), run.tell)
    unread = _unread_texts(loaded, run.task.form, form)
    if unread and run.settings.data is not None:
        run.tell(f"{run.settings.data}: columns of texts that are not read: {', '.join(unread)}")


def _columns_read(loaded: Mapping[str, Rows], target: str, prefer: str) -> set[str]:
    """Every column that bringing these splits to the target form looks at; none where that is not known."""
    names: set[str] = set()
    for rows in loaded.values():
        leading = forms.offers_to(rows.column_names or (), target)
        if not leading:
            return set()
        sources = {prefer if prefer in leading else leading[0]}
        for form in leading:
            # Which of the two it is depends on its values, which are not read yet.
            if other := forms.get(form).instead_of:
                sources |= {form, other}
        for source in sources:
            names |= forms.read_columns(source)
    return names


def _unread_texts(loaded: Mapping[str, Rows], target: str, prefer: str) -> list[str]:
    """Columns of texts beside messages that no row is read from, which somebody may miss (`system_prompt`)."""
    unread: set[str] = set()
    for rows in loaded.values():
        columns = list(rows.column_names or ())
        types = rows.features or {}
        leading = forms.offers_to(columns, target)
        source_form = prefer if prefer in leading else next(iter(leading), None)
        if source_form is not None and forms.get(source_form).has_messages:
            unread.update(name for name in chat_rows.unread_columns(columns) if is_text(types.get(name)))
    return sorted(unread - catalogue.aside())


def settle(
    loaded: Mapping[str, Rows], run: Run, refused: list[Problem] | None = None
) -> tuple[Data, list[str]]:
    """The rows of all domains as the `Data` of a run, and notes to tell.

    Every split is brought to `run.task.form`, its columns and types checked, labels made class numbers over all
    splits, a missing validation cut from train, and `max_train_rows` kept.

    Args:
        loaded: split -> its rows; only train may be a stream.
        run: says what to do with them.
        refused: as in `complete`; None: what a run refuses is raised.

    Raises:
        UserError: says what is wrong with which split.
    """
    shaped, class_names, notes = _shape(loaded, run)
    complete, split_notes = _complete(shaped, run, refused)
    complete, train_notes = _limit_train(complete, run, run.settings.max_train_rows)
    return Data(complete, run.task.form, class_names), [*notes, *split_notes, *train_notes]


def settle_domains(
    loaded: Mapping[str, Mapping[str, Rows]], run: Run, refused: list[Problem] | None = None
) -> tuple[Data, list[str]]:
    """The rows of several domains as the `Data` of a run, and notes to tell: each domain is settled by itself, then joined.

    A validation that a domain lacks is cut from its own train; of held-out rows each domain gives as many at most
    (`max_eval_rows`).

    Args:
        loaded: domain -> its splits.

    Raises:
        UserError: also where the labels of domains differ.
    """
    parts: dict[str, dict[str, Rows]] = {}
    labels: dict[str, tuple[str, ...]] = {}
    notes: list[str] = []
    for domain, domain_splits in loaded.items():
        parts[domain], labels[domain], shape_notes = _shape(domain_splits, run)
        notes += _of_domain(domain, shape_notes)
    if problems := domains.same_labels(labels):
        raise UserError(problems)
    names = next(iter(labels.values()))

    # A domain that only gives held-out rows gives them for all.
    are_held_out = any("train" not in splits and "validation" in splits for splits in parts.values())
    for domain in loaded:
        if labels[domain] != names:  # the same classes in another order: numbered as in the first domain
            parts[domain], _, _ = _shape(loaded[domain], run, names)
        if "train" in parts[domain] and not are_held_out:
            parts[domain], split_notes = _complete(parts[domain], run, refused)
            notes += _of_domain(domain, split_notes)
        parts[domain] = limit_held_out(parts[domain], run, len(parts))
    # Each domain keeps its share of the training rows.
    if run.settings.max_train_rows is not None:
        sizes = {domain: len(splits["train"]) for domain, splits in parts.items() if "train" in splits}
        shares = {domain: size / sum(sizes.values()) for domain, size in sizes.items()}
        for domain, most in domains.counts_of(shares, run.settings.max_train_rows).items():
            parts[domain], train_notes = _limit_train(parts[domain], run, most)
            notes += _of_domain(domain, train_notes)
    joined, join_notes = domains.join(parts, run.task.form)
    return Data(joined, run.task.form, names, parts), [*notes, *join_notes]


def _of_domain(domain: str, notes: Iterable[str]) -> list[str]:
    """Notes that name the domain whose rows they are about."""
    return [f"{domain}: {note}" for note in notes]


def _shape(
    loaded: Mapping[str, Rows], run: Run, names: Sequence[str] = ()
) -> tuple[dict[str, Rows], tuple[str, ...], list[str]]:
    """Splits with the columns of the run's form; with class names, in the order of `names` where given, and notes to tell."""
    unknown = sorted(loaded.keys() - split_files.SPLITS.keys())
    if unknown:
        raise UserError(f"unknown splits: {', '.join(unknown)}", f"splits are named {', '.join(split_files.SPLITS)}")
    # Held-out rows are read again at every evaluation; only train may stay a stream.
    stored = dict(loaded)
    for split in loaded.keys() - {"train"}:
        stored[split] = _stored(loaded[split], split)
    return target_form.shape(stored, run.task.form, names, join_labels=run.settings.join_labels)


def _complete(shaped: Mapping[str, Rows], run: Run, refused: list[Problem] | None) -> tuple[dict[str, Rows], list[str]]:
    """The splits with a validation, cut from train where there is none; and notes to tell."""
    settings = run.settings
    return splits.complete(
        shaped,
        seed=settings.seed,
        validation_share=settings.validation_share,
        group=settings.group_column,
        form=run.task.form,
        refused=refused,
    )


def limit_held_out(splits: Mapping[str, Rows], run: Run, num_domains: int) -> dict[str, Rows]:
    """The splits of one of the domains with its part of `max_eval_rows` at most, drawn over the whole split, as files are often
    sorted."""
    limited = dict(splits)
    if run.settings.max_eval_rows is None:
        return limited
    most = max(1, run.settings.max_eval_rows // num_domains)
    for split, rows in splits.items():
        if split != "train" and len(rows) > most:
            limited[split] = rows.shuffle(seed=run.settings.seed).select(range(most))
    return limited


def _limit_train(complete: Mapping[str, Rows], run: Run, most: int | None) -> tuple[dict[str, Rows], list[str]]:
    """The splits with `most` training rows at most; and notes to tell."""
    from datasets import Dataset

    settings = run.settings
    complete = dict(complete)
    notes: list[str] = []
    train = complete.get("train")
    if most is None or train is None:
        return complete, notes
    if not isinstance(train, Dataset):
        complete["train"] = train.take(most)
    elif len(train) > most:
        import numpy as np

        # Drawn over the whole file, as files are often sorted; kept in their order.
        drawn = np.random.default_rng(settings.seed).permutation(len(train))[:most]
        complete["train"] = train.select(np.sort(drawn))
        notes.append(f"train: {most} of {len(train)} rows used (max_train_rows)")
    return complete, notes


def _stored(rows: Rows, split: str) -> Dataset:
    """Rows of a split that is looked at again and again: a stream is read to its end and kept."""
    from datasets import Dataset

    from ftp.data import json_column

    if isinstance(rows, Dataset):
        return rows
    if not hasattr(rows, "iter"):
        raise TypeError(f"load_data gave a {type(rows).__name__} for {split}, not a datasets.Dataset")
    # Python objects, as `datasets` infers Arrow anew for each batch of rows that were changed on the way.
    parts = (
        json_column.with_json_columns(arrow.table(chunk), rows.features)
        for chunk in chunks.chunked(enumerate(rows), chunks.CHUNK_ROWS)
    )
    stored = tables.dataset(parts, source_name=split)
    return stored.cast(rows.features) if rows.features else stored


def mapping(columns: Iterable[str]) -> dict[str, str]:
    """`("text=sentence", "label=target")` -> {"text": "sentence", "label": "target"}; commas part pairs as well."""
    theirs_by_ours: dict[str, str] = {}
    pairs: list[str] = []
    for text in columns:
        pairs += text.split(",")
    for pair in pairs:
        ours, equals, theirs = map(str.strip, pair.partition("="))
        if not equals or not ours or not theirs:
            raise UserError(
                f"--columns {pair.strip()}: not of the form ours=theirs",
                "name our column first",
                "--columns text=sentence",
            )
        if ours in theirs_by_ours:
            raise UserError(f"--columns: {ours} is mapped twice", "map each of our columns once")
        theirs_by_ours[ours] = theirs
    return theirs_by_ours
