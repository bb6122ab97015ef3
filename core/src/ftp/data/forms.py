"""Which columns the rows of each form have, and the one table of conversions between forms, all of them downhill.

Nothing is invented: a conversion only leaves out or rearranges what a row says. This module imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from ftp.data import tables, turns
from ftp.errors import UserError
from ftp.types import Form

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

    Rows = TypeVar("Rows", Dataset, IterableDataset)


@dataclass(frozen=True)
class FormSpec:
    """Columns that every row of a form has once it is loaded, those it may have, and column sets read as this form."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    read_from: tuple[tuple[str, ...], ...] = ()


FORMS: Mapping[Form, FormSpec] = {
    "preference": FormSpec(("prompt", "chosen", "rejected"), (), (("chosen", "rejected"),)),
    "feedback": FormSpec(
        ("prompt", "completion", "label"),
        (),
        (("prompt", "completion", "label"), ("messages", "label"), ("conversations", "label")),
    ),
    "question": FormSpec(("question", "context", "answers"), ("id", "title")),
    "tagged": FormSpec(("tokens", "tags"), ()),
    "labelled": FormSpec(("text", "label"), ("text_pair", "label_name")),
    "conversation": FormSpec(
        ("messages",),
        ("tools",),
        (
            ("messages",),
            ("conversations",),
            ("prompt", "completion"),
            ("instruction", "output"),
            ("question", "answer"),
        ),
    ),
    "text": FormSpec(("text",), ("title",)),
    "prompt": FormSpec(("prompt",), ("completion",)),
}
"""Every form; the richest first, which is the order in which `detect` looks."""

ALIASES: Mapping[str, tuple[str, ...]] = {
    "text": ("sentence", "text_a", "sentence1", "premise"),
    "text_pair": ("text_b", "sentence2", "hypothesis"),
    "tags": ("ner_tags", "pos_tags"),
}
"""Common names of our columns, taken where ours are absent and no `columns` option names them."""

Columns = Mapping[str, Any]

ASIDE = frozenset({"id", "title"})
"""Columns of forms that no objective reads."""


def read_columns(form: Form) -> frozenset[str]:
    """Every column that reading rows as this form looks at, under all its names."""
    spec = FORMS[form]
    names = {*spec.required, *spec.optional, *(name for columns in spec.read_from for name in columns)}
    names |= {other for ours in names for other in ALIASES.get(ours, ())}
    if form in ("conversation", "preference", "feedback", "prompt"):
        names |= {"system", "input", "history", "tools"}
    return frozenset(names - ASIDE)


