"""A row of chat -> its conversation, its prompt, its preferred and rejected answer, its tools, its rating.

The columns come in many spellings: messages, prompt and answer (Alpaca's `instruction`, `input`, `output`, `history`, `system`;
Dolly's `context`, `response`; ...). `messages` reads what each cell holds. Plain Python, no heavy imports.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from ftp.data.messages import read_answer, read_messages, read_text, transcript
from ftp.data.turns import INSTRUCTIONS, Message, Unfit, content_text, is_same
from ftp.types import Row

ANSWERS: Mapping[str, tuple[str, ...]] = {
    "prompt": ("completion", "response"), "instruction": ("output", "response"), "question": ("answer", "response"),
}  # fmt: skip
"""Columns that ask, in the order in which they are looked at, and those that answer them."""

ASKING = ("prompt", "messages", "conversations", "instruction", "question")
"""Columns that ask something, in the order in which they are looked at where nothing is to be answered."""

COLUMNS = ("messages", "conversations", "prompt", "completion", "instruction", "output", "question", "answer", "response")
"""Columns that say a conversation."""

BESIDE: Mapping[str, tuple[str, ...]] = {
    "input": ("prompt", "instruction", "question"), "history": ("prompt", "instruction", "question"),
    "context": ("instruction", "question"),
}  # fmt: skip
"""Columns that are read beside one that asks, and those that ask."""

UNANSWERABLE = "The text does not answer this question."
"""The assistant's turn for a question without an answer (SQuAD 2.0 leaves `answers` empty)."""


def conversation(row: Row) -> list[Message]:
    """The whole conversation of a row, whichever columns hold it."""
    for column in ("messages", "conversations"):
        if row.get(column) is not None:
            return _with_system(row, read_messages(row[column], "user", column))
    for asked, answers in ANSWERS.items():
        answered = next((name for name in answers if row.get(name) is not None), None)
        if row.get(asked) is not None and answered is not None:
            prompt, answer = parted(question(row, asked), _answer_to(row, asked, answered), answered)
            return _with_system(row, [*prompt, *answer])
    empty_columns = [name for name in COLUMNS if name in row and row[name] is None]
    if empty_columns:
        raise Unfit(f"holds nothing in {' or '.join(empty_columns)}")
    raise Unfit("has an empty conversation")


def _answer_to(row: Row, asked: str, column: str) -> list[Message]:
    """The answer in a column. Beside a prompt that is a transcript it may be one as well, which repeats the prompt (hh-rlhf); one
    that merely begins with "Human:" is an answer."""
    prompt = row.get(asked)
    value = row[column]
    if isinstance(prompt, str) and isinstance(value, str) and transcript(prompt):
        turns = transcript(value)
        if turns and value.strip().startswith(prompt.strip()):
            return turns
    return read_answer(value, column)


def asked(row: Row) -> list[Message]:
    """What a row asks, without an answer: its prompt in any spelling, with its system text. Empty where no column asks."""
    for column in ASKING:
        if row.get(column) is None:
            continue
        if column in ANSWERS:
            return _with_system(row, question(row, column))
        return _with_system(row, read_messages(row[column], "user", column))
    return []


def question(row: Row, column: str) -> list[Message]:
    """The turns of a column that asks, with what stands beside it.

    `history` comes before it; `input` and, beside an instruction, `context` behind it; beside a question `context` before it.
    """
    value = row[column]
    if column == "instruction":
        value = read_text(value, column)
    turns = read_messages(value, "user", column)
    is_plain_text = isinstance(value, str) and len(turns) == 1 and turns[0].get("content") == value
    if not is_plain_text:
        return turns  # messages hold all that was said before; no other column adds to them
    before: list[str] = []
    behind = [read_text(row.get("input"), "input")]
    # Dolly's context belongs behind the instruction; a text that a question is about stands before it.
    if column == "instruction":
        behind.append(read_text(row.get("context"), "context"))
    if column == "question":
        before.append(read_text(row.get("context"), "context"))
    parts = [part for part in (*before, value, *behind) if part == value or part.strip()]
    return [*_history(row.get("history")), {"role": "user", "content": "\n\n".join(parts)}]


def unread_columns(columns: Sequence[str]) -> list[str]:
    """Those of the columns that no row of a conversation, preference, feedback or prompt is read from, in their order."""
    read = {*COLUMNS, "chosen", "rejected", "label", "system", "tools", "functions"}
    for name, asking in BESIDE.items():
        if set(asking) & set(columns):
            read.add(name)
    return [name for name in columns if name not in read]


def _with_system(row: Row, turns: list[Message]) -> list[Message]:
    """The turns with the column `system` before them. `Unfit` where there are none, or where they begin with another system
    turn: which of the two counts is not known."""
    system = read_text(row.get("system"), "system")
    if system and turns and turns[0]["role"] != "system":
        turns = [{"role": "system", "content": system}, *turns]
    elif system.strip() and turns and content_text(turns[0]).strip() != system.strip():
        raise Unfit("has another system turn in its messages than in the column system")
    if not turns:
        raise Unfit("has an empty conversation")
    return turns


def _history(pairs: object) -> list[Message]:
    """Earlier turns of Alpaca rows: pairs of what the user and the assistant said."""
    turns: list[Message] = []
    listed = pairs or ()
    if isinstance(pairs, str) or not isinstance(listed, Sequence):
        raise Unfit(f"holds {pairs!r:.80} in history where a list of pairs belongs")
    for pair in listed:
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise Unfit(f"holds {pair!r:.80} in history where a pair of texts belongs")
        for role, part in zip(("user", "assistant"), pair, strict=True):
            turns.append({"role": role, "content": read_text(part, "history")})
    return turns


