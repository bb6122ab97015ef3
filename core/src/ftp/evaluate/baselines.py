"""What a run is compared with, measured on the same held-out rows by the same plugins."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ftp import heads
from ftp.evaluate.predict import batches_of_rank, predict, rows_at
from ftp.evaluate.scoring import score
from ftp.types import Baseline, Batch, Data, Loss, Model, Prediction, Predictions, Row, StartedRun

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from numpy.typing import NDArray

ROWS_AT_MOST = 2000
NEVER_ZERO = 1e-9
"""Added to a share of rows, so that a class that was never seen costs much and not everything."""

Splits = Mapping[str, "Dataset"]
"""Rows, or encoded rows, by the name of their split."""
Collate = Callable[[Sequence[Row]], Batch]


def majority(data: Data, held: Splits) -> dict[str, Predictions]:
    """The most frequent class of the training rows, always; probabilities are the class shares."""
    import numpy as np

    counts = Counter(data.splits["train"]["label"])
    shares = np.array([counts.get(label, 0) for label in range(len(data.labels))], dtype=float) + NEVER_ZERO
    shares /= shares.sum()
    always = Prediction(int(shares.argmax()), tuple(shares.tolist()))
    predictions = {}
    for split, rows in held.items():
        losses = -np.log(shares[np.array(rows["label"])])
        predictions[split] = Predictions.of_rows(split, rows, [always] * len(rows), losses)
    return predictions


class WordMemory:
    """How often each word of the training rows had each tag."""

    def __init__(self, train: Dataset, names: Sequence[str]) -> None:
        """Args: names: of the tags, in the order of their numbers."""
        self.names = names
        self.tags_of_word: dict[str, Counter[int]] = defaultdict(Counter)
        for words, tags in zip(train["tokens"], train["tags"], strict=True):
            for word, tag in zip(words, tags, strict=True):
                self.tags_of_word[word][tag] += 1
        counts = sum(self.tags_of_word.values(), Counter[int]())
        self.shares = [max(counts[tag], NEVER_ZERO) / max(1, counts.total()) for tag in range(len(names))]
        self.usual_tag = self.shares.index(max(self.shares))

    def usual(self, word: str) -> str:
        """The tag that a word had most often; of a word that was not there, the most frequent of all."""
        counts = self.tags_of_word.get(word, Counter())
        return self.names[max(counts, key=counts.__getitem__, default=self.usual_tag)]

    def probability(self, word: str, tag: int) -> float:
        """The share of a tag among the word's rows and one more, which is as all words are."""
        counts = self.tags_of_word.get(word, Counter())
        return (counts[tag] + self.shares[tag]) / (counts.total() + 1)


def word_memory(data: Data, held: Splits) -> dict[str, Predictions]:
    """The tag that each word had most often in the training rows: what can be known without reading the sentence."""
    import numpy as np

    memory = WordMemory(data.splits["train"], data.labels)
    predictions = {}
    for split, rows in held.items():
        answers: list[Prediction] = []
        losses = np.full(len(rows), np.nan)  # a row without words has none
        counts = np.zeros(len(rows))
        for row, (words, tags) in enumerate(zip(rows["tokens"], rows["tags"], strict=True)):
            answers.append(Prediction([memory.usual(word) for word in words]))
            if words:
                probabilities = [memory.probability(word, tag) for word, tag in zip(words, tags, strict=True)]
                losses[row] = -np.log(probabilities).mean()
                counts[row] = len(words)
        mean = float(np.nansum(losses * counts) / max(1, counts.sum()))
        predictions[split] = Predictions(split, rows, answers, mean, losses)
    return predictions


