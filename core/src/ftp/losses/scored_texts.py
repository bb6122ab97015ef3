"""Prompts with answers as token ids for a network that scores them.

Decoders read the conversation as their chat template writes it, and the score is at its last token. Encoders (a tokenizer
with a separator and no chat template) read prompt and answer as a pair of texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

__all__ = ["Reader", "reads_pairs", "refuse_other", "tell_pairs"]

PAIR = "pair of texts"
"""What the log of a run has in place of a template's hash where prompt and answer were read as a pair of texts."""

Scored = EncodedRow
"""A text with `cut` and `answer_cut`."""


@dataclass(frozen=True)
class Reader:
    """How texts become token ids.

    Attributes:
        tokenize: the tokenizer, which reads control tokens in texts as text.
        limit: tokens of a text at most.
        chat: the tokenizer with its chat template; None: the network reads prompt and answer as a pair of texts.
    """

    tokenize: TextTokenizer
    limit: int
    chat: Chat | None = None

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer itself."""
        return self.tokenize.tokenizer

    def read(self, rows: Sequence[Row], answers: Sequence[object]) -> list[Scored]:
        """Each row's prompt with an answer, encoded.

        Args:
            rows: rows with a `prompt`.
            answers: an answer to each, as messages or as a text.

        Raises:
            UserError: rows cannot be read, or an answer is empty.
        """
        replies = [read_answer(answer) for answer in answers]
        refuse_empty(rows, replies)
        conversations = []
        for row, reply in zip(rows, replies, strict=True):
            conversations.append([*read_messages(row["prompt"], "user"), *reply])
        if self.chat is None:
            return [self.pair(plain(prompt), plain(answer)) for prompt, answer in map(split_last, conversations)]
        problems = []
        scored = []
        encoded = self.chat.encode(conversations, list(map(tools_of, rows)), "all")
        # all rows that cannot be read are named at once
        for row, tokens in zip(rows, encoded, strict=True):
            if isinstance(tokens, Unfit):
                problems.append(Problem(f"the row that asks {excerpt(row)} {tokens}"))
                continue
            text = self.whole(tokens.ids)
            if text["cut"]:
                text["answer_cut"] = self._cut_of_answer(row, text["cut"], tokens.ids)
            scored.append(text)
        if problems:
            raise UserError(shortened(problems, "rows cannot be read"))
        return scored

    def one(self, row: Row) -> Scored:
        """A row to be scored, encoded.

        Args:
            row: a conversation in any spelling, or a plain text.

        Raises:
            UserError: there is nothing to score.
        """
        # a text alone is what an assistant has written
        is_text = row.get("text") is not None and row.get("messages") is None
        try:
            turns = read_messages(row["text"], "assistant") if is_text else conversation(row)
        except Unfit as error:
            raise UserError(f"there is nothing to score: the row {error}",
                            "give a text, messages, or a prompt with a completion") from error
        if len(turns) > 1:
            prompt, answer = split_last(turns)
            return self.read([{**row, "prompt": prompt}], [answer])[0]
        text = words(turns[0])
        if not text.strip():
            raise UserError("there is nothing to score", "give a text, messages, or a prompt with a completion")
        tokens = self.tokenize(text, return_attention_mask=False, verbose=False)
        if self.chat is not None:
            return self.whole(tokens["input_ids"])
        return self.cut(tokens, lambda: self.tokenize(text, truncation=True, max_length=self.limit, return_attention_mask=False))

    def whole(self, ids: Sequence[int]) -> Scored:
        """The ids less what does not fit, which is taken from the beginning (a BOS stays): the score is read at the end."""
        ids = list(ids)
        # where one number is pad and EOS, Transformers takes an EOS at the end for padding, and
        # would read the score of a saved model one token before ours
        while len(ids) > 1 and ids[-1] == self.tokenizer.pad_token_id:
            ids.pop()
        over = max(0, len(ids) - self.limit)
        keep = self._first_kept(ids)
        return {"input_ids": [*ids[:keep], *ids[keep + over :]], "cut": over, "answer_cut": 0}

    def _first_kept(self, ids: Sequence[int]) -> int:
        """How many tokens at the beginning are never cut: 1 for a BOS."""
        return int(ids[0] == self.tokenizer.bos_token_id)

    def _cut_of_answer(self, row: Row, cut: int, ids: Sequence[int]) -> int:
        """How many of the tokens that were cut from the beginning are the answer's; all where the template cannot say."""
        assert self.chat is not None
        try:
            prompt_size = len(self.chat.prompt(read_messages(row["prompt"], "user"), tools_of(row)))
        except Unfit:
            return cut
        return max(0, cut + self._first_kept(ids) - prompt_size)

    def pair(self, prompt: str, answer: str) -> Scored:
        """Two texts for an encoder. The prompt loses its beginning first; an answer too long for the network its end."""
        tokens = self.tokenize(prompt, answer, return_attention_mask=False, verbose=False)
        if len(tokens["input_ids"]) <= self.limit:
            return self.cut(tokens, lambda: tokens)
        # what the answer alone needs, with the special tokens of a pair
        answer_size = len(self.tokenize("", answer, return_attention_mask=False, verbose=False)["input_ids"])
        side, strategy = ("left", "only_first") if answer_size < self.limit else ("right", "longest_first")

        def shortened_pair() -> BatchEncoding:
            own_side = self.tokenizer.truncation_side
            self.tokenizer.truncation_side = side
            try:
                return self.tokenize(prompt, answer, truncation=strategy, max_length=self.limit, return_attention_mask=False,
                                     verbose=False)
            finally:
                self.tokenizer.truncation_side = own_side

        scored = self.cut(tokens, shortened_pair)
        scored["answer_cut"] = max(0, answer_size - self.limit)
        return scored

    def cut(self, tokens: BatchEncoding, shorten: Callable[[], BatchEncoding]) -> Scored:
        """Tokens as an encoded row, from the tokenizer once more where there are too many."""
        size = len(tokens["input_ids"])
        if size > self.limit:
            tokens = shorten()
        return Scored(**tokens, cut=size - len(tokens["input_ids"]), answer_cut=0)  # type: ignore[typeddict-item]


