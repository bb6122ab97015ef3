"""Rows of preferences and of feedback as token ids.

A prompt with one answer is a `Side`: the ids of both, and the stretches of them that count (the assistant's turns of the
answer, each with its end of turn; never the prompt). What is too long loses the beginning of its prompt, so that answers
stay whole as long as there is room for them and one token before them; then the end of the answers. Both are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ftp.data.messages import read_answer, read_messages
from ftp.data.turns import Message, Unfit, is_empty, last_question
from ftp.errors import Problem, UserError
from ftp.losses.common import TokenRow
from ftp.losses.conversations import Chat, tools_of
from ftp.losses.stretches import Span, flat, total_size
from ftp.types import Row

__all__ = ["SAME", "RatingRow", "SamePairs", "encode_ratings", "excerpt"]

SAME = "chosen and rejected are the same"
"""Why a pair is left out."""


class PairRow(TokenRow, total=False):
    """A prompt with two answers. `input_ids` and `spans`: the prompt with the chosen one, `rejected_ids` and `rejected_spans`
    with the rejected one. `ref_..._logps`: their log probabilities under the reference, where those are kept."""

    rejected_ids: list[int]
    rejected_spans: list[int]
    ref_chosen_logps: float
    ref_rejected_logps: float


class RatingRow(TokenRow, total=False):
    """A prompt with an answer (`input_ids`, `spans`).

    Attributes:
        label: 1 for a good answer, 0 for a bad one.
        other_ids: the same prompt with the answer to another one; empty where there is none.
        other_spans: the trained stretches of these.
        ref_logps: log probability of the answer under the reference, in nats, where that is kept.
        ref_other_logps: that of the other answer.
    """

    label: int
    other_ids: list[int]
    other_spans: list[int]
    ref_logps: float
    ref_other_logps: float


@dataclass(frozen=True)
class Side:
    """A prompt with one answer. `spans`: the stretches that count, flat ([start, end, start, end, ...]). `cut`: tokens that
    did not fit, `answer_cut` of them the answer's."""

    ids: list[int]
    spans: list[int]
    cut: int = 0
    answer_cut: int = 0


def sides(chat: Chat, rows: Sequence[Row], answers: Sequence[object], limit: int) -> list[Side]:
    """Each row's prompt with an answer (messages, or a text). `UserError` names the rows that cannot be read."""
    prompts = [read_messages(row["prompt"], "user") for row in rows]
    replies = [read_answer(answer) for answer in answers]
    refuse_empty(rows, replies)
    # rendered and tokenised as a whole, as it is when it is generated
    conversations = [[*prompt, *reply] for prompt, reply in zip(prompts, replies, strict=True)]
    encoded = chat.encode(conversations, list(map(tools_of, rows)), "answers", list(map(len, prompts)))
    problems = []
    sides_of_rows = []
    for row, conversation in zip(rows, encoded, strict=True):
        if isinstance(conversation, Unfit):
            problems.append(Problem(f"the row that asks {excerpt(row)} {conversation}"))
            continue
        sides_of_rows.append(fitted(conversation.ids, conversation.spans, limit, chat.tokenizer.bos_token_id))
    if problems:
        raise UserError(shortened(problems, "rows cannot be read"))
    return sides_of_rows


def fitted(ids: Sequence[int], spans: Sequence[Span], limit: int, bos: int | None) -> Side:
    """At most `limit` tokens: what follows the last trained token goes (nothing reads it), then the prompt's beginning
    (a BOS stays), then the end of the answer."""
    first_trained = spans[0][0]
    ids = list(ids[: spans[-1][1]])
    over = len(ids) - limit
    if over <= 0:
        return Side(ids, flat(spans))
    # one token stays before the answer, whose first token would otherwise be predicted from nothing
    room = first_trained - 1
    keep = int(ids[0] == bos and room > 0)
    shift = max(0, min(over, room))
    ids = [*ids[:keep], *ids[keep + shift :]][:limit]
    kept: list[Span] = []
    for start, end in spans:
        if start - shift < limit:
            kept.append((start - shift, min(end - shift, limit)))
    return Side(ids, flat(kept), over, total_size(spans) - total_size(kept))


def refuse_empty(rows: Sequence[Row], answers: Sequence[Sequence[Message]]) -> None:
    """`UserError` that names the rows whose answer says nothing."""
    problems = []
    for row, answer in zip(rows, answers, strict=True):
        if all(is_empty(turn) for turn in answer if turn["role"] == "assistant"):
            problems.append(Problem(f"the row that asks {excerpt(row)} has an empty answer"))
    if problems:
        raise UserError(shortened(problems, "rows have an empty answer"))


