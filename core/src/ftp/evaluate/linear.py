"""Linear models on words, and on the frozen features of a network, by scikit-learn: what a tuned network must beat.

Imports nothing heavy.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ftp import forms
from ftp.evaluate.predict import batches_of_rank, rows_at
from ftp.types import Batch, Data, Loss, Model, Row, StartedRun

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from numpy.typing import NDArray

__all__ = ["HEAD", "WORDS", "Target", "both", "on_features", "on_words"]

Target = Literal["class", "labels", "number"]
"""What a row is to get: one class, any number of labels, or a number."""

Splits = Mapping[str, "Dataset"]
"""Rows, or encoded rows, by the name of their split."""
Collate = Callable[[Sequence[Row]], Batch]

WORDS = "TF-IDF, linear model"
HEAD = "untuned, linear head"
"""What the two are called among the baselines of a run."""

ROWS_AT_MOST = 2000
"""Training rows that a linear model on features is fitted on."""
NEVER_ZERO = 1e-9
"""Added to a share of rows, so that a class that was never seen costs much and not everything."""

STRENGTHS = (1.0, 10.0, 100.0)
"""Inverse penalties on the weights of words (scikit-learn's `C`) that are tried."""
USUAL_STRENGTH = 10.0
NUM_FOLDS = 3
ROWS_COMPARED = 600
"""Training rows on which strengths are compared."""
FEWEST_ROWS_COMPARED = 12
ROWS_OF_WORDS = 20_000
"""Training rows that a linear model on words is fitted on at most."""
ROWS_TIMES_OUTPUTS = 2_000_000
"""Likewise, as each class or label is fitted by itself: about 12 s of one core."""
LETTERS_OF_WORDS = 20_000_000
"""Likewise, as long texts take long to count: about 10 s of one core."""
ROWS_WITH_RARE_WORDS = 500
"""Training rows from which on a word that only one of them has is left out."""
FEATURE_STRENGTH = 0.1
"""Inverse penalty on the weights of features, which are standardised."""


def both(
    run: StartedRun, data: Data, model: Model, loss: Loss, encoded: Splits, held: Splits, target: Target
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """What linear models on words and on the frozen network say of held-out rows, by the name of the baseline and split.

    Args:
        run: the run, for its processes, its precision and its seed.
        data: its rows.
        model: the model before training.
        loss: how rows are collated; its encoded rows hold what is right as `label`, one for each row.
        encoded: the encoded rows of all splits.
        held: held-out rows by split.
        target: what a row is to get.
    """
    splits = {split: encoded[split] for split in ("train", *held)}
    outputs = 1 if target == "number" else len(data.labels)
    return {
        WORDS: on_words(data, held, target, seed=run.settings.seed),
        HEAD: on_features(run, model, loss, splits, target, outputs),
    }


# --- words ---


def on_words(data: Data, held: Splits, target: Target, *, seed: int = 0) -> dict[str, NDArray[np.float64]]:
    """What a linear model on words and pairs of words says of held-out rows, fitted on the training rows (20,000 at most).

    Words are weighed by their log frequency and rarity (sublinear TF-IDF). The penalty on weights is the one that says the most
    of rows that were not fitted. Of a pair of texts it sees which words both have, and which only one has.

    Args:
        data: the rows of the run; the answer column of its form says what is right.
        held: held-out rows by split.
        target: what a row is to get.
        seed: of the choice among many training rows.

    Returns:
        By split `[rows, classes]` or `[rows, labels]` the probabilities, or `[rows]` the numbers; empty where there are no
        words, or all training rows say the same.
    """
    import numpy as np

    form = forms.get(data.form)
    train = data.splits["train"]
    columns = []
    for column in form.of_kind("text"):
        if not column.is_answer and column.name in (train.column_names or ()):
            columns.append(column.name)
    answers = [column.name for column in form.of_kind("class", "classes", "number") if column.is_answer]
    if not columns or not answers:
        return {}
    chosen = np.random.default_rng(seed).permutation(len(train))[: _affordable_rows(train, columns[0], len(data.labels))]
    train = train.select(chosen).select_columns([*columns, answers[0]])
    targets = _targets(train[answers[0]][:], target, len(data.labels))
    if _is_one_answer(targets):
        return {}

    words = _Words(train, columns)
    features = words.of(train)
    if features is None:
        return {}
    strength = _best_strength(features, targets, target, len(data.labels))
    model = _fit_words(features, targets, target, strength)
    by_split = {}
    for split, rows in held.items():
        by_split[split] = _answers(model, words.of(rows), target, len(data.labels))
    return by_split


def _affordable_rows(train: Dataset, column: str, outputs: int) -> int:
    """How many training rows a linear model on words can be fitted on in a few seconds."""
    few = train[: min(len(train), 200)][column]
    mean_letters = max(1, sum(len(text or "") for text in few) // max(1, len(few)))
    return min(ROWS_OF_WORDS, ROWS_TIMES_OUTPUTS // max(1, outputs), LETTERS_OF_WORDS // mean_letters)


class _Words:
    """The words of texts, or of pairs of texts, as numbers."""

    def __init__(self, train: Dataset, columns: Sequence[str]) -> None:
        """Args: columns: of a text, or of two that belong together."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.columns = columns
        # a word of one row alone says nothing of other rows, where there are many
        least_rows = 2 if len(train) >= ROWS_WITH_RARE_WORDS else 1
        self.vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=least_rows)
        texts: list[str] = []
        for column in columns:
            texts += _texts(train, column)
        try:
            self.vectorizer.fit(texts)
        except ValueError:  # no word at all: scikit-learn's "empty vocabulary"
            self.has_words = False
        else:
            self.has_words = True

    def of(self, rows: Dataset) -> Any:
        """[rows, words] sparse; None without words."""
        from scipy.sparse import hstack

        if not self.has_words:
            return None
        first = self.vectorizer.transform(_texts(rows, self.columns[0]))
        if len(self.columns) == 1:
            return first
        second = self.vectorizer.transform(_texts(rows, self.columns[1]))
        # the words of both texts, and those of one alone
        return hstack([first.minimum(second), abs(first - second)]).tocsr()


def _texts(rows: Dataset, column: str) -> list[str]:
    if column not in (rows.column_names or ()):  # a second text is optional
        return [""] * len(rows)
    return [text or "" for text in rows[column][:]]


def _best_strength(features: Any, targets: NDArray[Any], target: Target, outputs: int) -> float:
    """The strength whose fits say the most of training rows that were not fitted, by cross-validation."""
    import numpy as np

    # the rows are in random order already
    few_features = features[:ROWS_COMPARED]
    few_targets = targets[:ROWS_COMPARED]
    if len(few_targets) < FEWEST_ROWS_COMPARED:
        return USUAL_STRENGTH
    fold_of_row = np.arange(len(few_targets)) % NUM_FOLDS
    costs = dict.fromkeys(STRENGTHS, 0.0)
    for fold in range(NUM_FOLDS):
        is_held = fold_of_row == fold
        if _is_one_answer(few_targets[~is_held]):
            continue
        for strength in STRENGTHS:
            model = _fit_words(few_features[~is_held], few_targets[~is_held], target, strength)
            said = _answers(model, few_features[is_held], target, outputs)
            costs[strength] += float(_losses(said, few_targets[is_held], target).sum())
    if not any(costs.values()):
        return USUAL_STRENGTH
    return min(costs, key=costs.__getitem__)


def _fit_words(features: Any, targets: NDArray[Any], target: Target, strength: float) -> Any:
    """Each class or label against the rest, which liblinear fits some thirty times faster than all classes at once, and no
    worse; a number by ridge regression."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.multiclass import OneVsRestClassifier

    if target == "number":
        return Ridge(alpha=1 / strength).fit(features, targets)
    # a looser tolerance than usual changes the third digit of a score, and takes half of the time
    model = LogisticRegression(C=strength, solver="liblinear", tol=1e-2)
    if target == "labels" or len(np.unique(targets)) > 2:
        model = OneVsRestClassifier(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a label that all rows have, or none, has a constant answer
        return model.fit(features, targets)


# --- frozen features ---


def on_features(
    run: StartedRun, model: Model, loss: Loss, encoded: Splits, target: Target, outputs: int
) -> dict[str, NDArray[np.float64]]:
    """What a linear model on the frozen network says of held-out rows: on the mean of each row's last hidden states, before any
    training, fitted on 2,000 training rows at most.

    Args:
        run: the run, for its processes, its precision and its seed.
        model: the model before training.
        loss: how rows are collated; its encoded rows hold what is right as `label`, one for each row.
        encoded: the encoded rows of all splits.
        target: what a row is to get.
        outputs: the number of classes or labels.

    Returns:
        As `on_words` does; empty where the training rows all say the same.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    generator = np.random.default_rng(run.settings.seed)
    total = len(encoded["train"])
    chosen = np.sort(generator.choice(total, min(total, ROWS_AT_MOST), replace=False))
    train = encoded["train"].select(chosen)
    targets = np.array(train["label"][:])
    if target == "labels":
        targets = targets.astype(np.int64)
    if _is_one_answer(targets):
        return {}
    linear = LogisticRegression(max_iter=1000, C=FEATURE_STRENGTH)
    if target == "labels":
        linear = OneVsRestClassifier(LogisticRegression(C=FEATURE_STRENGTH, solver="liblinear"))
    elif target == "number":
        linear = Ridge(alpha=1 / FEATURE_STRENGTH)
    fitted = make_pipeline(StandardScaler(), linear)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as with words
        fitted.fit(features(run, model, train, loss.collate), targets)
    by_split = {}
    for split, rows in encoded.items():
        if split != "train":
            by_split[split] = _answers(fitted, features(run, model, rows, loss.collate), target, outputs)
    return by_split


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


# --- targets and answers ---


def _targets(values: Sequence[Any], target: Target, outputs: int) -> NDArray[Any]:
    """[rows] the classes or numbers; or [rows, labels] 1 where a row has a label."""
    import numpy as np

    if target != "labels":
        return np.array(values)
    table = np.zeros((len(values), outputs), dtype=np.int64)
    for row_index, labels in enumerate(values):
        table[row_index, list(labels)] = 1
    return table


def _is_one_answer(targets: NDArray[Any]) -> bool:
    """Whether all rows are to get the same."""
    return not len(targets) or bool((targets == targets[0]).all())


def _answers(model: Any, features: Any, target: Target, outputs: int) -> NDArray[np.float64]:
    """The numbers, or the probability of every class or label, of those too that no training row had."""
    import numpy as np

    if target == "number":
        numbers: NDArray[np.float64] = np.asarray(model.predict(features), dtype=np.float64)
        return numbers
    if not features.shape[0]:
        return np.zeros((0, outputs))
    with np.errstate(invalid="ignore", divide="ignore"):
        said = np.nan_to_num(np.asarray(model.predict_proba(features), dtype=np.float64))
    if target == "labels":
        return said.clip(1e-6, 1 - 1e-6)  # a probability of 0 or 1 would cost infinitely many nats where it is wrong
    probabilities = np.full((len(said), outputs), NEVER_ZERO)
    probabilities[:, model.classes_] = np.maximum(said, NEVER_ZERO)
    probabilities /= probabilities.sum(1, keepdims=True)
    return probabilities


def _losses(said: NDArray[np.float64], targets: NDArray[Any], target: Target) -> NDArray[np.float64]:
    """[rows] what answers cost: nats, or squared errors."""
    import numpy as np

    losses: NDArray[np.float64]
    if target == "number":
        losses = (said - targets) ** 2
    elif target == "labels":
        losses = -np.where(targets, np.log(said), np.log(1 - said)).mean(1)
    else:
        losses = -np.log(said[np.arange(len(said)), targets])
    return losses
