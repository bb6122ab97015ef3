"""The loss of `reward`: both answers of each row scored by the same network, and compared. Heavy: imports torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ftp import UserError
from ftp.data import cache_key, control_text
from ftp.losses import chat_template, conversations, row_limit, scored_texts, stretches, tokens
from ftp.losses.prompted_answers import SAME, SamePairs, excerpt
from ftp.losses.scored_texts import Reader
from ftp.net import heads, layout
from ftp.types import Batch, Data, EncodedRow, Loss, LossOut, Metric, Model, Prediction, Row, Run

if TYPE_CHECKING:
    from ftp_reward import Reward

VERSION = 2


class TextRow(EncodedRow, total=False):
    """One text that is to be scored."""

    kind: Literal["text"]


class PairRow(EncodedRow, total=False):
    """The prompt with the chosen answer, and `rejected_...` with the rejected one. `margin`: by how much the first is better."""

    kind: Literal["pair"]
    rejected_input_ids: list[int]
    rejected_token_type_ids: list[int]
    margin: float


@dataclass(frozen=True)
class ScoreBatch(Batch):
    """Texts of rows one after the other, then the rejected ones of pairs. `row_of_pair`: which rows are pairs.
    `margins`: of each pair, [pairs] fp32; of rows to learn from."""

    row_of_pair: Sequence[int] = ()
    margins: Tensor | None = None


def make(options: Reward, run: Run, data: Data, model: Model) -> Scores:
    """The loss of `Reward.formula`, one term a pair. `UserError` for options and models that do not go together."""
    tokens.refuse_encoder_decoder(model, "reward")
    tokenizer = model.tokenizer
    limit = row_limit(run, model)
    # a finished run is read without rows; which way it reads was settled by its training
    reads_pairs = scored_texts.reads_pairs(tokenizer) and not (data.splits and options.chat_template)
    # its training wrote down how it read texts: another way would give other scores in silence
    if not data.splits:
        scored_texts.refuse_other(reads_pairs, run.out)
    elif reads_pairs:
        if options.eos_token is not None:
            raise UserError(f"--reward.eos_token {options.eos_token}: prompt and answer are read as a pair of texts, which no "
                            "such token ends", "leave it out, or name a chat template (--reward.chat_template)")
        scored_texts.tell_pairs(run)
    chat = None
    if not reads_pairs:
        chat = chat_template.of_run(run, data, model, who="reward", file=options.chat_template, eos_token=options.eos_token)
    tokenize = control_text.of_run(run, tokenizer)
    margin = margin_of(options, run, data)
    key = cache_key(tokenizer, "reward", VERSION, limit, margin, scored_texts, conversations, stretches,
                    tokenize.key if chat is None else chat.key)
    return Scores(options, model, Reader(tokenize, limit, chat), margin, key=key)


@dataclass(frozen=True)
class Scores(Loss[TextRow | PairRow]):
    """The loss of `make`. `margin`: the column with margins; None where there is none."""

    options: Reward
    model: Model
    reader: Reader
    margin: str | None
    key: str
    name: str = "reward"
    metrics: Mapping[str, Metric] = field(default_factory=lambda: {"accuracy": Metric("max"), "margin": Metric("max")})
    learnt: SamePairs = field(default_factory=SamePairs)
    scored: SamePairs = field(default_factory=SamePairs)

    def encode(self, rows: Sequence[Row]) -> list[PairRow]:
        return self._encoded(rows, self.learnt)

    def encode_to_score(self, rows: Sequence[Row]) -> list[PairRow]:
        return self._encoded(rows, self.scored)

    def _encoded(self, rows: Sequence[Row], seen: SamePairs) -> list[PairRow]:
        chosen = self.reader.read(rows, [row["chosen"] for row in rows])
        rejected = self.reader.read(rows, [row["rejected"] for row in rows])
        encoded: list[PairRow] = []
        same = 0
        for row_index, (good, bad) in enumerate(zip(chosen, rejected, strict=True)):
            answer_cut = good["answer_cut"] + bad["answer_cut"]
            # what was cut may have been the difference, so that only whole pairs count as the same
            if good["input_ids"] == bad["input_ids"]:
                same += not answer_cut
                encoded.append({"kind": "pair", "row": row_index, "left_out": SAME, "answer_cut": answer_cut})
                continue
            pair: PairRow = {
                "kind": "pair", "row": row_index, "input_ids": good["input_ids"], "rejected_input_ids": bad["input_ids"],
                "length": len(good["input_ids"]) + len(bad["input_ids"]),
                "cut": good["cut"] + bad["cut"], "answer_cut": answer_cut,
            }
            if "token_type_ids" in good and "token_type_ids" in bad:
                pair["token_type_ids"] = good["token_type_ids"]
                pair["rejected_token_type_ids"] = bad["token_type_ids"]
            if self.margin is not None:
                pair["margin"] = _number(rows[row_index], self.margin)
            encoded.append(pair)
        seen.add(len(rows), same)
        return encoded

    def ask(self, rows: Sequence[Row]) -> list[EncodedRow]:
        """Texts to be scored; of a pair, which are both read, the difference is."""
        encoded: list[EncodedRow] = []
        for row in rows:
            if row.get("chosen") is not None:
                encoded += self._encoded([row], SamePairs())
            else:
                text: TextRow = {"kind": "text", **self.reader.one(row)}
                encoded.append(text)
        return encoded

    def collate(self, rows: Sequence[TextRow | PairRow]) -> ScoreBatch:
        """All texts in one layout."""
        ids = [row["input_ids"] for row in rows]
        row_of_pair: list[int] = []
        margins: list[float] = []
        has_types = rows[0].get("token_type_ids") is not None
        types = [row["token_type_ids"] for row in rows] if has_types else []
        # rejected texts lie behind all the others, so that the score of row i is number i
        for row_index, row in enumerate(rows):
            if row["kind"] == "pair":
                row_of_pair.append(row_index)
                ids.append(row["rejected_input_ids"])
                types += [row["rejected_token_type_ids"]] if has_types else []
                margins.append(0.0 if self.margin is None or row.get("asked") else row["margin"])
        tokenizer = self.model.tokenizer
        device = next(self.model.net.parameters()).device
        inputs = layout.lay(ids, packed=self.model.packed, pad_id=tokenizer.pad_token_id or 0,
                            beside={"token_type_ids": (types, 0)} if has_types else {},
                            padding_side=tokenizer.padding_side, device=device)
        return ScoreBatch(inputs, count=len(rows), rows=len(rows), tokens=sum(map(len, ids)), row_of_pair=row_of_pair,
                          margins=torch.tensor(margins, device=device))

    def scores(self, batch: Batch) -> Tensor:
        """[texts] fp32"""
        return heads.classify(self.model.net, batch.inputs).float()[:, 0]

    def compute(self, batch: Batch) -> LossOut:
        assert isinstance(batch, ScoreBatch)
        # all rows are pairs here: the chosen texts come first
        chosen, rejected = self.scores(batch).chunk(2)
        losses = self.options.formula(chosen, rejected, batch.margins)
        lead = (chosen - rejected).detach()
        metrics = {"accuracy": (lead > 0).float().sum(), "margin": lead.sum(),
                   "mean_reward": (chosen + rejected).detach().sum() / 2}
        return LossOut(losses.sum(), metrics, losses.detach(), torch.ones_like(losses), outputs=lead)

    def answer(self, batch: Batch, out: LossOut | None) -> list[Prediction]:
        """The score of a text; of a pair, how much higher that of the chosen answer is."""
        assert isinstance(batch, ScoreBatch)
        if out is not None:
            answers: Tensor = out.outputs
        else:
            scores = self.scores(batch)
            row_of_pair = torch.tensor(batch.row_of_pair, dtype=torch.long, device=scores.device)
            answers = scores[: batch.rows].index_add(0, row_of_pair, scores[batch.rows :], alpha=-1)
        return [Prediction(score) for score in answers.tolist()]


def margin_of(options: Reward, run: Run, data: Data) -> str | None:
    """The column with margins, if there is one in every split. UserError where a named one is not."""
    name = options.margin_column or "margin"
    absent = [split for split, rows in data.splits.items() if name not in (rows.column_names or ())]
    if options.margin_column and absent:
        raise UserError(f"--reward.margin_column {name}: no such column in {', '.join(absent)}",
                        f"there are: {', '.join(data.splits[absent[0]].column_names or ())}")
    if absent or not data.splits:
        return None
    run.tell(f"margins are taken from the column '{name}'")
    return name


def _number(row: Row, column: str) -> float:
    """The margin of a row. `UserError` where it is no finite number."""
    try:
        number = float(row[column])
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"the row that asks {excerpt(row)} has the margin {row[column]!r} (column {column})",
                        "a finite number in each row; a column 'margin' that says something else is to have another name")
    return number