def reads_pairs(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether prompt and answer are a pair of texts to a network, and no conversation.

    Args:
        tokenizer: the network's tokenizer.
    """
    return tokenizer.sep_token_id is not None and not tokenizer.chat_template


def tell_pairs(run: Run) -> None:
    """Tell that rows are pairs of texts, and keep it in the run's log.

    Args:
        run: the run.
    """
    run.tell("prompt and answer are read as a pair of texts")
    if run.log is not None:
        run.log.event("chat_template", sha256=PAIR, source=PAIR)


def refuse_other(pairs: bool, out: Path | None) -> None:
    """Refuse a finished run that was trained on pairs of texts and now has a chat template, or the other way round.

    Args:
        pairs: whether its rows are read as pairs of texts now.
        out: the run's folder; None: it has none, and is not looked at.

    Raises:
        UserError: the score would be that of another text.
    """
    trained = [line["sha256"] for line in read_log(out / LOG if out else None) if line.get("event") == "chat_template"]
    if out is None or not trained or (trained[-1] == PAIR) == pairs:
        return
    if pairs:
        raise UserError(f"{out}: it was trained with a chat template ({trained[-1][:12]}), and its tokenizer now has none: "
                        "its scores would be those of another text",
                        f"put the template of the training back into {out / MODEL} (chat_template.jinja)")
    raise UserError(f"{out}: it was trained on prompt and answer as a pair of texts, and its tokenizer has a chat template now: "
                    "its scores would be those of another text", f"take the template out of {out / MODEL} (chat_template.jinja)")
