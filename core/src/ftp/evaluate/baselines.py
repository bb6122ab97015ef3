"""What a run is compared with, measured on the same held-out rows by the same plugins."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ftp import heads
from ftp.evaluate import linear
from ftp.evaluate.linear import HEAD, NEVER_ZERO, Collate, Splits
from ftp.evaluate.predict import batches_of_rank, predict, rows_at
from ftp.evaluate.scoring import score
from ftp.types import Baseline, Batch, Data, Loss, LossOut, Model, Prediction, Predictions, StartedRun

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from numpy.typing import NDArray
    from torch import Tensor

WORDS_AT_MOST = 5_000
"""Words that a linear head of tags is fitted on."""
WORD_COLUMNS = {"where", "of", "target"}
"""What a batch of core's loss of tags says of each word: its token, its row, its tag."""


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


def of_classes(held: Splits, said: Mapping[str, NDArray[np.float64]]) -> dict[str, Predictions]:
    """The likeliest class of each row as its answer.

    Args:
        said: by split `[rows, classes]` the probabilities.
    """
    import numpy as np

    predictions = {}
    for split, probabilities in said.items():
        rows = held[split]
        of_the_label = probabilities[np.arange(len(rows)), np.array(rows["label"][:], dtype=np.int64)]
        losses = -np.log(np.maximum(of_the_label, 1e-12))
        answers = [Prediction(int(row.argmax()), tuple(row.tolist())) for row in probabilities]
        predictions[split] = Predictions.of_rows(split, rows, answers, losses)
    return predictions


def words_of_tags(
    run: StartedRun, model: Model, encoded: Dataset, collate: Collate
) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
    """[words, width] the last hidden state at the first token of each word, and [words] its tag; None where the objective lays
    out words in a way of its own."""
    import numpy as np
    import torch

    states: list[NDArray[np.float32]] = []
    tags: list[NDArray[np.int64]] = []
    model.net.eval()
    with torch.no_grad(), run.accelerator.autocast():
        for part in batches_of_rank(encoded, run.settings.eval_batch_tokens):
            batch = collate(rows_at(encoded, part.indices))
            if not batch.inputs.keys() >= WORD_COLUMNS:
                return None
            states.append(_word_states(model, batch).cpu().numpy())
            tags.append(batch.inputs["target"].cpu().numpy())
    if not states:
        return None
    return np.concatenate(states), np.concatenate(tags)


def _word_states(model: Model, batch: Batch) -> Tensor:
    """[words, width] float32: the last hidden state at the first token of each word."""
    from ftp.net import heads as network_heads
    from ftp.net import layout

    states = layout.real(batch.inputs, network_heads.hidden(model.net, batch.inputs).float())
    words: Tensor = states[batch.inputs["where"]]
    return words


def linear_tags(
    run: StartedRun, data: Data, model: Model, loss: Loss, encoded: Splits, held: Splits
) -> dict[str, Predictions]:
    """Logistic regression of the tag of each word on the frozen network, fitted on 5,000 words of the training rows at most."""
    import numpy as np
    import torch
    from torch.nn.functional import cross_entropy

    from ftp.model import linear_fit

    generator = np.random.default_rng(run.settings.seed)
    order = generator.permutation(len(encoded["train"]))[: linear.ROWS_AT_MOST]
    words = words_of_tags(run, model, encoded["train"].select(order), loss.collate)
    if words is None:
        return {}
    chosen = generator.permutation(len(words[1]))[:WORDS_AT_MOST]
    states, tags = words[0][chosen], words[1][chosen]
    if len(np.unique(tags)) < 2:
        return {}
    layer = linear_fit.fit("class", states, tags, len(data.labels), linear.FEATURE_STRENGTH)
    device = run.accelerator.device
    weight = torch.from_numpy(layer.weight).to(device)
    bias = torch.from_numpy(layer.bias).to(device)

    def forward(batch: Batch) -> LossOut:
        logits = _word_states(model, batch) @ weight.T + bias
        losses = cross_entropy(logits, batch.inputs["target"], reduction="none")
        counts = torch.zeros(batch.rows, device=device).index_add_(0, batch.inputs["of"], torch.ones_like(losses))
        by_row = torch.zeros_like(counts).index_add_(0, batch.inputs["of"], losses)
        return LossOut(losses.sum(), row_losses=by_row, row_counts=counts, outputs=logits)

    return {split: predict(run, model, loss, rows, encoded[split], split, forward) for split, rows in held.items()}


def untuned(
    run: StartedRun, data: Data, model: Model, loss: Loss, encoded: Splits, held: Splits
) -> dict[str, dict[str, Predictions]]:
    """The model before any training."""
    return {"untuned": {split: predict(run, model, loss, rows, encoded[split], split) for split, rows in held.items()}}


def class_baselines(
    run: StartedRun, data: Data, model: Model, loss: Loss, encoded: Splits, held: Splits
) -> dict[str, dict[str, Predictions]]:
    """Always the most frequent class; a linear model on words; and a linear head on the untuned network."""
    linear_models = linear.both(run, data, model, loss, encoded, held, "class")
    return {
        "majority class": majority(data, held),
        **{name: of_classes(held, by_split) for name, by_split in linear_models.items()},
    }


def tag_baselines(
    run: StartedRun, data: Data, model: Model, loss: Loss, encoded: Splits, held: Splits
) -> dict[str, dict[str, Predictions]]:
    """The tag that each word had most often; a linear head on the untuned network; and the model before any training."""
    return {
        "each word's usual tag": word_memory(data, held),
        HEAD: linear_tags(run, data, model, loss, encoded, held),
        **untuned(run, data, model, loss, encoded, held),
    }


def measure_baselines(
    run: StartedRun, data: Data, model: Model, loss: Loss, encoded: Splits, held: Splits
) -> tuple[dict[str, Mapping[str, Predictions]], list[Baseline]]:
    """What a run is compared with: its answers by name and split, and their scores. None with `--no-baselines`."""
    if run.settings.baselines:
        run.log.event("stage", doing="measuring baselines")
    answered = predict_baselines(run, data, model, loss, encoded, held)
    return answered, score_baselines(run, data, model, answered)


def predict_baselines(
    run: StartedRun, data: Data, model: Model, loss: Loss, encoded: Splits, held: Splits
) -> dict[str, Mapping[str, Predictions]]:
    """The answers of what a run is compared with, by name and split: what the spec of its head says, else the untuned model."""
    if not run.settings.baselines or run.settings.streaming:
        return {}
    measure = heads.get(run.task.head).baselines or untuned
    answered = {}
    for baseline, predictions in measure(run, data, model, loss, encoded, held).items():
        if predictions:
            answered[baseline] = predictions
    return answered


def score_baselines(
    run: StartedRun, data: Data, model: Model, answered: Mapping[str, Mapping[str, Predictions]]
) -> list[Baseline]:
    """The scores of what `predict_baselines` answered."""
    baselines = []
    for baseline, predictions in answered.items():
        for own in score(run, data, predictions, model):
            baselines.append(Baseline(baseline, own.name, own.value, own.split, own.n))
    return baselines
