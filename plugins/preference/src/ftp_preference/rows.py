"""Rows of preferences and of feedback as token ids. No torch here.

A prompt with one answer is a `Side`: the ids of both, and the stretches of them that count (the assistant's turns of the
answer, each with its end of turn; never the prompt). What is too long loses the beginning of its prompt, so that answers
stay whole as long as there is room for them and one token before them; then the end of the answers. Both are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftp.data.messages import read_answer, read_messages
from ftp.data.turns import Message, Unfit, is_empty, last_question
from ftp.errors import Problem, UserError
from ftp.losses.conversations import Chat, tools_of
from ftp.types import Row

SAME = "chosen and rejected are the same"
"""Why a pair is left out."""

Encode = Callable[[Iterable[Row], str], list[dict[str, Any]]]


@dataclass(frozen=True)
class Side:
    """A prompt with one answer. `spans`: the stretches that count, flat ([start, end, start, end, ...]). `cut`: tokens that
    did not fit, `answer_cut` of them the answer's."""

    ids: list[int]
    spans: list[int]
    cut: int = 0
    answer_cut: int = 0


def sides(chat: Chat, rows: Sequence[Row], answers: Sequence[Any], limit: int) -> list[Side]:
    """Each row's prompt with an answer (messages, or a text). `UserError` names the rows that cannot be read."""
    prompts = [read_messages(row["prompt"], "user") for row in rows]
    given = [read_answer(value) for value in answers]
    refuse_empty(rows, given)
    talks = [[*prompt, *answer] for prompt, answer in zip(prompts, given, strict=True)]
    found = chat.encode(talks, [tools_of(row) for row in rows], "answers", [len(prompt) for prompt in prompts])
    problems, made = [], []
    for row, one in zip(rows, found, strict=True):
        if isinstance(one, Unfit):
            problems.append(Problem(f"the row that asks {excerpt(row)} {one}"))
        else:
            made.append(fitted(one.ids, flat(one.spans), limit, chat.tokenizer.bos_token_id))
    if problems:
        raise UserError(shortened(problems, "rows cannot be read"))
    return made


def flat(spans: Iterable[tuple[int, int]]) -> list[int]:
    """Stretches as a column of an encoded row."""
    return [place for span in spans for place in span]


def fitted(ids: Sequence[int], spans: Sequence[int], limit: int, bos: int | None) -> Side:
    """At most `limit` tokens: what follows the last trained token goes (nothing reads it), then the prompt's beginning
    (a BOS stays), then the end of the answer."""
    ids, over, room = list(ids[: spans[-1]]), spans[-1] - limit, spans[0] - 1
    if over <= 0:
        return Side(ids, list(spans))
    keep = int(ids[0] == bos and room > 0)
    left = max(0, min(over, room))
    ids = [*ids[:keep], *ids[keep + left :]][:limit]
    places = [(start - left, min(end - left, limit)) for start, end in zip(spans[::2], spans[1::2], strict=True)]
    kept = flat(place for place in places if place[0] < place[1])
    return Side(ids, kept, over, _size(spans) - _size(kept))


def _size(spans: Sequence[int]) -> int:
    return sum(spans[1::2]) - sum(spans[::2])


def refuse_empty(rows: Sequence[Row], answers: Sequence[Sequence[Message]]) -> None:
    """`UserError` that names the rows whose answer says nothing."""
    empty = [row for row, answer in zip(rows, answers, strict=True)
             if all(is_empty(turn) for turn in answer if turn["role"] == "assistant")]
    if empty:
        problems = [Problem(f"the row that asks {excerpt(row)} has an empty answer") for row in empty]
        raise UserError(shortened(problems, "rows have an empty answer"))


def shortened(problems: Sequence[Problem], what: str, most: int = 5) -> list[Problem]:
    """The first problems and how many there are."""
    if len(problems) <= most:
        return [*problems[:-1], Problem(problems[-1].what, "mend these rows or leave them out")]
    return [*problems[:most], Problem(f"{len(problems)} {what} in all", "mend them or leave them out")]


