"""Answers that are stretches of a context: cross entropy of their first and of their last token, one term a window.

A context longer than the model takes is read in windows that overlap, each with the whole question. A window without the
answer, and a question without one, points at the place that stands for none: the CLS token, else the row's last token
(Devlin et al. 2019, sections 4.2 and 4.3). Heavy: imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy, pad
from torch.nn.utils.rnn import pad_sequence

from ftp.data import control_text
from ftp.data.control_text import TextTokenizer
from ftp.data.encode import cache_key
from ftp.data.splits import COUNTED
from ftp.errors import Problem, UserError
from ftp.losses.answer_places import answer_tokens, find_place
from ftp.losses.common import Frame, frame, is_asked, lay, refuse_slow, row_limit
from ftp.net import heads
from ftp.types import Batch, Data, EncodedRow, Loss, LossOut, Model, Prediction, Row, Run

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

__all__ = ["reader"]

VERSION = 1
MAX_ANSWER_LENGTH = 30
"""Tokens in an answer at most, as in BERT's run on SQuAD."""
N_BEST = 20
"""Stretches that each window offers."""


@dataclass(frozen=True)
class WindowAnswer:
    """What one window says. `none`: the logit of no answer; `best`: texts with their logits, the largest first."""

    none: float
    best: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class PairTokens:
    """A question with its context as tokens. `columns`: those of the network by name; `sequences`: of each token the text that it
    is of, 0 the question, 1 the context, None for special tokens; `offsets`: its first and past-the-last character."""

    columns: Mapping[str, list[int]]
    sequences: list[int | None]
    offsets: list[tuple[int, int]]


class SpanRow(EncodedRow, total=False):
    """A window of a context behind its question.

    `first`: its first token of the context; `none`: the token that stands for no answer; `text`: what it holds of the context;
    `offsets`: first and past-the-last character in `text` of each token of it, flat; `span`: first and last token of the answer.
    """

    first: int
    none: int
    text: str
    offsets: list[int]
    span: list[int]


def make(run: Run, data: Data, model: Model) -> Spans:
    """Mean of the cross entropies of an answer's first and last token.

    Of several answers the first that lies in the context is learnt. One that does not begin at its `answer_start` is taken
    where its text stands, if it stands there once; how many were is told. The answer to a row is the best stretch of
    all windows as text, empty for no answer; see `Reader`.
    UserError: answers that are not in their context, by row; a question that leaves no room for its context.
    """
    refuse_slow(model, "span")
    tokenize = control_text.of_run(run, model.tokenizer)
    limit = row_limit(run, model)
    _check(run, data)
    closing = [] if model.tokenizer.cls_token_id is not None else _closing(model.tokenizer)
    return Spans(model, tokenize, limit, closing, reader(run, data, model),
                 key=cache_key(model.tokenizer, "span", VERSION, limit, tokenize.key))


