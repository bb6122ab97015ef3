"""The plugin `reward`: a network that gives the better of two answers the higher score."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftp import UserError, hookimpl, option, plugin
from ftp.types import Batch, Data, Loss, LossOut, Metric, Model, Prediction, Row, Run

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1


@plugin(wants=("preference",), head="score", suggests={"learning_rate": 2e-5, "epochs": 1.0})
class Reward:
    """Train a score that is higher for the better of two answers (Bradley and Terry 1952; Ouyang et al. 2022, eq. 1)."""

    margin_column: str | None = option(None, "column that says by how much an answer is better (Touvron et al. 2023, eq. 2); "
                                       "default: margin, where the rows have one")
    center_rewards_coefficient: float = option(0.0, "weight that holds the sum of both scores near zero, such as 0.01 "
                                               "(Eisenstein et al. 2023)", low=0)
    chat_template: Path | None = option(None, "file with a chat template in place of the tokenizer's own")
    eos_token: str | None = option(None, "token of the vocabulary that ends answers, where the tokenizer has no EOS")

    @hookimpl
    def make_loss(self, run: Run, data: Data, model: Model) -> Loss:
        """Score both answers of each row with the same network, and compare."""
        import torch

        from ftp.data import control_text
        from ftp.data.encode import cache_key
        from ftp.losses import chat_template, conversations, stretches, tokens
        from ftp.losses.common import row_limit
        from ftp.net import heads, layout
        from ftp_reward import rows as reading

        tokens.refuse_encoder_decoder(model, "reward")
        tokenizer, limit = model.tokenizer, row_limit(run, model)
        pairs_of_texts = reading.reads_pairs(tokenizer) and not (data.splits and self.chat_template)
        if not data.splits:
            reading.refuse_other(pairs_of_texts, run.out)
        elif pairs_of_texts:
            if self.eos_token is not None:
                raise UserError(f"--reward.eos_token {self.eos_token}: prompt and answer are read as a pair of texts, which no "
                                "such token ends", "leave it out, or name a chat template (--reward.chat_template)")
            reading.tell_pairs(run)
        talk = None if pairs_of_texts else chat_template.of_run(run, data, model, who="reward", file=self.chat_template,
                                                                eos_token=self.eos_token)
        tokenize = control_text.of_run(run, tokenizer)
        reader = reading.Reader(tokenize, limit, talk)
        margin = self._margin(run, data)
        counts: dict[str, list[int]] = {}

        def encode(given: Iterable[Row], split: str) -> list[dict[str, Any]]:
            given = list(given)
            if split == "predict" and not all("chosen" in row for row in given):
                return [reader.one(row) for row in given]
            chosen, rejected = (reader.read(given, [row[name] for row in given]) for name in ("chosen", "rejected"))
            made = []
            for place, (good, bad) in enumerate(zip(chosen, rejected, strict=True)):
                cut = {name: good[name] + bad[name] for name in ("cut", "answer_cut")}
                if good["input_ids"] == bad["input_ids"]:
                    made.append({"row": place, "left_out": "chosen and rejected are the same", "answer_cut": cut["answer_cut"]})
                    continue
                one = {**good, "row": place, "length": len(good["input_ids"]) + len(bad["input_ids"])}
                one |= {f"rejected_{name}": column for name, column in bad.items()} | cut
                for name in cut:
                    del one[f"rejected_{name}"]
                if margin is not None:
                    one["margin"] = _number(given[place], margin, split)
                made.append(one)
            _refuse_same(counts, split, len(given), sum("left_out" in one and not one["answer_cut"] for one in made))
            return made

        def collate(part: Sequence[Row]) -> Batch:
            both = [*part, *part] if "rejected_input_ids" in part[0] else list(part)
            names = ["" if place < len(part) else "rejected_" for place in range(len(both))]

            def column(name: str) -> list[Any]:
                return [row[side + name] for side, row in zip(names, both, strict=True)]

            beside = {"token_type_ids": (column("token_type_ids"), 0)} if "token_type_ids" in part[0] else {}
            inputs: dict[str, Any] = layout.lay(
                column("input_ids"), packed=model.packed, pad_id=tokenizer.pad_token_id or 0,
                padding_side=tokenizer.padding_side, beside=beside, device=next(model.net.parameters()).device)
            if "margin" in part[0]:
                inputs["margin"] = torch.tensor([row["margin"] for row in part], device=inputs["input_ids"].device)
            return Batch(inputs, count=len(part), rows=len(part), tokens=sum(map(len, column("input_ids"))))

        def scores(batch: Batch) -> Tensor:
            return heads.classify(model.net, batch.inputs).float()[:, 0]

        def compute(batch: Batch) -> LossOut:
            chosen, rejected = scores(batch).chunk(2)
            losses = self.formula(chosen, rejected, batch.inputs.get("margin", torch.zeros_like(chosen)))
            ahead = (chosen - rejected).detach()
            shown = {"accuracy": (ahead > 0).float().sum(), "margin": ahead.sum(),
                     "mean_reward": (chosen + rejected).detach().sum() / 2}
            return LossOut(losses.sum(), shown, losses.detach(), torch.ones_like(losses), outputs=ahead)

        def answer(batch: Batch, out: LossOut | None) -> list[Prediction]:
            """The score of a text; of a pair, how much higher that of the chosen answer is."""
            given = out.outputs if out is not None else scores(batch)
            if len(given) == 2 * batch.rows:
                given = given[: batch.rows] - given[batch.rows :]
            return [Prediction(value) for value in given.tolist()]

        key = cache_key(tokenizer, "reward", VERSION, limit, margin, reading, conversations, stretches,
                        tokenize.key if talk is None else talk.key)
        return Loss(encode, collate, compute, answer, key=key, name="reward",
                    metrics={"accuracy": Metric("max"), "margin": Metric("max")})

    def formula(self, chosen: Tensor, rejected: Tensor, margin: Tensor) -> Tensor:
        """[pairs] minus the log probability, by Bradley and Terry, that chosen beats rejected by the margin; and what holds
        both scores near zero."""
        from torch.nn.functional import logsigmoid

        return -logsigmoid(chosen - rejected - margin) + self.center_rewards_coefficient * (chosen + rejected) ** 2

    def _margin(self, run: Run, data: Data) -> str | None:
        """The column with margins, if there is one in every split. UserError where a named one is not."""
        name = self.margin_column or "margin"
        absent = [split for split, rows in data.splits.items() if name not in (rows.column_names or ())]
        if self.margin_column and absent:
            raise UserError(f"--reward.margin_column {name}: no such column in {', '.join(absent)}",
                            f"there are: {', '.join(data.splits[absent[0]].column_names or ())}")
        if absent or not data.splits:
            return None
        run.tell(f"margins are taken from the column '{name}'")
        return name


def _number(row: Row, column: str, split: str) -> float:
    """The margin of a row. `UserError` where it is no finite number."""
    from ftp_reward.rows import excerpt

    try:
        number = float(row[column])
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{split}: the row that asks {excerpt(row)} has the margin {row[column]!r} (column {column})",
                        "a finite number in each row; a column 'margin' that says something else is to have another name")
    return number


def _refuse_same(counts: dict[str, list[int]], split: str, rows: int, same: int) -> None:
    """Count pairs whose two answers are the same, and refuse where they are most."""
    total = counts.setdefault(split, [0, 0])
    total[0], total[1] = total[0] + rows, total[1] + same
    if same and 2 * total[1] > total[0]:
        raise UserError(f"{split}: chosen and rejected are the same in {total[1]} of {total[0]} pairs",
                        "map the columns that differ, as in --columns chosen=better,rejected=worse")
