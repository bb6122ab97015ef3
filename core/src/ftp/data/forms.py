"""Which columns the rows of each form have, and the one table of conversions between forms, all of them downhill.

Nothing is invented: a conversion only leaves out or rearranges what a row says. This module imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from ftp.data import turns
from ftp.errors import Problem, UserError
from ftp.host.quiet import without_progress_bars
from ftp.types import Form

if TYPE_CHECKING:
    import pyarrow as pa
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
        (
            ("prompt", "completion", "label"),
            ("messages", "label"),
            ("conversations", "label"),
            ("prompt", "response", "label"),
            ("instruction", "output", "label"),
            ("instruction", "response", "label"),
            ("question", "response", "label"),
        ),
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
            ("prompt", "response"),
            ("instruction", "response"),
            ("question", "response"),
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
        names |= {"system", "input", "context", "history", "tools", "functions"}
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
    conversation = list(row["messages"])
    if conversation[-1]["role"] != "assistant":
        return {"prompt": conversation, "completion": []}
    prompt, completion = turns.split_last(conversation)
    return {"prompt": prompt, "completion": completion}


def _to_preference(row: Columns, labels: Sequence[str]) -> Columns:
    return dict(zip(("prompt", "chosen", "rejected"), turns.preference(row), strict=True))


def _to_feedback(row: Columns, labels: Sequence[str]) -> Columns:
    prompt, completion = turns.split_last(turns.conversation(row))
    return {"prompt": prompt, "completion": completion, "label": turns.good(row["label"])}


def _to_question(row: Columns, labels: Sequence[str]) -> Columns:
    """Answers that were kept as JSON, as their rows have different fields, with the two that are read."""
    answers = row["answers"]
    if not isinstance(answers, Mapping):
        raise turns.Unfit(f"holds {answers!r:.80} in answers where {{\"text\": [...], \"answer_start\": [...]}} belongs")
    return {"answers": {"text": answers.get("text"), "answer_start": answers.get("answer_start")}}


Change = Callable[[Columns, Sequence[str]], Columns | None]

DOWNHILL: Mapping[tuple[Form, Form], Change] = {
    ("labelled", "conversation"): _labelled_to_conversation,
    ("labelled", "text"): lambda row, labels: {"text": _joined(row["text"], row.get("text_pair"))},
    ("tagged", "text"): lambda row, labels: {"text": " ".join(row["tokens"])},
    ("question", "conversation"): _question_to_conversation,
    ("question", "text"): lambda row, labels: {"text": _joined(row["context"], row["question"])},
    ("conversation", "text"): lambda row, labels: {"text": turns.plain(row["messages"], turns.tools(row))},
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
    "prompt": lambda row, labels: {"prompt": turns.asked(row)},
    "question": _to_question,
}
"""Forms whose columns come in many spellings, and how one spelling is made of them."""

MESSAGES: Mapping[Form, tuple[str, ...]] = {
    "conversation": ("messages",), "preference": ("prompt", "chosen", "rejected"), "feedback": ("prompt", "completion"),
    "prompt": ("prompt", "completion"),
}  # fmt: skip
"""Columns of each form that hold messages; once read they are JSON, as messages differ in their fields."""


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


def offers_to(columns: Iterable[str], target: Form) -> tuple[Form, ...]:
    """Every form that these columns can be read as and that leads to `target`, the richest first."""
    return tuple(form for form in offers(columns) if way(form, target))


def lacking(columns: Iterable[str], form: Form) -> frozenset[str]:
    """The columns of a form that are not there, under no common name; of its column sets, the one that lacks fewest."""
    have = set(columns)
    spec = FORMS[form]
    gaps = [
        frozenset(name for name in wanted if name not in have and not have & set(ALIASES.get(name, ())))
        for wanted in spec.read_from or (spec.required,)
    ]
    return min(gaps, key=len)


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
    if source in CANONICAL and not _is_canonical(dataset, source):
        dataset = _apply(dataset, CANONICAL[source], source, labels, told)
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


def _is_canonical(dataset: Dataset | IterableDataset, form: Form) -> bool:
    """Whether the columns are in canonical shape already, judged by their types."""
    from datasets import Json

    features = dataset.features
    if form == "question":
        return features is None or not isinstance(features.get("answers"), Json)
    if features is None or (form == "feedback" and getattr(features.get("label"), "dtype", None) != "bool"):
        return False
    required = (name for name in MESSAGES[form] if name in FORMS[form].required)
    return all(getattr(features.get(name), "holds_messages", False) for name in required)


def _apply(dataset: Rows, change: Change, form: Form, labels: Sequence[str], told: str) -> Rows:
    """The rows of a data set, each changed into the columns of `form`. Messages, and tools beside them, become JSON."""
    from datasets import Features

    from ftp.data import json_column

    features = dataset.features
    kinds = _kinds(form)
    if form == "prompt" and change is not _conversation_to_prompt:  # an answer, where there is one, is nobody's business
        kinds.pop("completion")
    names = tuple(kinds)
    if form in MESSAGES and {"tools", "functions"} & set(dataset.column_names or ()):
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
    kinds: dict[str, Any] = {name: MessagesColumn() for name in MESSAGES[form]}
    return {**kinds, "label": Value("bool")} if form == "feedback" else kinds


def _changed(
    rows: Sequence[dict[str, Any]],
    indices: Sequence[int],
    *,
    change: Change,
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
                made = {**made, "tools": turns.tools(row)}
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