def _user(row: Columns, content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def _joined(*parts: str | None) -> str:
    return "\n\n".join(part for part in parts if part)


def _labelled_to_conversation(row: Columns, labels: Sequence[str]) -> Columns:
    label = row["label"]
    if row.get("label_name"):
        name = str(row["label_name"])
    elif isinstance(label, str):
        name = label
    elif isinstance(label, int) and 0 <= label < len(labels):
        name = labels[label]
    else:
        raise turns.Unfit(f"has the label {label!r}, for which there is no name to answer with")
    asked = _user(row, _joined(row["text"], row.get("text_pair")))
    return {"messages": [asked, {"role": "assistant", "content": name}]}


def _question_to_conversation(row: Columns, labels: Sequence[str]) -> Columns:
    found = row["answers"]["text"]
    asked = _user(row, _joined(row["context"], row["question"]))
    return {"messages": [asked, {"role": "assistant", "content": found[0] if found else turns.UNANSWERABLE}]}


def _conversation_to_prompt(row: Columns, labels: Sequence[str]) -> Columns:
    said = list(row["messages"])
    prompt, completion = turns.split_last(said) if said[-1]["role"] == "assistant" else (said, [])
    return {"prompt": prompt, "completion": completion}


def _to_preference(row: Columns, labels: Sequence[str]) -> Columns:
    return dict(zip(("prompt", "chosen", "rejected"), turns.preference(row), strict=True))


def _to_feedback(row: Columns, labels: Sequence[str]) -> Columns:
    prompt, completion = turns.split_last(turns.conversation(row))
    return {"prompt": prompt, "completion": completion, "label": turns.good(row["label"])}


Change = Callable[[Columns, Sequence[str]], Columns | None]

DOWNHILL: Mapping[tuple[Form, Form], Change] = {
    ("labelled", "conversation"): _labelled_to_conversation,
    ("labelled", "text"): lambda row, labels: {"text": _joined(row["text"], row.get("text_pair"))},
    ("tagged", "text"): lambda row, labels: {"text": " ".join(row["tokens"])},
    ("question", "conversation"): _question_to_conversation,
    ("question", "text"): lambda row, labels: {"text": _joined(row["context"], row["question"])},
    ("conversation", "text"): lambda row, labels: {"text": turns.plain(row["messages"])},
    ("conversation", "prompt"): _conversation_to_prompt,
    ("preference", "conversation"): lambda row, labels: {"messages": [*row["prompt"], *row["chosen"]]},
    ("preference", "prompt"): lambda row, labels: {"prompt": row["prompt"]},
    # only what was rated good is worth imitating: rows rated bad are left out
    ("feedback", "conversation"): lambda row, labels: (
        {"messages": [*row["prompt"], *row["completion"]]} if row["label"] else None
    ),
    ("feedback", "prompt"): lambda row, labels: {"prompt": row["prompt"]},
}
"""The one table of conversions; longer ways are made of its steps."""

CANONICAL: Mapping[Form, Change] = {
    "conversation": lambda row, labels: {"messages": turns.conversation(row)},
    "preference": _to_preference,
    "feedback": _to_feedback,
    "prompt": lambda row, labels: {"prompt": turns.said(row["prompt"], "user", "prompt")},
}
"""Forms whose columns come in many spellings, and how one spelling is made of them."""


def way(source: Form, target: Form) -> tuple[Form, ...] | None:
    """The shortest way downhill, both ends included; None where there is none."""
    ways: list[tuple[Form, ...]] = [(source,)]
    for walked in ways:  # grows while it is read: breadth first
        if walked[-1] == target:
            return walked
        ways += [(*walked, end) for start, end in DOWNHILL if start == walked[-1] and end not in walked]
    return None


def reachable(gives: Iterable[Form]) -> frozenset[Form]:
    """Every form that rows of these forms can be read as, themselves included."""
    return frozenset(target for source in gives for target in FORMS if way(source, target))


def fits(gives: Iterable[Form], wants: Form) -> bool:
    """Whether rows of one of the forms in `gives` can be read as `wants`."""
    return wants in reachable(gives)


def offers(columns: Iterable[str]) -> tuple[Form, ...]:
    """Every form that these columns can be read as, the richest first. Common other names (`ALIASES`) count."""
    have = set(columns)
    have |= {ours for ours, names in ALIASES.items() if have & set(names)}
    if "choices" in have:
        have.discard("answer")  # multiple choice: the answer is a number, not words
    return tuple(
        form for form, spec in FORMS.items() if any(have.issuperset(columns) for columns in spec.read_from or (spec.required,))
    )


def detect(columns: Iterable[str]) -> Form | None:
    """The richest form that these columns can be read as, or None."""
    return next(iter(offers(columns)), None)


def convert(dataset: Rows, source: Form, target: Form, labels: Sequence[str] = (), told: str = "data") -> Rows:
    """The rows as `target`, in its canonical columns; other columns are kept, those that clash are replaced.

    `labels`: names of the classes, used where numbers become words. Rows rated bad are left out on the way from
    feedback to conversation. `source == target` only brings the columns into canonical shape.
    UserError names the row of `told` that cannot be read.
    """
    walked = way(source, target)
    if walked is None:
        raise UserError(
            f"rows of the form '{source}' cannot be read as '{target}'",
            f"'{source}' can be read as: {', '.join(sorted(reachable([source])))}",
        )
    dataset = _renamed(dataset)
    if source in CANONICAL and not _canonical(dataset, source):
        dataset = _apply(dataset, CANONICAL[source], source, labels, told)
    elif source in CANONICAL and not hasattr(dataset, "num_rows"):  # a stream is looked at while it is read, others by `load`
        messages = tuple(column for column in FORMS[source].required if column != "label")
        dataset = dataset.map(partial(_look, messages=messages, told=told), batched=True, with_indices=True,
                              features=dataset.features)
    for start, end in pairwise(walked):
        dataset = _apply(dataset, DOWNHILL[start, end], end, labels, told)
    return dataset


def _renamed(dataset: Rows) -> Rows:
    """The data set with common other names of our columns replaced by ours."""
    have = list(dataset.column_names or ())
    found = {
        next(name for name in names if name in have): ours
        for ours, names in ALIASES.items()
        if ours not in have and any(name in have for name in names)
    }
    return dataset.rename_columns(found) if found else dataset


def _canonical(dataset: Dataset | IterableDataset, form: Form) -> bool:
    """Whether the columns are in canonical shape already, judged by their types."""
    if dataset.features is None:
        return False
    plain = {column: dataset.features.get(column) for column in FORMS[form].required}
    if form == "feedback" and getattr(plain.pop("label"), "dtype", None) != "bool":
        return False
    return all({"role", "content"} <= set(getattr(kind, "feature", None) or ()) for kind in plain.values())


def _apply(dataset: Rows, change: Change, form: Form, labels: Sequence[str], told: str) -> Rows:
    from datasets import Features, Value

    shape = [{"role": Value("string"), "content": Value("string")}]
    kinds = {
        column: Value("string") if column == "text" else Value("bool") if column == "label" else shape
        for column in (*FORMS[form].required, *(("completion",) if form == "prompt" else ()))
    }
    kept = {name: kind for name, kind in (dataset.features or {}).items() if name not in kinds}
    if form == "prompt" and change is not _conversation_to_prompt:
        kept.update({"completion": dataset.features["completion"]} if "completion" in (dataset.features or ()) else {})
        kinds.pop("completion")
    with tables.quiet():
        return dataset.map(
            partial(_batch, change=change, names=tuple(kinds), labels=tuple(labels), told=told),
            batched=True,
            with_indices=True,
            features=Features({**kept, **kinds}) if dataset.features is not None else None,
        )


def _look(batch: dict[str, list[Any]], indices: list[int], *, messages: Sequence[str], told: str) -> dict[str, list[Any]]:
    """The batch as it is; UserError where a message lacks its role or its text."""
    for column in messages:
        for place, value in zip(indices, batch[column], strict=True):
            try:
                turns.said(value, "user")
            except turns.Unfit as error:
                raise UserError(f"{told}: row {place} {error}", "rows count from 0; mend the row or leave it out") from None
    return batch


def _batch(
    batch: Mapping[str, list[Any]],
    indices: list[int],
    *,
    change: Change,
    names: tuple[str, ...],
    labels: Sequence[str],
    told: str,
) -> dict[str, list[Any]]:
    columns = list(batch)
    kept: list[int] = []
    made: dict[str, list[Any]] = {name: [] for name in names}
    for place, values in enumerate(zip(*batch.values(), strict=True)):
        try:
            new = change(dict(zip(columns, values, strict=True)), labels)
        except turns.Unfit as error:
            raise UserError(f"{told}: row {indices[place]} {error}", "rows count from 0; mend the row or leave it out") from None
        if new is not None:
            kept.append(place)
            for name in names:
                made[name].append(new[name])
    return {**{name: [batch[name][place] for place in kept] for name in columns if name not in names}, **made}