def shortened(problems: Sequence[Problem], complaint: str, most: int = 5) -> list[Problem]:
    """The first problems and how many there are."""
    if len(problems) <= most:
        return [*problems[:-1], Problem(problems[-1].what, "mend these rows or leave them out")]
    return [*problems[:most], Problem(f"{len(problems)} {complaint} in all", "mend them or leave them out")]


def excerpt(row: Row, most: int = 60) -> str:
    """What names a row to a user: its id, where it has one, and how its question begins.

    Args:
        row: a row with a `prompt`.
        most: characters of the question that are shown.
    """
    question = last_question(read_messages(row["prompt"], "user"))
    shown = question if len(question) <= most else question[:most] + "..."
    number = f"(id {row['id']}) " if row.get("id") is not None else ""
    return number + repr(shown)


@dataclass
class SamePairs:
    """Counts pairs whose two answers are the same, and refuses rows of which most are.

    Attributes:
        pairs: how many were counted.
        same: how many of them had the same tokens twice.
    """

    pairs: int = 0
    same: int = 0

    def add(self, pairs: int, same: int) -> None:
        """Count more rows.

        Args:
            pairs: how many more.
            same: how many of them have the same tokens twice.

        Raises:
            UserError: most of all so far are the same.
        """
        self.pairs += pairs
        self.same += same
        if same and 2 * self.same > self.pairs:
            raise UserError(f"chosen and rejected are the same in {self.same} of {self.pairs} pairs",
                            "map the columns that differ, as in --columns chosen=better,rejected=worse")


def encode_pairs(chat: Chat, rows: Sequence[Row], limit: int, seen: SamePairs) -> list[PairRow]:
    """Encode rows of preferences; `length` counts both answers. Pairs whose answers are the same tokens say nothing: they
    are `left_out`; `UserError` where they are most of those `seen`."""
    chosen = sides(chat, rows, [row["chosen"] for row in rows], limit)
    rejected = sides(chat, rows, [row["rejected"] for row in rows], limit)
    encoded: list[PairRow] = []
    same = 0
    for row_index, (good, bad) in enumerate(zip(chosen, rejected, strict=True)):
        answer_cut = good.answer_cut + bad.answer_cut
        if good.ids == bad.ids:
            same += not answer_cut  # what was cut off may have differed
            encoded.append({"row": row_index, "left_out": SAME, "answer_cut": answer_cut})
            continue
        encoded.append({"input_ids": good.ids, "spans": good.spans, "rejected_ids": bad.ids, "rejected_spans": bad.spans,
                        "length": len(good.ids) + len(bad.ids), "row": row_index, "cut": good.cut + bad.cut,
                        "answer_cut": answer_cut})
    seen.add(len(rows), same)
    return encoded


def encode_ratings(chat: Chat, rows: Sequence[Row], limit: int, tell: Callable[[str], None]) -> list[RatingRow]:
    """Encode rows of feedback, each with the answer to another prompt.

    The other answer is that of the next row, among those encoded together, whose prompt and answer differ; it is chosen
    here, once, so neither micro-batches nor processes change it. Empty where there is none.

    Args:
        chat: the run's tokenizer with its chat template.
        rows: rows with `prompt`, `completion` and `label`.
        limit: tokens of a prompt with its answer at most.
        tell: shows the user a line, where rows have no other answer.

    Raises:
        UserError: rows cannot be read, or have an empty answer.
    """
    own = sides(chat, rows, [row["completion"] for row in rows], limit)
    paired = []  # numbers of the rows for which there is an answer to another prompt
    completions = []
    for row_index in range(len(rows)):
        other = mismatched(rows, row_index)
        if other is not None:
            paired.append(row_index)
            completions.append(rows[other]["completion"])
    if len(paired) < len(rows):
        tell(f"{len(rows) - len(paired)} of {len(rows)} rows have no other row to take an answer from, and count for nothing "
             "in the KL estimate")
    other_sides = dict(zip(paired, sides(chat, [rows[index] for index in paired], completions, limit), strict=True))
    encoded: list[RatingRow] = []
    for row_index, (row, side) in enumerate(zip(rows, own, strict=True)):
        other_side = other_sides.get(row_index, Side([], [0]))
        encoded.append({"input_ids": side.ids, "spans": side.spans, "label": int(bool(row["label"])),
                        "other_ids": other_side.ids, "other_spans": other_side.spans,
                        "length": len(side.ids) + len(other_side.ids), "row": row_index,
                        "cut": side.cut, "answer_cut": side.answer_cut})
    return encoded


def mismatched(rows: Sequence[Row], row_index: int) -> int | None:
    """The number of the next row with another prompt and another answer, going round; None where there is none."""
    row = rows[row_index]
    for step in range(1, len(rows)):
        other_index = (row_index + step) % len(rows)
        other = rows[other_index]
        if other["prompt"] != row["prompt"] and other["completion"] != row["completion"]:
            return other_index
    return None
