"""The validation rows and a sample of the training rows, scored while a run trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ftp.evaluate.predict import predict
from ftp.evaluate.scoring import predictions_of, score, to_minimise
from ftp.report import keep
from ftp.types import Batch, Data, Evaluation, Loss, LossOut, Model, Predictions, StartedRun

if TYPE_CHECKING:
    from datasets import Dataset


class Validation:
    """Call it with the number of an update and the loss: an evaluation, and the number that picks the best (lower is better).

    `latest`: the answers to the validation rows of the last evaluation, for checks.
    """

    def __init__(
        self, run: StartedRun, data: Data, model: Model, loss: Loss, encoded: Mapping[str, Dataset],
        train_sample: tuple[Dataset, Dataset] | None,
    ) -> None:
        """`train_sample`: training rows and the same rows encoded; None where they are not scored."""
        self.run, self.data, self.model, self.loss = run, data, model, loss
        self.encoded = encoded
        self.train_sample = train_sample
        self.latest: dict[str, Predictions] = {}

    def __call__(self, step: int, forward: Callable[[Batch], LossOut]) -> tuple[Evaluation, float]:
        run, log = self.run, self.run.log
        rows = self.data.splits["validation"]
        validation = predict(run, self.model, self.loss, rows, self.encoded["validation"], "validation", forward)
        train: Predictions | None = None
        if self.train_sample is not None:
            train = predict(run, self.model, self.loss, *self.train_sample, "train", forward, answers=False)
        scores = score(run, self.data, {"validation": validation}, self.model)
        evaluation = Evaluation(step, validation.loss, tuple(scores), losses=validation.losses)
        values: dict[str, float] = {}
        for measured in scores:
            # The log's own `loss` is that of training.
            name = "validation_loss" if measured.name == "loss" else measured.name
            values[name] = measured.value
        if train is not None:
            evaluation = replace(evaluation, train_loss=train.loss, train_losses=train.losses)
            for domain, splits in self.data.domains.items():
                own = predictions_of(domain, train, splits)
                if own is not None:
                    values[f"{domain}/train_loss"] = own.loss
        bands = keep.bands(validation, train)
        log.event("evaluation", step=step, train_loss=evaluation.train_loss, bands=bands, **values)
        self.latest["validation"] = validation
        return evaluation, to_minimise(run.settings.metric_for_best_model, scores)
