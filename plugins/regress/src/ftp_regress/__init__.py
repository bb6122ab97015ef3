"""Regression: predict a number for a text, or for a pair of texts."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ftp import UserError, hookimpl, option, plugin
from ftp.forms import AS_TEXT, TEXT_COLUMN, TEXT_PAIR_COLUMN, Column, FormSpec
from ftp.heads import HeadSpec, Later
from ftp.types import Data, Loss, Model, Prediction, Predictions, Run, Score, StartedRun

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset
    from numpy.typing import NDArray

SAMPLE = Path(__file__).parent / "sample"
ROWS_MEASURED = 100_000
"""Rows that mean and spread of the scores are taken from at most; a stream is read no further."""

SCORE = Column("score", "number", is_answer=True, likely_names=("similarity", "rating", "grade", "stars", "price"))
GRADED = FormSpec("graded", (TEXT_COLUMN, TEXT_PAIR_COLUMN, SCORE), ways=(AS_TEXT,), default_head="regression")

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
    probe="number",
    reads_first_token=True,
    default_loss=Later("ftp_regress:make_loss"),
    baselines=Later("ftp_regress:baselines"),
    scores=Later("ftp_regress:measure"),
    what_is_trained="no single token is trained: the number of the row is",
    has_short_answers=True,
    model_as="labels",
)  # fmt: skip


def make_loss(run: Run, data: Data, model: Model, kind: str = "mse") -> Loss:
    """The loss of rows of texts; the network gives the numbers as they are, only errors are in the unit of `score_unit`."""
    import torch
    from torch.nn.functional import linear

    from ftp.losses import labels
    from ftp.net.heads import output_layers

    def in_full_precision(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        with torch.autocast(output.device.type, enabled=False):
            bias = None if module.bias is None else module.bias.float()
            return linear(inputs[0].float(), module.weight.float(), bias)

    # bf16 knows 1988 and 1996, and no year in between
    for module in output_layers(model.net, 1):
        module.register_forward_hook(in_full_precision)
    return labels.of_texts(
        run, model, kind,
        label_of=lambda row: float(row["score"]),
        row_losses=lambda logits, scores: row_losses(kind, logits[:, 0], scores, unit_of(model)),
        answers=lambda logits: [Prediction(number) for number in logits[:, 0].tolist()],
        key=("a number for each row", 2),
    )  # fmt: skip


def row_losses(kind: str, numbers: torch.Tensor, scores: torch.Tensor, unit: float) -> torch.Tensor:
    """[rows] the squared errors (mse), or Huber's loss with a delta of 1 (Huber 1964, doi:10.1214/aoms/1177703732).

    Args:
        unit: what the errors are divided by first.
    """
    from torch.nn.functional import huber_loss, mse_loss

    loss = huber_loss if kind == "huber" else mse_loss
    losses: torch.Tensor = loss(numbers / unit, scores / unit, reduction="none")
    return losses


def unit_of(model: Model) -> float:
    """What errors are measured in, as `build_model` wrote it into the network's configuration."""
    return float(getattr(model.net.config, "score_unit", 1.0))


def mean_and_spread(data: Data) -> tuple[float, float]:
    """Mean and standard deviation of the training scores. Raises `UserError` where all are the same."""
    import numpy as np

    scores = [row["score"] for row in islice(data.splits["train"].select_columns(["score"]), ROWS_MEASURED)]
    spread = float(np.std(scores))
    if not spread:
        raise UserError(f"regress: all training rows have the same score, {scores[0]:g}; there is nothing to learn",
                        "map another column", "--columns score=NAME")
    return float(np.mean(scores)), spread


def baselines(
    run: StartedRun, data: Data, model: Model, loss: Loss, encoded: Mapping[str, Dataset], held: Mapping[str, Dataset]
) -> dict[str, dict[str, Predictions]]:
    """The mean of the training scores, whatever the text; ridge regression on words, and on the untuned network."""
    import numpy as np

    from ftp.evaluate import linear

    mean, _ = mean_and_spread(data)
    numbers = {
        "mean of train": {split: np.full(len(rows), mean) for split, rows in held.items()},
        **linear.both(run, data, model, loss, encoded, held, "number"),
    }
    return {name: _as_predictions(loss.name, model, held, by_split) for name, by_split in numbers.items()}


def _as_predictions(
    kind: str, model: Model, held: Mapping[str, Dataset], numbers: Mapping[str, NDArray[np.float64]]
) -> dict[str, Predictions]:
    """Numbers by split as answers, with the loss of each."""
    import torch

    by_split = {}
    for split, of_split in numbers.items():
        rows = held[split]
        scores = torch.tensor(rows["score"][:], dtype=torch.float64)
        losses = row_losses(kind, torch.tensor(of_split), scores, unit_of(model)).numpy()
        by_split[split] = Predictions.of_rows(split, rows, [Prediction(number) for number in of_split.tolist()], losses)
    return by_split


def measure(data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
    """For each split `pearson` and `spearman` (0 where all answers are the same) by SciPy, and `mae` by scikit-learn."""
    from sklearn.metrics import mean_absolute_error

    from ftp.metrics import pearson, spearman, with_answers

    scores = []
    for split, truth, numbers in with_answers(predictions, "score"):
        if isinstance(numbers[0], float):  # another objective of the same rows gives no numbers
            scores += [
                Score("pearson", pearson(truth, numbers), "max", split),
                Score("spearman", spearman(truth, numbers), "max", split),
                Score("mae", float(mean_absolute_error(truth, numbers)), "min", split),
            ]
    return scores


@plugin(kind="objective", wants=("graded",), gives=("graded",), head="regression", general=True)
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

        from ftp.net.heads import output_layers

        model = yield
        mean, spread = mean_and_spread(data) if self.standardise else (0.0, 1.0)
        model.net.config.score_unit = spread
        if model.fresh and not model.has_fitted_head and self.standardise:
            for layer in output_layers(model.net, 1):
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
        return measure(data, predictions)
