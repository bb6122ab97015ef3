"""The plugin `sft`: conversations, with the loss on what the assistant says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from ftp import Problem, UserError, hookimpl, option, plugin
from ftp.data.turns import Unfit, is_empty, is_trained
from ftp.types import Batch, Data, Loss, LossOut, Model, Prediction, Row, Run

VERSION = 3
"""Raised when `encode` changes, so that no older encoded rows are taken."""


@plugin(wants=("conversation",), head="tokens", suggests={"learning_rate": 2e-5, "batch_size": 16})
class Sft:
    """Fine-tune on conversations: learn what the assistant says, and when it stops (Ouyang et al. 2022, section 3.5).

    Decoders read a conversation as one text. Of an encoder-decoder (T5, BART) each turn of the assistant is written by the
    decoder, given everything before it in the encoder; prompt and answer may have `--max-length` tokens each.
    """

    train_on: Literal["answers", "last", "all"] = option(
        "answers", "tokens that are learnt: of every turn of the assistant, of its last one, or all of them")
    unfit: Literal["error", "drop"] = option(
        "error", "rows without an answer to learn: error names them; drop leaves them out and says how many")
    chat_template: Path | None = option(None, "file with a Jinja chat template to use and save instead of the tokenizer's")
    eos_token: str | None = option(None, "token of the vocabulary that ends an answer, for a tokenizer without an EOS")
    generate: int = option(0, "held-out rows of each split, the first ones, that are answered by generation at each "
                              "evaluation (slow); other rows get no answer", low=0)
    max_new_tokens: int = option(256, "tokens at most in an answer that is generated", low=1)

    @hookimpl
    def make_loss(self, run: Run, data: Data, model: Model) -> Loss:
        """Cross entropy of the assistant's tokens."""
        from ftp.data.encode import cache_key
        from ftp.losses import chat_template, generation, tokens
        from ftp.losses.common import row_limit

        chat = chat_template.of_run(run, data, model, who="sft", file=self.chat_template, eos_token=self.eos_token,
                                    marked=_training_template(model.tokenizer))
        limit = row_limit(run, model)
        if chat.apart and self.train_on == "all":
            raise UserError("--sft.train_on all: an encoder reads the prompts of this model, and learns no token of them",
                            "answers, or last")
        if self.train_on != "all":
            _check(run, data, self.unfit)

        def encode(rows: Iterable[Row], split: str) -> Iterable[dict[str, Any]]:
            if split == "predict":
                return generation.prompts(chat, rows, limit)
            return _rows(self, run, chat, list(rows), split, limit)

        def collate(rows: Sequence[Row]) -> Batch:
            asked = {number: row["prompt"] for number, row in enumerate(rows)
                     if row.get("prompt") and (row.get("asked") or row.get("row", 0) < self.generate)}
            return tokens.collate(model, rows, prompts=asked)

        def compute(batch: Batch) -> LossOut:
            return tokens.compute(model, batch, accuracy="mean_token_accuracy")

        def answer(batch: Batch, out: LossOut | None) -> list[Prediction]:
            return generation.answers(model, chat, batch, max_new_tokens=self.max_new_tokens, limit=limit)

        key = cache_key(model.tokenizer, "sft", VERSION, limit, self.train_on, self.unfit, self.generate, chat.apart,
                        chat.key)
        merge = (lambda answers, rows: answers[-1]) if chat.apart else None  # each turn is a row: the last one's answer counts
        return Loss(encode, collate, compute, answer, merge, key=key,
                    metrics={"mean_token_accuracy": tokens.SHARE_OF_TOKENS}, name=f"cross entropy of {self.train_on}")


