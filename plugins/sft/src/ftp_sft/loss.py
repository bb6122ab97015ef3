"""The loss of `sft`: conversations of which the assistant's tokens are learnt. Heavy: imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from ftp import Problem, UserError
from ftp.data import COUNTED, cache_key
from ftp.data.turns import Unfit, is_empty, is_trained
from ftp.losses import TokenRow, chat_template, generation, is_asked, row_limit, tokens
from ftp.losses.conversations import Chat, tools_of
from ftp.losses.generation import beginning, learnt
from ftp.types import Batch, Data, Loss, LossOut, Metric, Model, Prediction, Row, Run

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from ftp_sft import Sft

VERSION = 3
"""Raised when `encode` changes, so that no older encoded rows are taken."""
ACCURACY = "mean_token_accuracy"


def make(options: Sft, run: Run, data: Data, model: Model) -> Conversations:
    """Cross entropy of the assistant's tokens. `UserError` for options and rows that do not go together."""
    chat = chat_template.of_run(run, data, model, who="sft", file=options.chat_template, eos_token=options.eos_token,
                                marked=_training_template(model.tokenizer))
    limit = row_limit(run, model)
    if chat.apart and options.train_on == "all":
        raise UserError("--sft.train_on all: an encoder reads the prompts of this model, and learns no token of them",
                        "answers, or last")
    if options.train_on != "all":
        _check(run, data, options.unfit)
    key = cache_key(model.tokenizer, "sft", VERSION, limit, options.train_on, options.unfit, options.generate, chat.apart,
                    chat.key)
    return Conversations(options, model, chat, limit, key=key, name=f"cross entropy of {options.train_on}")


@dataclass(frozen=True)
class Conversations(Loss[TokenRow]):
    """The loss of `make`. `limit`: tokens of a row at most."""

    options: Sft
    model: Model
    chat: Chat
    limit: int
    key: str
    name: str
    metrics: Mapping[str, Metric] = field(default_factory=lambda: {ACCURACY: tokens.SHARE_OF_TOKENS})

    def encode(self, rows: Sequence[Row]) -> Iterator[TokenRow]:
        for _, encoded in self._conversations(rows):
            yield from encoded

    def encode_to_score(self, rows: Sequence[Row]) -> Iterator[TokenRow]:
        """With `--sft.generate` the first rows have the prompt of their last answer, which is to be written."""
        for row_index, encoded in self._conversations(rows):
            if self.options.generate and "left_out" not in encoded[0]:
                for row in encoded:
                    row["prompt"] = None
                if row_index < self.options.generate:
                    encoded[-1]["prompt"] = self._prompt(rows[row_index])
            yield from encoded

    def _conversations(self, rows: Sequence[Row]) -> Iterator[tuple[int, list[TokenRow]]]:
        """The number of each row, and what it is encoded as; rows that cannot be trained on are an error, or left out."""
        unfit: list[tuple[int, str]] = []
        tools: dict[int, list[dict[str, Any]] | None] = {}
        for row_index, row in enumerate(rows):
            try:
                if any(is_trained(turn) and is_empty(turn) for turn in row["messages"]):
                    raise Unfit("has an empty answer")
                tools[row_index] = tools_of(row)
            except Unfit as error:
                unfit.append((row_index, str(error)))
        conversations = [rows[row_index]["messages"] for row_index in tools]
        encoded = learnt(self.chat, conversations, list(tools.values()), self.options.train_on, self.limit)
        for row_index, parts in zip(tools, encoded, strict=True):
            if isinstance(parts, Unfit):
                unfit.append((row_index, str(parts)))
                continue
            for part in parts:
                part["row"] = row_index
            if parts:
                yield row_index, parts
        # after all rows were encoded, so that the message counts all of them
        if unfit and self.options.unfit == "error":
            problems = []
            for row_index, why in unfit[:5]:
                problems.append(Problem(f"the conversation that begins {beginning(rows[row_index])} {why}"))
            problems.append(Problem(f"{len(unfit)} conversations in all",
                                    "mend them, or leave them out (--sft.unfit drop); where the template is the reason: "
                                    "--sft.train_on last, or --sft.chat_template with one that has generation markers"))
            raise UserError(problems)
        for row_index, why in unfit:
            yield row_index, [{"row": row_index, "left_out": why}]

    def _prompt(self, row: Row) -> list[int] | None:
        """What comes before the last answer, for an answer to compare with it; None where there is no room for one."""
        last = max((place for place, turn in enumerate(row["messages"]) if turn["role"] == "assistant"), default=0)
        try:
            ids = self.chat.prompt(row["messages"][:last], tools_of(row)) if last else []
        except Unfit:  # a template that takes whole conversations only
            return None
        return ids if 0 < len(ids) < self.limit + self.chat.apart else None

    def ask(self, rows: Sequence[Row]) -> Iterator[TokenRow]:
        return generation.prompts(self.chat, rows, self.limit)

    def collate(self, rows: Sequence[TokenRow]) -> Batch:
        prompts: dict[int, list[int]] = {}
        for row_index, row in enumerate(rows):
            prompt = row.get("prompt")
            # rows are encoded a thousand at a time, and each thousand has first ones
            if prompt and (is_asked(rows) or row["row"] < self.options.generate):
                prompts[row_index] = prompt
        return tokens.collate(self.model, rows, prompts=prompts)

    def compute(self, batch: Batch) -> LossOut:
        return tokens.compute(self.model, batch, accuracy=ACCURACY)

    def answer(self, batch: Batch, out: LossOut | None) -> list[Prediction]:
        return generation.answers(self.model, self.chat, batch, max_new_tokens=self.options.max_new_tokens, limit=self.limit)

    def merge(self, predictions: Sequence[Prediction], encoded: Sequence[TokenRow]) -> Prediction:
        """Where each turn is a row (an encoder reads what was said before it), the last one's answer counts."""
        return predictions[-1]


