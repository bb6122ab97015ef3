"""Several labels a row: give a text, or a pair of texts, all the labels that it deserves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ftp import UserError, hookimpl, option, plugin
from ftp.forms import Column, FormSpec, Way
from ftp.heads import HeadSpec, Later
from ftp.types import Batch, Data, Loss, LossOut, Model, Prediction, Predictions, Row, Run, Score
from ftp_multilabel import scores

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

    from ftp.losses.labels import LabelRow

    class MultilabelRow(LabelRow, total=False):
        """A text, or a pair. `targets`: of each label 1 where the row has it, else 0."""

        targets: list[int]

SAMPLE = Path(__file__).parent / "sample"


def listed(row: Row, labels: Sequence[str]) -> Row:
    """The labels of `a|b` as a list; an empty cell has none."""
    names = map(str.strip, (row["labels"] or "").split("|"))
    return {"labels": [name for name in names if name]}


def joined(row: Row, labels: Sequence[str]) -> Row:
    return {"text": "\n\n".join(filter(None, (row["text"], row.get("text_pair"))))}


MULTILABELLED = FormSpec(
    "multilabelled",
    (
        Column("text", other_names=("sentence", "text_a", "sentence1", "premise")),
        Column("text_pair", is_required=False, other_names=("text_b", "sentence2", "hypothesis")),
        Column("labels", "classes", is_answer=True, likely_names=("topics", "categories", "tags", "genres")),
    ),
    ways=(Way("multilabelled", listed, makes=("labels",)), Way("text", joined)),
    default_head="multilabel",
)


def shown(prediction: Prediction, labels: Sequence[str]) -> Mapping[str, object]:
    """The names of the labels, and the probability of each."""
    answer: dict[str, object] = {"answer": [labels[number] for number in prediction.answer or ()]}
    if prediction.scores is not None:
        answer["scores"] = dict(zip(labels, prediction.scores, strict=True))
    return answer


HEAD = HeadSpec(
    "multilabel",
    "any number of labels for each row",
    "AutoModelForSequenceClassification",
    config_values=lambda labels: {
        "id2label": dict(enumerate(labels)),
        "label2id": {name: number for number, name in enumerate(labels)},
        "problem_type": "multi_label_classification",
    },
    peft_task="SEQ_CLS",
    export_task="text-classification",
    example='inputs = tokenizer(["a text"], return_tensors="pt")\n'
    "probabilities = model.eval()(**inputs).logits.sigmoid()\n"
    "has_label = probabilities >= probabilities.new_tensor(model.config.label_thresholds)\n",
    default_loss=Later("ftp_multilabel:make_loss"),
    baselines=Later("ftp_multilabel.scores:most_frequent"),
    shown=shown,
    what_is_trained="no single token is trained: the labels of the row are",
    has_classes=True,
    model_as="labels",
)


def make_loss(run: Run, data: Data, model: Model) -> Loss:
    """Binary cross entropy, the mean over the labels of a row, as Transformers has it. Its `extra` holds the thresholds."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    from ftp.losses import is_asked, labels, wrapped
    from ftp.net import heads

    texts = labels.make(run, data, model)
    beside = torch.nn.Module()  # in every checkpoint, so that the best weights come back with their thresholds
    beside.register_buffer("thresholds", torch.full((len(data.labels),), 0.5))

    def encode(rows: Sequence[Row]) -> Iterator[MultilabelRow]:
        for row, encoded in zip(rows, texts.ask(rows), strict=True):
            yield {**encoded, "targets": [int(number in row["labels"]) for number in range(len(data.labels))]}

    def collate(rows: Sequence[MultilabelRow]) -> Batch:
        # the loss of texts lays out rows to be answered: it knows no lists of labels
        unlabelled: list[MultilabelRow] = [{**row, "asked": True} for row in rows]
        batch = texts.collate(unlabelled)
        if is_asked(rows):
            return batch
        device = batch.inputs["input_ids"].device
        targets = torch.tensor([row["targets"] for row in rows], dtype=torch.float32, device=device)
        return replace(batch, inputs={**batch.inputs, "targets": targets})

    def logits_of(batch: Batch) -> torch.Tensor:
        """[rows, labels] float32"""
        return heads.classify(model.net, batch.inputs).float()

    def compute(batch: Batch) -> LossOut:
        logits = logits_of(batch)
        losses = binary_cross_entropy_with_logits(logits, batch.inputs["targets"], reduction="none").mean(-1)
        return LossOut(losses.sum(), row_losses=losses.detach(), row_counts=torch.ones_like(losses), outputs=logits.detach())

    def answer(batch: Batch, out: LossOut | None) -> list[Prediction]:
        predictions = []
        for row in (logits_of(batch) if out is None else out.outputs).sigmoid():
            # the thresholds of now: tuned ones come with a checkpoint
            chosen = (row >= beside.thresholds.to(row.device)).nonzero().flatten()
            predictions.append(Prediction(chosen.tolist(), tuple(row.tolist())))
        return predictions

    return wrapped(texts, encode=encode, encode_to_score=encode, collate=collate, compute=compute, answer=answer,
                   extra=beside, name="binary cross entropy", key=f"{texts.key}-multilabelled-1-{len(data.labels)}")