def features(run: StartedRun, model: Model, encoded: Dataset, collate: Collate) -> NDArray[np.float32]:
    """[rows, width] float32: mean of each row's last hidden states, before any training."""
    import numpy as np
    import torch

    from ftp.net import heads as network_heads
    from ftp.net import layout

    means = np.zeros((len(encoded), 0), dtype=np.float32)
    model.net.eval()
    with torch.no_grad(), run.accelerator.autocast():
        for batch in batches_of_rank(encoded, run.settings.eval_batch_tokens):
            inputs = collate(rows_at(encoded, batch.indices)).inputs
            states = layout.real(inputs, network_heads.hidden(model.net, inputs).float())  # [tokens, width]
            row_of_token = layout.rows(inputs)
            num_rows = len(batch.indices)
            sums = torch.zeros(num_rows, states.shape[-1], device=states.device).index_add_(0, row_of_token, states)
            batch_means = sums / torch.bincount(row_of_token, minlength=num_rows).unsqueeze(1)
            if not means.shape[1]:  # the width is known only now
                means = np.zeros((len(encoded), batch_means.shape[1]), dtype=np.float32)
            means[batch.indices] = batch_means.cpu().numpy()
    return means


def linear_probe(
    run: StartedRun, data: Data, model: Model, encoded: Splits, collate: Collate, held: Splits
) -> dict[str, Predictions]:
    """The untuned model: logistic regression on its frozen features (mean of the last hidden states), fitted on at most
    `ROWS_AT_MOST` training rows. What fine-tuning must beat to be worth its time. Empty where they are all of one class."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    generator = np.random.default_rng(run.settings.seed)
    total = len(encoded["train"])
    chosen = np.sort(generator.choice(total, min(total, ROWS_AT_MOST), replace=False))
    train = encoded["train"].select(chosen)
    labels = np.array(train["label"])
    if len(set(labels.tolist())) < 2:
        return {}
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, C=0.1))
    probe.fit(features(run, model, train, collate), labels)
    predictions = {}
    for split, rows in held.items():
        # a class that none of the chosen rows has is unknown to the probe
        probabilities = np.full((len(rows), len(data.labels)), NEVER_ZERO)
        probabilities[:, probe.classes_] = probe.predict_proba(features(run, model, encoded[split], collate))
        probabilities /= probabilities.sum(1, keepdims=True)
        of_the_label = probabilities[np.arange(len(rows)), np.array(rows["label"])]
        losses = -np.log(np.maximum(of_the_label, 1e-12))
        answers = [Prediction(int(row.argmax()), tuple(row.tolist())) for row in probabilities]
        predictions[split] = Predictions.of_rows(split, rows, answers, losses)
    return predictions


def untuned(
    run: StartedRun, data: Data, model: Model, loss: Loss, encoded: Splits, held: Splits
) -> dict[str, dict[str, Predictions]]:
    """The model before any training."""
    return {"untuned": {split: predict(run, model, loss, rows, encoded[split], split) for split, rows in held.items()}}


def class_baselines(
    run: StartedRun, data: Data, model: Model, loss: Loss, encoded: Splits, held: Splits
) -> dict[str, dict[str, Predictions]]:
    """Always the most frequent class; and a linear head on the untuned network."""
    return {
        "majority class": majority(data, held),
        "untuned, linear head": linear_probe(run, data, model, encoded, loss.collate, held),
    }


def tag_baselines(
    run: StartedRun, data: Data, model: Model, loss: Loss, encoded: Splits, held: Splits
) -> dict[str, dict[str, Predictions]]:
    """The tag that each word had most often; and the model before any training."""
    usual = {"each word's usual tag": word_memory(data, held)}
    return {**usual, **untuned(run, data, model, loss, encoded, held)}


def measure_baselines(
    run: StartedRun, data: Data, model: Model, loss: Loss, encoded: Splits, held: Splits
) -> list[Baseline]:
    """What a run is compared with: what the spec of its head says, else the untuned model."""
    if not run.settings.baselines or run.settings.streaming:
        return []
    measure = heads.get(run.task.head).baselines or untuned
    baselines = []
    for baseline, predictions in measure(run, data, model, loss, encoded, held).items():
        if not predictions:
            continue
        for own in score(run, data, predictions, model):
            baselines.append(Baseline(baseline, own.name, own.value, own.split, own.n))
    return baselines