def excerpt(row: Row, most: int = 60) -> str:
    """What names a row to a user: its id, where it has one, and how its question begins."""
    text = last_question(read_messages(row["prompt"], "user"))
    return (f"(id {row['id']}) " if row.get("id") is not None else "") + repr(text[:most] + ("..." if len(text) > most else ""))


def pairs(chat: Chat, limit: int) -> Encode:
    """Encode rows of preferences.

    One encoded row holds both sides: `input_ids` and `spans` are those of the prompt with the chosen answer,
    `rejected_ids` and `rejected_spans` of the prompt with the rejected one, `length` counts both. Pairs whose sides
    are the same tokens say nothing: they are `left_out`; `UserError` where they are most.
    """
    seen: dict[str, list[int]] = {}

    def encode(rows: Iterable[Row], split: str) -> list[dict[str, Any]]:
        rows = list(rows)
        chosen, rejected = (sides(chat, rows, [row[name] for row in rows], limit) for name in ("chosen", "rejected"))
        made = []
        for place, (good, bad) in enumerate(zip(chosen, rejected, strict=True)):
            if good.ids == bad.ids:
                made.append({"row": place, "left_out": SAME, "answer_cut": good.answer_cut + bad.answer_cut})
                continue
            made.append({"input_ids": good.ids, "spans": good.spans, "rejected_ids": bad.ids,
                         "rejected_spans": bad.spans, "length": len(good.ids) + len(bad.ids), "row": place,
                         "cut": good.cut + bad.cut, "answer_cut": good.answer_cut + bad.answer_cut})
        refuse_same(seen, split, len(rows), sum("left_out" in one and not one["answer_cut"] for one in made))
        return made

    return encode


def refuse_same(seen: dict[str, list[int]], split: str, rows: int, same: int) -> None:
    """Count pairs whose two answers are the same, and refuse where they are most."""
    total = seen.setdefault(split, [0, 0])
    total[0], total[1] = total[0] + rows, total[1] + same
    if same and 2 * total[1] > total[0]:
        raise UserError(f"{split}: chosen and rejected are the same in {total[1]} of {total[0]} pairs",
                        "map the columns that differ, as in --columns chosen=better,rejected=worse")


def ratings(chat: Chat, limit: int, tell: Callable[[str], None]) -> Encode:
    """Encode rows of feedback: `input_ids` and `spans` as in `pairs`, `label` (1 good, 0 bad), and in `other_ids` and
    `other_spans` the same prompt with the answer to another one.

    The other answer is that of the next row, among those encoded together, whose prompt and answer differ; it is chosen
    here, once, so neither micro-batches nor processes change it. Empty where there is none.
    """

    def encode(rows: Iterable[Row], split: str) -> list[dict[str, Any]]:
        rows = list(rows)
        own = sides(chat, rows, [row["completion"] for row in rows], limit)
        others = {place: rows[other] for place in range(len(rows)) if (other := mismatched(rows, place)) is not None}
        given = sides(chat, [rows[place] for place in others], [other["completion"] for other in others.values()], limit)
        strange = dict(zip(others, given, strict=True))
        none = Side([], [0])
        if len(others) < len(rows):
            tell(f"{split}: {len(rows) - len(others)} of {len(rows)} rows have no other row to take an answer from, and count "
                 "for nothing in the KL estimate")
        return [{"input_ids": one.ids, "spans": one.spans, "label": int(bool(row["label"])),
                 "other_ids": strange.get(place, none).ids, "other_spans": strange.get(place, none).spans,
                 "length": len(one.ids) + len(strange.get(place, none).ids), "row": place,
                 "cut": one.cut, "answer_cut": one.answer_cut}
                for place, (row, one) in enumerate(zip(rows, own, strict=True))]

    return encode


def mismatched(rows: Sequence[Mapping[str, Any]], place: int) -> int | None:
    """The place of the next row with another prompt and another answer, going round; None where there is none."""
    for step in range(1, len(rows)):
        other = (place + step) % len(rows)
        if all(rows[other][name] != rows[place][name] for name in ("prompt", "completion")):
            return other
    return None