@dataclass(frozen=True)
class Spans(Loss[SpanRow]):
    """The loss of `make`. `limit`: tokens of a row at most; `closing`: the token that stands for no answer at a row's end,
    where the tokenizer has no CLS."""

    model: Model
    tokenize: TextTokenizer
    limit: int
    closing: list[int]
    reader: Reader
    key: str
    name: str = "cross entropy of first and last token"

    def encode(self, rows: Sequence[Row]) -> Iterator[SpanRow]:
        return self._windows(rows, has_answers=True)

    def ask(self, rows: Sequence[Row]) -> Iterator[SpanRow]:
        return self._windows(rows, has_answers=False)

    def _windows(self, rows: Sequence[Row], has_answers: bool) -> Iterator[SpanRow]:
        questions = [row["question"].strip() for row in rows]
        whole = self.tokenize(questions, [row["context"] for row in rows], verbose=False, return_offsets_mapping=True,
                              return_attention_mask=False, truncation=False)
        for row_index, row in enumerate(rows):
            tokens = self._tokens(whole, row_index)
            context = frame(tokens.sequences, 1)
            # at least a quarter of a row is left to the context, else its windows would be too many
            has_room = context.size - context.last + context.first <= 3 * self.limit // 4
            parts = context.windows(self.limit) if has_room else []
            if not parts:
                asked = tokens.sequences.count(0)
                raise UserError(f"the question that begins {row['question'][:60]!r} has {asked} tokens: too many for a "
                                f"context beside it in the {self.limit} that a row may have",
                                "shorten it, or raise --max-length")
            answer = answer_tokens(row, tokens.offsets[context.first : context.last]) if has_answers else None
            for start, end in parts:
                window = self._window(row["context"], tokens, context, (start, end))
                window["row"] = row_index
                if has_answers:
                    window["span"] = [window["none"]] * 2
                    # a window that does not hold the whole answer has none
                    if answer is not None and start <= answer[0] and answer[1] < end:
                        window["span"] = [context.first + token - start for token in answer]
                yield window

    def _tokens(self, whole: BatchEncoding, row_index: int) -> PairTokens:
        """The tokens of one of the rows that were tokenised together."""
        sequences = list(whole.sequence_ids(row_index))
        offsets = list(whole["offset_mapping"][row_index])
        columns = {name: list(whole[name][row_index]) for name in ("input_ids", "token_type_ids") if name in whole}
        if self.closing and sequences[-1] is not None:
            # the row ends with the token that stands for no answer
            sequences.append(None)
            offsets.append((0, 0))
            for name, column in columns.items():
                column += self.closing if name == "input_ids" else column[-1:]
        return PairTokens(columns, sequences, offsets)

    def _window(self, text: str, tokens: PairTokens, context: Frame, part: tuple[int, int]) -> SpanRow:
        """The window that holds a part of the context `text`."""
        window = SpanRow(cut=0, first=context.first)
        for name, column in tokens.columns.items():
            window[name] = context.window(column, part)  # type: ignore[literal-required]
        window["none"] = _none(window["input_ids"], self.model.tokenizer.cls_token_id)
        start, end = part
        offsets = tokens.offsets[context.first + start : context.first + end]
        text_start, text_end = (offsets[0][0], offsets[-1][1]) if offsets else (0, 0)
        window["text"] = text[text_start:text_end]
        window["offsets"] = [character - text_start for character in chain.from_iterable(offsets)]
        return window

    def collate(self, rows: Sequence[SpanRow]) -> Batch:
        inputs = lay(self.model, rows)
        lengths = [len(row["input_ids"]) for row in rows]
        if not is_asked(rows):
            inputs["span"] = torch.tensor([row["span"] for row in rows], device=inputs["input_ids"].device)
        inputs["lengths"] = lengths
        inputs["windows"] = rows
        return Batch(inputs, count=len(rows), rows=len(rows), tokens=sum(lengths))

    def compute(self, batch: Batch) -> LossOut:
        logits = _logits(self.model, batch)
        span = batch.inputs["span"]
        first = cross_entropy(logits[:, :, 0], span[:, 0], reduction="none")
        last = cross_entropy(logits[:, :, 1], span[:, 1], reduction="none")
        losses = (first + last) / 2
        return LossOut(losses.sum(), row_losses=losses.detach(), row_counts=torch.ones_like(losses), outputs=logits.detach())

    def answer(self, batch: Batch, out: LossOut | None) -> list[Prediction]:
        return self.reader.answer(batch, out)

    def merge(self, predictions: Sequence[Prediction], encoded: Sequence[SpanRow]) -> Prediction:
        return self.reader.merge(predictions, encoded)


@dataclass(frozen=True)
class Reader:
    """`answer` and `merge` of the loss: the stretch of at most `max_answer_length` tokens with the largest sum of logits.

    There is no answer (an empty text) where the logit of none, the smallest of all windows, is larger than that of the
    best stretch by more than `threshold`. Where no training row lacked an answer (`may_lack`), there always is one.
    """

    model: Model
    may_lack: bool
    max_answer_length: int
    threshold: float

    def answer(self, batch: Batch, out: LossOut | None) -> list[Prediction]:
        logits = _logits(self.model, batch) if out is None else out.outputs
        return list(map(Prediction, _best(logits, batch.inputs["windows"], self.max_answer_length)))

    def merge(self, predictions: Sequence[Prediction], encoded: Sequence[SpanRow]) -> Prediction:
        windows: list[WindowAnswer] = [prediction.answer for prediction in predictions]
        offers = chain.from_iterable(window.best for window in windows)
        text, best = max(offers, key=lambda offer: offer[1], default=("", -torch.inf))
        if self.may_lack and min(window.none for window in windows) > best + self.threshold:
            return Prediction("")
        return Prediction(text)


def reader(
    run: Run, data: Data, model: Model, *, max_answer_length: int = MAX_ANSWER_LENGTH, threshold: float = 0.0
) -> Reader:
    """How the model's logits become answers.

    Args:
        run: the run.
        data: its rows; none where a finished run comes back.
        model: a model with the head `span`.
        max_answer_length: tokens of an answer at most.
        threshold: by how much the logit of no answer must be larger than that of the best answer, for there to be none.
    """
    return Reader(model, _unanswerable(run, data), max_answer_length, threshold)


