"""Core's own forms of rows, each written as any package would write one (`ftp.forms.FormSpec`). Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from ftp.data import chat_rows, turns, unsupported_labels
from ftp.errors import Problem
from ftp.forms import AS_TEXT, TEXT_COLUMN, TEXT_PAIR_COLUMN, Column, FormSpec, Way
from ftp.forms.texts import joined
from ftp.types import Row

if TYPE_CHECKING:
    from ftp.data.row_types import Rows

ASIDE = (Column("id", "aside", is_required=False), Column("title", "aside", is_required=False))
ASKED_IN_CHAT = (Column("messages", "messages"), Column("prompt", "messages"), Column("text"))
"""A conversation may be asked by any of these columns."""


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def _text_as_messages(text: str) -> Row:
    return {"messages": [_user(text)]}


def _text_as_prompt(text: str) -> Row:
    return {"prompt": [_user(text)]}


# From preference.


def _to_preference(row: Row, labels: Sequence[str]) -> Row:
    return dict(zip(("prompt", "chosen", "rejected"), chat_rows.preference(row), strict=True))


PREFERENCE = FormSpec(
    "preference",
    (
        Column("prompt", "messages"),
        Column("chosen", "messages", is_answer=True),
        Column("rejected", "messages", is_answer=True),
    ),
    ways=(
        Way("preference", _to_preference),
        Way("conversation", lambda row, labels: {"messages": [*row["prompt"], *row["chosen"]]}),
        Way("prompt", lambda row, labels: {"prompt": row["prompt"]}),
    ),
    column_sets=(("chosen", "rejected"),),
    key=("prompt",),
    duplicate_key=("prompt", "chosen"),  # a prompt with another answer is another comparison
    asked=ASKED_IN_CHAT,
    sequence_names=("chosen", "rejected"),
)


# From feedback.


def _to_feedback(row: Row, labels: Sequence[str]) -> Row:
    prompt, completion = turns.split_last(chat_rows.conversation(row))
    return {"prompt": prompt, "completion": completion, "label": chat_rows.good(row["label"])}


def _feedback_to_conversation(row: Row, labels: Sequence[str]) -> Row | None:
    # only what was rated good is worth imitating: rows rated bad are left out
    return {"messages": [*row["prompt"], *row["completion"]]} if row["label"] else None


def has_ratings(rows: Rows) -> bool:
    """Whether the labels of the first rows are ratings, good or bad; a label that is none says nothing of an answer."""
    try:
        return all(chat_rows.good(row["label"]) in (True, False) for row in islice(rows, 1000))
    except turns.Unfit:
        return False


FEEDBACK = FormSpec(
    "feedback",
    (
        Column("prompt", "messages"),
        Column("completion", "messages", is_answer=True),
        Column("label", "rating", is_answer=True),
    ),
    ways=(
        Way("feedback", _to_feedback),
        Way("conversation", _feedback_to_conversation),
        Way("prompt", lambda row, labels: {"prompt": row["prompt"]}),
    ),
    column_sets=(
        ("prompt", "completion", "label"),
        ("messages", "label"),
        ("conversations", "label"),
        ("prompt", "response", "label"),
        ("instruction", "output", "label"),
        ("instruction", "response", "label"),
        ("question", "response", "label"),
    ),
    key=("prompt",),
    asked=ASKED_IN_CHAT,
    answers_in_sets=("output", "answer"),
    instead_of="conversation",
    is_meant=has_ratings,
)


# From question.


def _to_question(row: Row, labels: Sequence[str]) -> Row:
    """Answers that were kept as JSON, as their rows have different fields, with the two that are read."""
    answers = row["answers"]
    if not hasattr(answers, "keys"):
        raise turns.Unfit(f"holds {answers!r:.80} in answers where {{\"text\": [...], \"answer_start\": [...]}} belongs")
    return {"answers": {"text": answers.get("text"), "answer_start": answers.get("answer_start")}}


def _question_to_conversation(row: Row, labels: Sequence[str]) -> Row:
    answers = row["answers"]["text"]
    answer = answers[0] if answers else chat_rows.UNANSWERABLE
    asked = _user(joined(row["context"], row["question"]))
    return {"messages": [asked, {"role": "assistant", "content": answer}]}


QUESTION = FormSpec(
    "question",
    (Column("question"), Column("context"), Column("answers", "answers", is_answer=True), *ASIDE),
    ways=(
        Way("question", _to_question, makes=("answers",)),
        Way("conversation", _question_to_conversation),
        Way("text", lambda row, labels: {"text": joined(row["context"], row["question"])}),
    ),
    key=("context",),  # other questions about a paragraph that was trained on are no unseen rows
    default_head="span",
)


# From tagged.

TAGGED = FormSpec(
    "tagged",
    (Column("tokens", "tokens"), Column("tags", "tags", is_answer=True, other_names=("ner_tags", "pos_tags"))),
    ways=(Way("text", lambda row, labels: {"text": " ".join(row["tokens"])}),),
    row_of_text=lambda text: {"tokens": text.split()},
    default_head="tags",
)


# From labelled.


def _labelled_to_conversation(row: Row, labels: Sequence[str]) -> Row:
    # A name beside the number, the label itself, else the name of the class.
    label = row["label"]
    if row.get("label_name"):
        name = str(row["label_name"])
    elif isinstance(label, str):
        name = label
    elif isinstance(label, int) and 0 <= label < len(labels):
        name = labels[label]
    else:
        raise turns.Unfit(f"has the label {label!r}, for which there is no name to answer with")
    asked = _user(joined(row["text"], row.get("text_pair")))
    return {"messages": [asked, {"role": "assistant", "content": name}]}


def _why_not_labelled(source_name: str, rows: Rows) -> Problem | None:
    """Rows without a column `label` may have several labels each."""
    if "label" in (rows.column_names or ()):
        return None
    return unsupported_labels.columns_problem(source_name, rows)


LABELLED = FormSpec(
    "labelled",
    (
        TEXT_COLUMN,
        TEXT_PAIR_COLUMN,
        Column("label", "class", is_answer=True),
        Column("label_name", "any", is_required=False, is_answer=True),
    ),
    ways=(
        Way("conversation", _labelled_to_conversation, needs_labels=True),
        AS_TEXT,
    ),
    default_head="labels",
    why_not=_why_not_labelled,
)


# From conversation, text and prompt.


def _conversation_to_prompt(row: Row, labels: Sequence[str]) -> Row:
    conversation = list(row["messages"])
    if conversation[-1]["role"] != "assistant":
        return {"prompt": conversation, "completion": []}
    prompt, completion = turns.split_last(conversation)
    return {"prompt": prompt, "completion": completion}


def _without_last_turn(row: Row) -> Row:
    # one prompt stays on one side of a cut with all its answers
    return {**row, "messages": row["messages"][:-1] or row["messages"]}


CONVERSATION = FormSpec(
    "conversation",
    (Column("messages", "messages"), Column("tools", "any", is_required=False)),
    ways=(
        Way("conversation", lambda row, labels: {"messages": chat_rows.conversation(row)}),
        Way("text", lambda row, labels: {"text": turns.plain(row["messages"], chat_rows.tools(row))}),
        Way("prompt", _conversation_to_prompt, makes=("prompt", "completion")),
    ),
    column_sets=(
        ("messages",),
        ("conversations",),
        ("prompt", "completion"),
        ("instruction", "output"),
        ("question", "answer"),
        ("prompt", "response"),
        ("instruction", "response"),
        ("question", "response"),
    ),
    ignored_beside={"answer": "choices"},  # multiple choice: the answer is a number, not words
    key=("messages",),
    without_answer=_without_last_turn,
    asked=ASKED_IN_CHAT,
    answers_in_sets=("completion", "output", "answer"),
    row_of_text=_text_as_messages,
)

TEXT = FormSpec(
    "text",
    (TEXT_COLUMN, Column("title", "aside", is_required=False)),
)

PROMPT = FormSpec(
    "prompt",
    (Column("prompt", "messages"), Column("completion", "messages", is_required=False, is_answer=True)),
    ways=(Way("prompt", lambda row, labels: {"prompt": chat_rows.asked(row)}),),
    key=("prompt",),
    asked=ASKED_IN_CHAT,
    row_of_text=_text_as_prompt,
)
