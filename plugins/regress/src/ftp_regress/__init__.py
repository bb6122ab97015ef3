"""Regression: predict a number for a text, or for a pair of texts."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ftp import hookimpl, option, plugin
from ftp.forms import Column, FormSpec, Way
from ftp.heads import HeadSpec, Later
from ftp.types import Batch, Data, Loss, LossOut, Model, Prediction, Predictions, Row, Run, Score
from ftp_regress import scores

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

    from ftp.losses.labels import LabelRow

    class GradedRow(LabelRow, total=False):
        """A text, or a pair, with its score."""

        score: float

SAMPLE = Path(__file__).parent / "sample"
GRADED = FormSpec(
    "graded",
    (
        Column("text", other_names=("sentence", "text_a", "sentence1", "premise")),
        Column("text_pair", is_required=False, other_names=("text_b", "sentence2", "hypothesis")),
        Column("score", "number", is_answer=True, likely_names=("similarity", "rating", "grade", "stars", "price")),
    ),
    ways=(Way("text", lambda row, labels: {"text": "\n\n".join(filter(None, (row["text"], row.get("text_pair"))))}),),
    default_head="regression",
)

HEAD = HeadSpec(
    "regression",
    "a number for each row",
    "AutoModelForSequenceClassification",
    config_values=lambda labels: {
        "id2label": {0: "score"}, "label2id": {"score": 0}, "num_labels": 1, "problem_type": "regression",
    },
    peft_task="SEQ_CLS",
    export_task="text-classification",
    example='inputs = tokenizer(["a text"], return_tensors="pt")\nnumbers = model.eval()(**inputs).logits[:, 0]\n',
    default_loss=Later("ftp_regress:make_loss"),
    baselines=Later("ftp_regress.scores:mean_of_train"),
    scores=Later("ftp_regress.scores:measure"),
    what_is_trained="no single token is trained: the number of the row is",
    model_as="labels",
)  # fmt: skip


def make_loss(run: Run, data: Data, model: Model, kind: str = "mse") -> Loss:
    """The loss of rows of texts; the network gives the numbers as they are, only errors are in the unit of `score_unit`."""
    import torch
    from torch.nn.functional import linear

    from ftp.losses import is_asked, labels, wrapped
    from ftp.net import heads

    texts = labels.make(run, data, model)
    unit = float(getattr(model.net.config, "score_unit", 1.0))

    def in_full_precision(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        with torch.autocast(output.device.type, enabled=False):
            bias = None if module.bias is None else module.bias.float()
            return linear(inputs[0].float(), module.weight.float(), bias)

    # bf16 knows 1988 and 1996, and no year in between
    for module in scores.last_layers(model.net):
        module.register_forward_hook(in_full_precision)

    def encode(rows: Sequence[Row]) -> Iterator[GradedRow]:
        for row, encoded in zip(rows, texts.ask(rows), strict=True):
            yield {**encoded, "score": float(row["score"])}

    def collate(rows: Sequence[GradedRow]) -> Batch:
        # the loss of texts lays out rows to be answered: it knows no scores
        unlabelled: list[GradedRow] = [{**row, "asked": True} for row in rows]
        batch = texts.collate(unlabelled)
        if is_asked(rows):
            return batch
        targets = torch.tensor([row["score"] for row in rows], device=batch.inputs["input_ids"].device)
        return replace(batch, inputs={**batch.inputs, "score": targets})

    def compute(batch: Batch) -> LossOut:
        numbers = heads.classify(model.net, batch.inputs).float().squeeze(-1)
        losses = scores.row_losses(kind, numbers, batch.inputs["score"], unit)
        return LossOut(losses.sum(), row_losses=losses.detach(), row_counts=torch.ones_like(losses), outputs=numbers.detach())

    def answer(batch: Batch, out: LossOut | None) -> list[Prediction]:
        numbers = heads.classify(model.net, batch.inputs).float().squeeze(-1) if out is None else out.outputs
        return [Prediction(number) for number in numbers.tolist()]

    return wrapped(texts, encode=encode, encode_to_score=encode, collate=collate, compute=compute, answer=answer, name=kind,
                   key=f"{texts.key}-graded-1")


@plugin(kind="objective", wants=("graded",), gives=("graded",), head="regression")
class Regress:
    """Predict a number for a text or a pair of texts: how alike two sentences are, a grade, a price.

    Without `--data` it trains on a sample that comes with the package: messages to the caretaker of a house, and how urgent each
    is, from 0 to 10.
    """

    loss: Literal["mse", "huber"] = option("mse", "squared error, or Huber's loss, which large errors weigh less in")
    standardise: bool = option(
        True, "measure errors in standard deviations of the training scores, and let a new head begin at their mean")

    @hookimpl
    def load_data(self, run: Run) -> Mapping[str, Dataset]:
        """Rows of --data; a column `label` is read where there is no `score`."""
        from ftp.data import load

        def adapt(rows: Dataset) -> Dataset:
            columns = rows.column_names or ()
            return rows.rename_column("label", "score") if "label" in columns and "score" not in columns else rows

        return load(run, SAMPLE, form="graded", adapt=adapt)

    @hookimpl(wrapper=True)
    def build_model(self, data: Data) -> Generator[None, Model, Model]:
        """Let the network itself give scores as they are in the rows, so that plain Transformers gives them too.

        A new head begins as if it were trained on standardised scores: its weights are multiplied by their standard deviation,
        and its bias is their mean. The unit of the errors is kept in config.json as `score_unit`.
        """
        import torch

        model = yield
        mean, spread = scores.mean_and_spread(data) if self.standardise else (0.0, 1.0)
        model.net.config.score_unit = spread
        if model.fresh and self.standardise:
            for layer in scores.last_layers(model.net):
                with torch.no_grad():
                    layer.weight.mul_(spread)
                    if layer.bias is not None:
                        layer.bias.fill_(mean)
        return model

    @hookimpl
    def make_loss(self, run: Run, data: Data, model: Model) -> Loss:
        return make_loss(run, data, model, self.loss)

    @hookimpl
    def evaluate(self, data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
        return scores.measure(data, predictions)
