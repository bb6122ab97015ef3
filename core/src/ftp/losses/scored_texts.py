"""Prompts with answers as token ids for a network that scores them.

Decoders read the conversation as their chat template writes it, and the score is at its last token. Encoders (a tokenizer
with a separator and no chat template) read prompt and answer as a pair of texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftp.data.chat_rows import conversation
from ftp.data.control_text import TextTokenizer
from ftp.data.messages import read_answer, read_messages
from ftp.data.turns import Unfit, plain, split_last, words
from ftp.errors import Problem, UserError
from ftp.folder.log import read_log
from ftp.folder.paths import LOG, MODEL
from ftp.losses.conversations import Chat, tools_of
from ftp.losses.prompted_answers import excerpt, refuse_empty, shortened
from ftp.types import EncodedRow, Row, Run

__all__ = ["Reader", "reads_pairs", "refuse_other", "tell_pairs"]

PAIR = "pair of texts"
"""What the log of a run has in place of a template's hash where prompt and answer were read as a pair of texts."""

Scored = EncodedRow
"""A text with `cut` and `answer_cut`."""


@dataclass(frozen=True)
class Reader:
    """How texts become token ids. `chat` is None where the network reads pairs of texts. `limit`: tokens a text."""

    tokenize: TextTokenizer
    limit: int
    chat: Chat | None = None

    @property
    def tokenizer(self) -> Any:
        return self.tokenize.tokenizer

    def read(self, rows: Sequence[Row], answers: Sequence[Any]) -> list[Scored]:
        """Each row's prompt with an answer (messages, or a text). `UserError` names the rows that cannot be read."""
        given = [read_answer(value) for value in answers]
        refuse_empty(rows, given)
        talks = [[*read_messages(row["prompt"], "user"), *answer] for row, answer in zip(rows, given, strict=True)]
        if self.chat is None:
            return [self.pair(plain(asked), plain(answer)) for asked, answer in map(split_last, talks)]
        problems, made = [], []
        for row, one in zip(rows, self.chat.encode(talks, [tools_of(row) for row in rows], "all"), strict=True):
            if isinstance(one, Unfit):
                problems.append(Problem(f"the row that asks {excerpt(row)} {one}"))
            else:
                made.append(self.whole(one.ids))
                if made[-1]["cut"]:
                    made[-1]["answer_cut"] = self._of_answer(row, made[-1]["cut"], one.ids)
        if problems:
            raise UserError(shortened(problems, "rows cannot be read"))
        return made

    def one(self, row: Row) -> Scored:
        """A row to be scored: a conversation in any spelling, or a plain text."""
        try:
            is_text = row.get("text") is not None and row.get("messages") is None
            talk = read_messages(row["text"], "assistant") if is_text else conversation(row)
        except Unfit as error:
            raise UserError(f"there is nothing to score: the row {error}",
                            "give a text, messages, or a prompt with a completion") from error
        if len(talk) > 1:
            prompt, answer = split_last(talk)
            return self.read([{**row, "prompt": prompt}], [answer])[0]
        text = words(talk[0])
        if not text.strip():
            raise UserError("there is nothing to score", "give a text, messages, or a prompt with a completion")
        found = self.tokenize(text, return_attention_mask=False, verbose=False)
        if self.chat is not None:
            return self.whole(found["input_ids"])
        return self.cut(found, lambda: self.tokenize(text, truncation=True, max_length=self.limit, return_attention_mask=False))

    def whole(self, ids: Sequence[int]) -> Scored:
        """The ids less what does not fit, which is taken from the beginning (a BOS stays): the score is read at the end.

        Where one number is pad and EOS, an EOS at the end goes as well: Transformers takes it for padding, and would read
        the score of a saved model one token before ours.
        """
        ids = list(ids)
        while len(ids) > 1 and ids[-1] == self.tokenizer.pad_token_id:
            ids.pop()
        over, keep = max(0, len(ids) - self.limit), int(ids[0] == self.tokenizer.bos_token_id)
        return {"input_ids": [*ids[:keep], *ids[keep + over :]], "cut": over, "answer_cut": 0}

    def _of_answer(self, row: Row, cut: int, ids: Sequence[int]) -> int:
        """How many of the tokens that were cut from the beginning are the answer's; all where the template cannot say."""
        assert self.chat is not None
        try:
            asked = len(self.chat.prompt(read_messages(row["prompt"], "user"), tools_of(row)))
        except Unfit:
            return cut
        return max(0, cut + int(ids[0] == self.tokenizer.bos_token_id) - asked)

    def pair(self, prompt: str, answer: str) -> Scored:
        """Two texts for an encoder. The prompt loses its beginning first; an answer too long for the network its end."""
        found = self.tokenize(prompt, answer, return_attention_mask=False, verbose=False)
        if len(found["input_ids"]) <= self.limit:
            return self.cut(found, lambda: found)
        alone = len(self.tokenize("", answer, return_attention_mask=False, verbose=False)["input_ids"])

        def short() -> Any:
            side, self.tokenizer.truncation_side = self.tokenizer.truncation_side, "left" if alone < self.limit else "right"
            try:
                return self.tokenize(prompt, answer, truncation="only_first" if alone < self.limit else "longest_first",
                                     max_length=self.limit, return_attention_mask=False, verbose=False)
            finally:
                self.tokenizer.truncation_side = side

        scored = self.cut(found, short)
        scored["answer_cut"] = max(0, alone - self.limit)
        return scored

    def cut(self, found: Mapping[str, Any], short: Callable[[], Mapping[str, Any]]) -> Scored:
        size = len(found["input_ids"])
        found = short() if size > self.limit else found
        return {**found, "cut": size - len(found["input_ids"]), "answer_cut": 0}  # type: ignore[typeddict-item]


def reads_pairs(tokenizer: Any) -> bool:
    """Whether prompt and answer are a pair of texts to the network of a tokenizer, and no conversation."""
    return tokenizer.sep_token_id is not None and not tokenizer.chat_template


def tell_pairs(run: Run) -> None:
    """Tell that rows are pairs of texts, and keep it in the run's log."""
    run.tell("prompt and answer are read as a pair of texts")
    if run.log is not None:
        run.log.event("chat_template", sha256=PAIR, source=PAIR)


def refuse_other(pairs: bool, out: Path | None) -> None:
    """Raise `UserError` where the run in the folder `out` was trained on pairs of texts and now has a chat template, or the
    other way round: the score would be that of another text."""
    trained = [line["sha256"] for line in read_log(out / LOG if out else None) if line.get("event") == "chat_template"]
    if out is None or not trained or (trained[-1] == PAIR) == pairs:
        return
    if pairs:
        raise UserError(f"{out}: it was trained with a chat template ({trained[-1][:12]}), and its tokenizer now has none: "
                        "its scores would be those of another text",
                        f"put the template of the training back into {out / MODEL} (chat_template.jinja)")
    raise UserError(f"{out}: it was trained on prompt and answer as a pair of texts, and its tokenizer has a chat template now: "
                    "its scores would be those of another text", f"take the template out of {out / MODEL} (chat_template.jinja)")