def _rows(self: Sft, run: Run, chat: Any, rows: list[Row], split: str, limit: int) -> Iterable[dict[str, Any]]:
    """Conversations as encoded rows; those that cannot be trained on are an error, or left out and counted."""
    from ftp.losses.conversations import tools_of
    from ftp.losses.generation import beginning, learnt

    unfit: list[tuple[Row, str]] = []
    tools: dict[int, Any] = {}
    for number, row in enumerate(rows):
        try:
            if any(is_trained(turn) and is_empty(turn) for turn in row["messages"]):
                raise Unfit("has an empty answer")
            tools[number] = tools_of(row)
        except Unfit as error:
            unfit.append((row, str(error)))
    found = learnt(chat, [rows[number]["messages"] for number in tools], list(tools.values()), self.train_on, limit)
    for number, made in zip(tools, found, strict=True):
        if isinstance(made, Unfit):
            unfit.append((rows[number], str(made)))
            continue
        if self.generate and split != "train":
            for one in made:
                last = number < self.generate and one is made[-1]
                one["prompt"] = _prompt(chat, rows[number], limit) if last else None
        yield from ({"row": number, **one} for one in made)
    if unfit and self.unfit == "error":
        raise UserError([Problem(f"{split}: the conversation that begins {beginning(row)} {why}") for row, why in unfit[:5]]
                        + [Problem(f"{split}: {len(unfit)} conversations in all",
                                   "mend them, or leave them out (--sft.unfit drop); where the template is the reason: "
                                   "--sft.train_on last, or --sft.chat_template with one that has generation markers")])
    places = {id(row): number for number, row in enumerate(rows)}
    yield from ({"row": places[id(row)], "left_out": why} for row, why in unfit)


def _prompt(chat: Any, row: Row, limit: int) -> list[int] | None:
    """What comes before the last answer, for an answer to compare with it; None where there is no room for one."""
    from ftp.losses.conversations import tools_of

    last = max((place for place, one in enumerate(row["messages"]) if one["role"] == "assistant"), default=0)
    try:
        ids = chat.prompt(row["messages"][:last], tools_of(row)) if last else []
    except Unfit:  # a template that takes whole conversations only
        return None
    return ids if 0 < len(ids) < limit + chat.apart else None


def _check(run: Run, data: Data, unfit: str) -> None:
    """Look at the rows of all splits: `UserError` names those without a turn of the assistant, or with an empty one."""
    from ftp.data.splits import COUNTED
    from ftp.losses.generation import beginning

    problems, left = [], []
    for split, rows in data.splits.items():
        if not hasattr(rows, "num_rows"):
            continue  # a stream is looked at while it is read
        without, empty = _without_answers(rows)
        for places, what in ((without, "no turn of the assistant"), (empty, "an empty answer")):
            if places:
                shown = ", ".join(map(str, places[:10])) + (", ..." if len(places) > 10 else "")
                first = rows[places[0]]
                roles = ", ".join(dict.fromkeys(one["role"] for one in first["messages"]))
                problems.append(Problem(f"{split}: {len(places)} of {len(rows)} conversations have {what}: rows {shown}; the "
                                        f"first (roles: {roles}) begins {beginning(first)}",
                                        f"{COUNTED}; mend them, or leave them out with", "--sft.unfit drop"))
                left.append(f"{split}: {len(places)} of {len(rows)} conversations have {what} and are left out: rows {shown}")
    if unfit == "error" and problems:
        raise UserError(problems)
    for line in left:
        run.tell(line)


def _without_answers(rows: Any) -> tuple[list[int], list[int]]:
    """Numbers of the rows without a turn of the assistant, and of those with an empty one that is to be learnt."""
    without, empty = list[int](), list[int]()
    for start in range(0, len(rows), 10_000):
        part = rows.select_columns(["messages"])[start : start + 10_000]["messages"]
        for number, messages in enumerate(part, start):
            if all(turn["role"] != "assistant" for turn in messages):
                without.append(number)
            if any(is_trained(turn) and is_empty(turn) for turn in messages):
                empty.append(number)
    return without, empty


def _training_template(tokenizer: Any) -> Any:
    """TRL's version of a known template with generation markers, looked for once and only where it is needed."""

    @cache
    def look() -> str | None:
        try:
            from trl.chat_template_utils import get_training_chat_template

            found: str | None = get_training_chat_template(tokenizer)
        except (ImportError, ValueError):  # no TRL, or a template that it does not know
            return None
        return found

    return look
