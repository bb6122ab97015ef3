"""Which of several responses and suggestions to the questions of a record is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from ftp.data.readers import Tally
from ftp.types import Row

NO_ANSWER = "records left out, as they have neither a response nor a suggestion"
DISCARDED = "records left out, as they were discarded"
SUGGESTED = "records have no response, so that the suggestion is read"
DIFFERENT = "records have responses that differ, of which the most frequent or else the first is read"
NOT_SUBMITTED = ("draft", "discarded")
"""The status of a response that does not count."""

Responses = Mapping[str, Sequence[object]]
"""Question -> what people answered."""


def choose_answers(responses: Responses, suggestions: Row, tally: Tally) -> Row | None:
    """Question -> the one answer that is read; None (counted) where no question has any."""
    answers: dict[str, object] = {}
    is_different = False
    is_suggested = False
    for question, values in responses.items():
        known = [value for value in values if value is not None]
        if known:
            # by their spelling, as lists and objects cannot be counted; of equally frequent ones the first
            spellings = list(map(repr, known))
            [(most_frequent, count)] = Counter(spellings).most_common(1)
            is_different = is_different or count < len(known)
            answers[question] = known[spellings.index(most_frequent)]
    for question, value in suggestions.items():
        if question not in answers and value is not None:
            answers[question] = value
            is_suggested = True
    if is_different:
        tally[DIFFERENT] += 1
    if is_suggested:
        tally[SUGGESTED] += 1
    if not answers:
        tally[NO_ANSWER] += 1
        return None
    return answers


def submitted(entries: Iterable[object]) -> list[object]:
    """The values of responses as objects, as `{"value", "user_id", "status"}`, without drafts and discarded ones."""
    values: list[object] = []
    for entry in entries:
        if isinstance(entry, Mapping) and entry.get("status") not in NOT_SUBMITTED:
            values.append(entry.get("value"))
    return values


def submitted_of_columns(values: object, statuses: object) -> list[object]:
    """The values of responses as two lists, without drafts and discarded ones; all where their statuses do not fit."""
    if not isinstance(values, list):
        return []
    if not isinstance(statuses, list) or len(statuses) != len(values):
        return values
    kept: list[object] = []
    for value, status in zip(values, statuses, strict=True):
        if status not in NOT_SUBMITTED:
            kept.append(value)
    return kept