@plugin(kind="objective", wants=("multilabelled",), gives=("multilabelled",), head="multilabel")
class Multilabel:
    """Give a text any number of labels; each has a threshold of its own, tuned on the validation rows and kept with the model.

    Without `--data` it trains on a sample that comes with the package: messages to a town hall, and what they are about.
    """

    columns: tuple[str, ...] = option((), "columns of 0 and 1, one a label; default: the column `labels`, lists or a|b")
    labels: tuple[str, ...] = option((), "names of the labels in the order of their numbers; default: what the data say")
    tune: bool = option(True, "give each label the threshold of the highest F1 on the validation rows; else 0.5")

    def __post_init__(self) -> None:
        self.beside: torch.nn.Module | None = None  # what holds the thresholds of the run's loss

    @hookimpl
    def load_data(self, run: Run) -> Mapping[str, Dataset]:
        from ftp.data import load

        return load(run, SAMPLE, form="multilabelled", labels=self.labels or self.columns, adapt=self.with_labels)

    def with_labels(self, rows: Dataset) -> Dataset:
        """Rows with a column `labels`: made of a column a label, or of a column `label` where there is none."""
        from datasets import Features, List, Value

        names = rows.column_names or ()
        absent = [name for name in self.columns if name not in names]
        if absent:
            raise UserError(f"--multilabel.columns: there is no column {', '.join(absent)}", f"there are: {', '.join(names)}")
        if not self.columns:
            return rows.rename_column("label", "labels") if "label" in names and "labels" not in names else rows
        kept = {name: kind for name, kind in (rows.features or {}).items() if name not in self.columns}
        features = Features({**kept, "labels": List(Value("string"))}) if rows.features else None
        return rows.map(self._list_of_columns, remove_columns=list(self.columns), features=features)

    def _list_of_columns(self, row: Row) -> Row:
        for name in self.columns:
            if row[name] not in (0, 1):
                raise UserError(f"--multilabel.columns: {name} holds {row[name]!r:.40}; a column of a label holds 0 and 1")
        return {"labels": [name for name in self.columns if row[name]]}

    @hookimpl
    def make_loss(self, run: Run, data: Data, model: Model) -> Loss:
        loss = make_loss(run, data, model)
        self.beside = loss.extra
        return loss

    @hookimpl
    def evaluate(self, data: Data, predictions: Mapping[str, Predictions], model: Model) -> list[Score]:
        """Tune the thresholds where a run trains (baselines have no probabilities), then score the labels that they give."""
        if self.beside is None:
            return scores.measure(data, predictions)
        validation = predictions.get("validation")
        if self.tune and "train" in data.splits and scores.has_probabilities(validation):
            tuned = scores.best_thresholds(validation, len(data.labels))
            self.beside.thresholds.copy_(self.beside.thresholds.new_tensor(tuned))
        thresholds = self.beside.thresholds.tolist()
        model.net.config.label_thresholds = thresholds
        return scores.measure(data, predictions, thresholds)