def preference(row: Row) -> tuple[list[Message], list[Message], list[Message]]:
    """Prompt, chosen and rejected of a row. Without a prompt it is what chosen and rejected begin with in common."""
    prompt = asked(row)
    if any(turn["role"] not in INSTRUCTIONS for turn in prompt):
        prompt, chosen = parted(prompt, _answer_to(row, "prompt", "chosen"), "chosen")
        prompt, rejected = parted(prompt, _answer_to(row, "prompt", "rejected"), "rejected")
    else:
        # No column asks: chosen and rejected are whole conversations, which begin alike.
        system = prompt
        chosen = read_messages(row["chosen"], "assistant", "chosen")
        rejected = read_messages(row["rejected"], "assistant", "rejected")
        prompt, chosen, rejected = _implicit(chosen, rejected)
        if not prompt:
            raise Unfit("has no prompt, and chosen and rejected begin differently")
        if prompt[0]["role"] not in INSTRUCTIONS:
            prompt = [*system, *prompt]
        prompt = _with_system(row, prompt)
    for name, turns in (("prompt", prompt), ("chosen", chosen), ("rejected", rejected)):
        if not turns:
            raise Unfit(f"has an empty {name}")
    return prompt, chosen, rejected


def _implicit(chosen: list[Message], rejected: list[Message]) -> tuple[list[Message], list[Message], list[Message]]:
    """What two conversations begin with in common, and how each goes on. A system turn that one of them has is common."""
    systems = [*_system_of(chosen), *_system_of(rejected)]
    if len(systems) == 2 and not is_same(*systems):
        return [], chosen, rejected
    system = systems[:1]
    chosen = _without_system(chosen, system)
    rejected = _without_system(rejected, system)
    # The last turn of each is its answer, even where both say the same.
    most = min(len(chosen), len(rejected)) - 1
    num_common = 0
    while num_common < most and is_same(chosen[num_common], rejected[num_common]):
        num_common += 1
    prompt = [*system, *chosen[:num_common]] if num_common else []
    return prompt, chosen[num_common:], rejected[num_common:]


def parted(prompt: list[Message], turns: list[Message], column: str) -> tuple[list[Message], list[Message]]:
    """Prompt and answer where the turns of an answer may repeat the prompt, with or without its system turn.

    A system turn that only the answer has becomes the prompt's. `Unfit` where the answer begins with a turn of the user
    that is not the prompt's: nobody can tell what was asked.
    """
    system = _system_of(turns)
    own = _system_of(prompt)
    if system and own and not is_same(system[0], own[0]):
        raise Unfit(f"has another system turn in {column} than in its prompt")
    whole = [*(own or system), *_without_system(prompt, own)]
    asked_turns = _without_system(prompt, own)
    rest = _without_system(turns, system)
    size = len(asked_turns)
    # The answer repeats the prompt whole.
    if size and len(rest) > size and all(map(is_same, asked_turns, rest)):
        return whole, rest[size:]
    # The answer repeats nothing: it begins with the assistant, or nobody answers in it.
    has_answer = any(turn["role"] == "assistant" for turn in rest)
    if not has_answer or rest[0]["role"] not in ("user", *INSTRUCTIONS):
        return whole, rest
    # Only the last question was given as the prompt of a conversation of several turns.
    last = max(i for i, turn in enumerate(rest) if turn["role"] == "user")
    if size == 1 and last + 1 < len(rest) and is_same(asked_turns[0], rest[last]):
        return [*(own or system), *rest[: last + 1]], rest[last + 1 :]
    if asked_turns and asked_turns[-1]["role"] != "user":
        return whole, rest
    raise Unfit(f"has another question in {column} than in its prompt")


def _system_of(turns: list[Message]) -> list[Message]:
    """The system turn at the beginning, where there is one."""
    return turns[:1] if turns and turns[0]["role"] in INSTRUCTIONS else []


def _without_system(turns: list[Message], system: Sequence[Message]) -> list[Message]:
    """The turns less a system turn at their beginning, where there is one to leave out."""
    return turns[1:] if system and _system_of(turns) else turns


def tools(row: Row) -> list[dict[str, object]] | None:
    """The tools of a row, from a list or JSON text, in `tools` or as OpenAI's older `functions`; None where it has none.

    Raises:
        Unfit: they are no list of tools.
    """
    column = "tools" if row.get("tools") is not None or "functions" not in row else "functions"
    value = row.get(column)
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except ValueError as error:
            raise Unfit(f"has tools that are not JSON ({error})") from None
    if not value:
        return None
    if not isinstance(value, list) or not all(isinstance(tool, Mapping) for tool in value):
        raise Unfit(f"holds {value!r:.80} in {column} where a list of tools belongs")
    if column == "functions":
        return [{"type": "function", "function": dict(tool)} for tool in value]
    return list(map(dict, value))


def good(value: object) -> bool:
    """A rating as good (True) or bad (False): true/false, 1/0, good/bad, yes/no."""
    word = str(value).strip().lower()
    if word in ("true", "1", "1.0", "good", "yes", "desirable", "chosen"):
        return True
    if word in ("false", "0", "0.0", "bad", "no", "undesirable", "rejected", "-1"):
        return False
    raise Unfit(f"has the rating {value!r}; good is true or 1, bad is false or 0")
