"""Which form can be read as which, and how a row is changed on the way: one table of conversions, all of them downhill.

Nothing is invented: a conversion only leaves out or rearranges what a row says. This module imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ftp.data import chat_rows, forms, turns
from ftp.types import Form

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

    Rows = TypeVar("Rows", Dataset, IterableDataset)

Columns = Mapping[str, Any]


def _user(content: str) -> dict[str, str]:
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
    asked = _user(_joined(row["text"], row.get("text_pair")))
    return {"messages": [asked, {"role": "assistant", "content": name}]}


def _question_to_conversation(row: Columns, labels: Sequence[str]) -> Columns:
    answers = row["answers"]["text"]
    answer = answers[0] if answers else chat_rows.UNANSWERABLE
    asked = _user(_joined(row["context"], row["question"]))
    return {"messages": [asked, {"role": "assistant", "content": answer}]}


def conversation_to_prompt(row: Columns, labels: Sequence[str]) -> Columns:
    conversation = list(row["messages"])
    if conversation[-1]["role"] != "assistant":
        return {"prompt": conversation, "completion": []}
    prompt, completion = turns.split_last(conversation)
    return {"prompt": prompt, "completion": completion}


def _to_preference(row: Columns, labels: Sequence[str]) -> Columns:
    return dict(zip(("prompt", "chosen", "rejected"), chat_rows.preference(row), strict=True))


def _to_feedback(row: Columns, labels: Sequence[str]) -> Columns:
    prompt, completion = turns.split_last(chat_rows.conversation(row))
    return {"prompt": prompt, "completion": completion, "label": chat_rows.good(row["label"])}


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
    ("conversation", "text"): lambda row, labels: {"text": turns.plain(row["messages"], chat_rows.tools(row))},
    ("conversation", "prompt"): conversation_to_prompt,
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
    "conversation": lambda row, labels: {"messages": chat_rows.conversation(row)},
    "preference": _to_preference,
    "feedback": _to_feedback,
    "prompt": lambda row, labels: {"prompt": chat_rows.asked(row)},
    "question": _to_question,
}
"""Forms whose columns come in many spellings, and how one spelling is made of them."""


def way(source: Form, target: Form) -> tuple[Form, ...] | None:
    """The shortest way downhill, both ends included; None where there is none."""
    ways: list[tuple[Form, ...]] = [(source,)]
    # Breadth first, so that the first way found is the shortest: the list grows while it is read.
    for steps in ways:
        if steps[-1] == target:
            return steps
        for start, end in DOWNHILL:
            if start == steps[-1] and end not in steps:
                ways.append((*steps, end))
    return None


def reachable(gives: Iterable[Form]) -> frozenset[Form]:
    """Every form that rows of these forms can be read as, themselves included."""
    targets: set[Form] = set()
    for source in gives:
        targets.update(target for target in forms.FORMS if way(source, target))
    return frozenset(targets)


def fits(gives: Iterable[Form], wants: Form) -> bool:
    """Whether rows of one of the forms in `gives` can be read as `wants`."""
    return wants in reachable(gives)


def offers_to(columns: Iterable[str], target: Form) -> tuple[Form, ...]:
    """Every form that these columns can be read as and that leads to `target`, the richest first."""
    return tuple(form for form in forms.offers(columns) if way(form, target))
