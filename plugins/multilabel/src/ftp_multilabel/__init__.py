"""Several labels a row: give a text, or a pair of texts, all the labels that it deserves."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ftp import Problem, UserError, hookimpl, option, plugin
from ftp.forms import AS_TEXT, TEXT_COLUMN, TEXT_PAIR_COLUMN, Column, FormSpec, Way
from ftp.heads import HeadSpec, Later, names_of_classes
from ftp.types import Data, Loss, Model, Prediction, Predictions, Row, Run, Score
from ftp_multilabel import scores

if TYPE_CHECKING:
    import torch
    from datasets import Dataset, IterableDataset

SAMPLE = Path(__file__).parent / "sample"
ROWS_LOOKED_AT = 200
"""Rows by which columns of 0 and 1 are known."""


def listed(row: Row, labels: Sequence[str]) -> Row:
    """The labels of `a|b` as a list; an empty cell has none."""
    names = map(str.strip, (row["labels"] or "").split("|"))
    return {"labels": [name for name in names if name]}


def why_not(source_name: str, rows: Dataset | IterableDataset) -> Problem | None:
    """What to do with columns of 0 and 1, one a label, that nobody named; None where there are no two of them."""
    columns = rows.column_names or ()
    first_rows = list(islice(rows, ROWS_LOOKED_AT))
    names = [name for name in columns if all(row[name] in (0, 1) for row in first_rows)]
    if len(names) < 2 or "labels" in columns:
        return None
    return Problem(
        f"{source_name}: there is no column 'labels'; these hold 0 and 1, as columns of one label do: {', '.join(names)}",
        f"a run trains on them with --multilabel.columns {','.join(names)}; ftp evaluate reads a column 'labels', with cells as "
        f"{'|'.join(names[:2])}")


LABELS = Column("labels", "classes", is_answer=True, likely_names=("topics", "categories", "tags", "genres"))
MULTILABELLED = FormSpec(
    "multilabelled",
    (TEXT_COLUMN, TEXT_PAIR_COLUMN, LABELS),
    ways=(Way("multilabelled", listed, makes=("labels",)), AS_TEXT),
    default_head="multilabel",
    why_not=why_not,
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
    config_values=lambda labels: {**names_of_classes(labels), "problem_type": "multi_label_classification"},
    peft_task="SEQ_CLS",
    export_task="text-classification",
    example='inputs = tokenizer(["a text"], return_tensors="pt")\n'
    "probabilities = model.eval()(**inputs).logits.sigmoid()\n"
    "has_label = probabilities >= probabilities.new_tensor(model.config.label_thresholds)\n",
    probe="labels",
    reads_first_token=True,
    default_loss=Later("ftp_multilabel:make_loss"),
    baselines=Later("ftp_multilabel.baselines:measure"),
    shown=shown,
    what_is_trained="no single token is trained: the labels of the row are",
    has_classes=True,
    model_as="labels",
)


def make_loss(run: Run, data: Data, model: Model) -> Loss:
    """Binary cross entropy, the mean over the labels of a row, as Transformers has it. Its `extra` holds the thresholds."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    from ftp.losses import labels

    beside = torch.nn.Module()  # in every checkpoint, so that the best weights come back with their thresholds
    beside.register_buffer("thresholds", torch.full((len(data.labels),), 0.5))

    def answers(logits: torch.Tensor) -> list[Prediction]:
        predictions = []
        for row in logits.sigmoid():
            # the thresholds of now: tuned ones come with a checkpoint
            chosen = (row >= beside.thresholds.to(row.device)).nonzero().flatten()
            predictions.append(Prediction(chosen.tolist(), tuple(row.tolist())))
        return predictions

    return labels.of_texts(
        run, model, "binary cross entropy",
        label_of=lambda row: [float(number in row["labels"]) for number in range(len(data.labels))],
        row_losses=lambda logits, targets: binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(-1),
        answers=answers,
        key=("several labels for each row", 2, len(data.labels)),
        extra=beside,
    )  # fmt: skip


@plugin(kind="objective", wants=("multilabelled",), gives=("multilabelled",), head="multilabel", general=True)
class Multilabel:
    """Give a text any number of labels; each has a threshold of its own, tuned on the validation rows and kept with the model.

    Without `--data` it trains on a sample that comes with the package: messages to a town hall, and what they are about.
    """

    columns: tuple[str, ...] = option((), "columns of 0 and 1, one a label; default: the column `labels`, lists or a|b")
    labels: tuple[str, ...] = option((), "names of the labels in the order of their numbers; default: what the data say")
    tune: bool = option(True, "give each label the threshold of the highest F1 on the validation rows; else 0.5")
    prior: bool = option(True, "let a new head begin at the share of the training rows that have each label; else at about 0.5")

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

    @hookimpl(wrapper=True)
    def build_model(self, data: Data) -> Generator[None, Model, Model]:
        """Let the bias of a new head be the log odds of each label's share (Lin et al. 2017, arXiv:1708.02002, section 3.3).

        Most labels are rare. A head that begins at even odds spends its first updates on pushing all of them down, and what
        texts differ in is learnt much later (docs/results.md has the numbers).
        """
        model = yield
        if model.fresh and not model.has_fitted_head and self.prior:
            from ftp.net.heads import output_layers

            odds = scores.log_odds_of_labels(data)
            for layer in output_layers(model.net, len(data.labels)):
                if layer.bias is not None:
                    layer.bias.data.copy_(layer.bias.new_tensor(odds))
        return model

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