def _check(run: Run, data: Data, unfit: str) -> None:
    """Look at the rows of all splits: `UserError` names those without a turn of the assistant, or with an empty one."""
    problems = []
    left_out = []
    for split, rows in data.splits.items():
        if not hasattr(rows, "num_rows"):
            continue  # a stream is looked at while it is read
        without, empty = _without_answers(rows)
        for row_indices, what in ((without, "no turn of the assistant"), (empty, "an empty answer")):
            if row_indices:
                shown = ", ".join(map(str, row_indices[:10])) + (", ..." if len(row_indices) > 10 else "")
                first = rows[row_indices[0]]
                roles = ", ".join(dict.fromkeys(turn["role"] for turn in first["messages"]))
                counted = f"{split}: {len(row_indices)} of {len(rows)} conversations have {what}"
                problems.append(Problem(f"{counted}: rows {shown}; the first (roles: {roles}) begins {beginning(first)}",
                                        f"{COUNTED}; mend them, or leave them out with", "--sft.unfit drop"))
                left_out.append(f"{counted} and are left out: rows {shown}")
    if unfit == "error" and problems:
        raise UserError(problems)
    for line in left_out:
        run.tell(line)


def _without_answers(rows: Dataset) -> tuple[list[int], list[int]]:
    """Numbers of the rows without a turn of the assistant, and of those with an empty one that is to be learnt."""
    without: list[int] = []
    empty: list[int] = []
    for start in range(0, len(rows), 10_000):
        part = rows.select_columns(["messages"])[start : start + 10_000]["messages"]
        for number, messages in enumerate(part, start):
            if all(turn["role"] != "assistant" for turn in messages):
                without.append(number)
            if any(is_trained(turn) and is_empty(turn) for turn in messages):
                empty.append(number)
    return without, empty


def _training_template(tokenizer: PreTrainedTokenizerBase) -> Callable[[], str | None]:
    """TRL's version of a known template with generation markers, looked for once and only where it is needed."""

    @cache
    def look() -> str | None:
        try:
            from trl.chat_template_utils import get_training_chat_template

            template: str | None = get_training_chat_template(tokenizer)
        except (ImportError, ValueError):  # no TRL, or a template that it does not know
            return None
        return template

    return look
