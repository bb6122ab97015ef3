"""Chats that were written or continued in Label Studio."""

from __future__ import annotations

from collections.abc import Sequence

from ftp.data.readers import Tally, Unreadable
from ftp.types import Row
from ftp_labelling.columns import are_objects, without
from ftp_labelling.label_studio.results import values_of

TIME = "createdAt"
"""Field of a message, in milliseconds; it says in which order messages stand, and is no part of what was said."""
NO_ROLE = "tasks have texts without a role before their messages, which are left out"


def messages(data: Row, results: Sequence[Row], tally: Tally) -> Sequence[Row]:
    """The messages of the task, then those that were written, by the time at which they were."""
    written: list[Row] = []
    for _, value in values_of(results, ("chatmessage",)):
        message = value.get("chatmessage")
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            raise Unreadable("a chat message has no content")
        written.append(message)
    # results stand in the order in which they were saved, which is not that of the conversation
    if all(isinstance(message.get(TIME), int) for message in written):
        written.sort(key=lambda message: int(message[TIME]))
    return [without(message, (TIME,)) for message in [*_messages_before(data, results, tally), *written]]


def _messages_before(data: Row, results: Sequence[Row], tally: Tally) -> list[Row]:
    """The messages that the task began with; a text without a role is a word to the annotator, and is left out."""
    # the field that the annotator was shown, or else any that holds messages
    names = [result.get("to_name") for result in results if result.get("type") == "chatmessage"]
    for name in (*names, *data):
        value = data.get(name) if isinstance(name, str) else None
        if not are_objects(value, ()):
            continue
        with_role = [item for item in value if "role" in item]
        if len(with_role) < len(value) and (with_role or name in names):
            tally[NO_ROLE] += 1
        if with_role:
            return with_role
    return []