def _check(run: Run, data: Data) -> None:
    """Look at the answers of all splits that are stored: `UserError` names the rows whose answers are not in their context;
    what was mended is told, and whether questions may lack an answer is kept in the log."""
    problems = []
    for split, rows in data.splits.items():
        if not hasattr(rows, "num_rows"):
            continue  # a stream is looked at while it is read
        wrong = []
        moved = 0
        for row_index, row in enumerate(rows.select_columns(["context", "answers"])):
            try:
                place = find_place(row)
            except ValueError:
                wrong.append(row_index)
                continue
            if place is not None and not place.is_as_told:
                moved += 1
        if wrong:
            shown = ", ".join(map(str, wrong[:10])) + (", ..." if len(wrong) > 10 else "")
            problems.append(Problem(
                f"{split}: {len(wrong)} of {len(rows)} rows have answers that are not in their context (or stand there more than "
                f"once, and not at answer_start): rows {shown}; the first asks {rows[wrong[0]]['question'][:60]!r}",
                f"{COUNTED}; mend them, or leave them out"))
        if moved:
            run.tell(f"{split}: {moved} of {len(rows)} answers do not begin at their answer_start; their text stands once in the "
                     "context, and is taken there")
    if problems:
        raise UserError(problems)
    if data.splits and run.log is not None:
        run.log.event("questions", unanswerable=_unanswerable(run, data))


def _unanswerable(run: Run, data: Data) -> bool:
    """Whether training rows had questions without an answer; a finished run, which has no rows, says so in its log."""
    from ftp.folder.log import read_log
    from ftp.folder.paths import LOG

    if data.splits:
        stored = [rows for rows in data.splits.values() if hasattr(rows, "num_rows")]
        # of a stream nobody knows it: then held-out rows say it
        if hasattr(data.splits.get("train"), "num_rows"):
            stored = [data.splits["train"]]
        answers = chain.from_iterable(rows["answers"] for rows in stored)
        return not all(any(answer["text"]) for answer in answers)
    log = read_log(run.out / LOG if run.out else None)
    logged = [line["unanswerable"] for line in log if line.get("event") == "questions"]
    return bool(logged and logged[-1])


def _closing(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The token that stands for no answer where the tokenizer has no CLS: the row's EOS."""
    if tokenizer.eos_token_id is None:
        raise UserError("the tokenizer has neither a CLS nor an EOS token, so nothing could stand for 'no answer'",
                        "name its EOS in tokenizer_config.json")
    return [int(tokenizer.eos_token_id)]


def _none(ids: Sequence[int], cls: int | None) -> int:
    """The place that stands for no answer."""
    return ids.index(cls) if cls is not None and cls in ids else len(ids) - 1


def _logits(model: Model, batch: Batch) -> torch.Tensor:
    """[rows, longest, 2] fp32 logits of first and last token; those of padding are too small to count."""
    logits = heads.token_logits(model.net, batch.inputs)[0].float()
    parts = logits.split(batch.inputs["lengths"])
    return pad_sequence(list(parts), batch_first=True, padding_value=torch.finfo(torch.float32).min / 4)


def _best(logits: torch.Tensor, windows: Sequence[SpanRow], most: int) -> list[WindowAnswer]:
    """For each window the `N_BEST` stretches of its context with the largest sum of logits, and the logit of none."""
    rows, longest, _ = logits.shape
    firsts = torch.tensor([window["first"] for window in windows], device=logits.device)
    lasts = firsts + torch.tensor([len(window["offsets"]) // 2 for window in windows], device=logits.device)
    tokens = torch.arange(longest, device=logits.device)
    is_outside = ((tokens < firsts[:, None]) | (tokens >= lasts[:, None]))[:, :, None]
    starts, ends = logits.masked_fill(is_outside, -torch.inf).unbind(-1)
    # sums[row, start, length - 1]: the end is at most `most` tokens away
    sums = starts[:, :, None] + pad(ends, (0, most - 1), value=-torch.inf).unfold(1, most, 1)
    values, cells = sums.flatten(1).topk(min(N_BEST, longest * most), dim=1)
    nones = torch.tensor([window["none"] for window in windows], device=logits.device)
    none_logits = logits[torch.arange(rows, device=logits.device), nones].sum(-1).tolist()
    answers = []
    for window, none, best, best_cells in zip(windows, none_logits, values.tolist(), cells.tolist(), strict=True):
        offers = []
        for value, cell in zip(best, best_cells, strict=True):
            if value == -torch.inf:  # a stretch outside of the context, as are all that follow
                break
            token, more_tokens = divmod(cell, most)
            first = token - window["first"]
            offers.append((_text(window, first, first + more_tokens), value))
        answers.append(WindowAnswer(none, tuple(offers)))
    return answers


def _text(window: SpanRow, first: int, last: int) -> str:
    """The text from a first to a last token of a window's context."""
    start = window["offsets"][2 * first]  # flat: first and past-the-last character of each token
    end = window["offsets"][2 * last + 1]
    return window["text"][start:end].strip()
