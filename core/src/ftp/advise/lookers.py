"""Who answers rows by simple means for a look: the baselines of a head, fitted on the other folds.

Heavy: reads rows through a network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ftp import heads
from ftp.advise.pool import ANSWERED, HELD, Pool
from ftp.data.encode import encode
from ftp.errors import UserError
from ftp.evaluate import baselines, linear
from ftp.evaluate.linear import HEAD, WORDS
from ftp.model import linear_fit
from ftp.types import Loss, Model, Predictions, StartedRun

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from numpy.typing import NDArray

FEATURE_ROWS = 2000
"""Rows that are read through the network at most."""
TOKENS_TIMES_WEIGHTS = 5e12
"""Likewise: 200,000 tokens of a network of 25 million weights, about 15 s of one core."""
FEWEST_FEATURE_ROWS = 200
STRENGTHS = (0.01, 0.1, 1.0)
"""Inverse penalties (scikit-learn's `C`) of a linear head that are tried."""
ROWS_COMPARED = 600
"""Rows on which they are compared."""
OTHER_FOLDS = 2
"""Folds that are answered where the network reads rows anew for each."""
OTHER_ROWS = 600
"""Rows of the pool that are then taken at most."""


class Looker(Protocol):
    """What answers the rows of a fold by simple means."""

    folds: Sequence[int]
    """Those that it answers."""

    def names(self) -> list[str]:
        """The names of what it has, the simplest first."""

    def answer(self, name: str, fold: int, num_rows: int | None) -> tuple[NDArray[np.int64], Predictions] | None:
        """The rows of the fold that it answers, and what it answers; None where it cannot.

        Args:
            name: one of `names`.
            fold: the fold.
            num_rows: rows of the other folds that are fitted; None: all.
        """

    def num_fitted(self, name: str, fold: int) -> int:
        """How many rows of the other folds there are to be fitted."""


def looker_for(run: StartedRun, pool: Pool, model: Model | None, loss: Loss | None) -> Looker:
    """What suits the head: classes are fitted on features that are read once; all else as a run measures its baselines."""
    head = heads.get(run.task.head)
    if head.probe == "class" and head.picks_class_of == "row":
        return ClassLooker(run, pool, model, loss)
    if model is None or loss is None:
        return NothingToLookAt()
    return HeadLooker(run, pool, model, loss)


# --- classes ---


class ClassLooker:
    """Classes of rows: the most frequent one, words, and a linear head on features that the network is asked for once."""

    def __init__(self, run: StartedRun, pool: Pool, model: Model | None, loss: Loss | None) -> None:
        import numpy as np

        self.run = run
        self.pool = pool
        self.folds: Sequence[int] = range(pool.num_folds)
        self.num_classes = len(pool.data.labels)
        self.labels = np.asarray(pool.rows["label"][:], dtype=np.int64)
        self.features: NDArray[np.float32] | None = None
        self.has_features = np.zeros(len(pool.rows), dtype=bool)
        self.strength = 0.0
        if model is not None and loss is not None:
            self._read_features(model, loss)

    def names(self) -> list[str]:
        names = ["majority class", WORDS]
        return names if self.features is None else [*names, HEAD]

    def num_fitted(self, name: str, fold: int) -> int:
        rows = self.pool.fitted(fold)
        return int(self.has_features[rows].sum()) if name == HEAD else len(rows)

    def answer(self, name: str, fold: int, num_rows: int | None) -> tuple[NDArray[np.int64], Predictions] | None:
        if name == HEAD:
            return self._answer_by_head(fold, num_rows)
        data = self.pool.split(fold, num_rows)
        held = {HELD: data.splits[HELD]}
        if name == WORDS:
            probabilities = linear.on_words(data, held, "class", seed=self.run.settings.seed)
            by_split = baselines.of_classes(held, probabilities)
        else:
            by_split = baselines.majority(data, held)
        return (self.pool.held(fold), by_split[HELD]) if HELD in by_split else None

    def _read_features(self, model: Model, loss: Loss) -> None:
        """Read rows through the network, those that are in random order first."""
        import numpy as np

        chosen = self.pool.order[:FEATURE_ROWS]
        encoded = encode(self.pool.rows.select(chosen), loss.encode_to_score, HELD, key=loss.key)
        affordable = _num_affordable(model, np.asarray(encoded["length"][:]))
        # the order is random, with classes in turn: its beginning is a fair sample
        encoded = encoded.select(range(min(len(encoded), affordable)))
        read = linear.features(self.run, model, encoded, loss.collate)
        row_of = chosen[np.asarray(encoded["row"][:], dtype=np.int64)]
        self.features = np.zeros((len(self.pool.rows), read.shape[1]), dtype=np.float32)
        self.features[row_of] = read
        self.has_features[row_of] = True

        # the penalty that says the most of rows that were not fitted
        few = row_of[:ROWS_COMPARED]
        scores = {}
        for strength in STRENGTHS:
            of_rows = linear_fit.cross_validated(
                "class", self.features[few], self.labels[few], self.num_classes, strength)
            scores[strength] = float(of_rows.mean())
        self.strength = max(scores, key=scores.__getitem__)

    def _answer_by_head(self, fold: int, num_rows: int | None) -> tuple[NDArray[np.int64], Predictions] | None:
        import numpy as np

        if self.features is None:
            return None
        fitted = self.pool.fitted(fold)
        fitted = fitted[self.has_features[fitted]][:num_rows]
        held = self.pool.held(fold)
        held = held[self.has_features[held]]
        # of one class there is nothing to tell apart
        if len(np.unique(self.labels[fitted])) < 2 or not len(held):
            return None
        layer = linear_fit.fit("class", self.features[fitted], self.labels[fitted], self.num_classes, self.strength)
        logits = layer.logits(self.features[held]).astype(np.float64)
        probabilities = np.exp(logits - logits.max(1, keepdims=True))
        probabilities /= probabilities.sum(1, keepdims=True)
        rows = {HELD: self.pool.rows.select(held)}
        return held, baselines.of_classes(rows, {HELD: probabilities})[HELD]


def _num_affordable(model: Model, lengths: NDArray[Any]) -> int:
    """How many rows a network reads in seconds, the first of some; never fewer than a few hundred.

    Args:
        model: the network.
        lengths: `[rows]` tokens of each.
    """
    import numpy as np

    # what a pass costs is tokens times weights, so that a large network reads fewer rows in the same time
    weights = sum(weight.numel() for weight in model.net.parameters())
    num_rows = int(np.searchsorted(np.cumsum(lengths), TOKENS_TIMES_WEIGHTS / weights))
    return max(FEWEST_FEATURE_ROWS, num_rows)


# --- any other head ---


class HeadLooker:
    """The baselines of a head as a run measures them, on a few folds, as the network reads rows anew for each."""

    def __init__(self, run: StartedRun, pool: Pool, model: Model, loss: Loss) -> None:
        import numpy as np

        self.run = run
        self.pool = pool
        self.model = model
        self.loss = loss
        self.folds: Sequence[int] = range(OTHER_FOLDS)
        drawn = pool.order[:OTHER_ROWS]
        self.encoded = encode(pool.rows.select(drawn), loss.encode_to_score, HELD, key=loss.key)
        # a row may be several windows
        places = np.asarray(self.encoded["row"][:], dtype=np.int64)
        lengths = np.bincount(places, np.asarray(self.encoded["length"][:]), minlength=len(drawn))
        self.row_of_encoded = drawn[places]
        self.chosen = np.sort(drawn[: _num_affordable(model, lengths)])
        self.measured: dict[tuple[int, int | None], Mapping[str, Mapping[str, Predictions]]] = {}

    def names(self) -> list[str]:
        return [name for name, by_split in self._measure(0, None).items() if ANSWERED in by_split]

    def num_fitted(self, name: str, fold: int) -> int:
        return len(self._fitted(fold, None))

    def answer(self, name: str, fold: int, num_rows: int | None) -> tuple[NDArray[np.int64], Predictions] | None:
        predictions = self._measure(fold, num_rows).get(name, {}).get(ANSWERED)
        return None if predictions is None else (self._held(fold), predictions)

    def _fitted(self, fold: int, num_rows: int | None) -> NDArray[np.int64]:
        import numpy as np

        rows = self.pool.fitted(fold)
        return rows[np.isin(rows, self.chosen)][:num_rows]

    def _held(self, fold: int) -> NDArray[np.int64]:
        import numpy as np

        rows = self.pool.held(fold)
        return rows[np.isin(rows, self.chosen)]

    def _measure(self, fold: int, num_rows: int | None) -> Mapping[str, Mapping[str, Predictions]]:
        """What baselines answer to a fold; once for each, as all of them come together."""
        key = (fold, num_rows)
        if key not in self.measured:
            rows_of_split = self._cut(self._fitted(fold, num_rows))
            rows_of_split[ANSWERED] = self._held(fold)
            encoded = {split: self._encoded_of(rows) for split, rows in rows_of_split.items()}
            splits = {split: self.pool.rows.select(rows) for split, rows in rows_of_split.items()}
            held = {split: rows for split, rows in splits.items() if split != "train"}
            data = dataclasses.replace(self.pool.data, splits=splits, domains={})
            self.measured[key] = baselines.predict_baselines(self.run, data, self.model, self.loss, encoded, held)
        return self.measured[key]

    def _cut(self, fitted: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """Rows of train and of validation by split; no validation where rows are too few to cut one."""
        # a baseline that chooses something by validation rows (thresholds, for example) is not to see those that it answers
        try:
            train, validation = self.pool.cut(fitted)
        except UserError:
            return {"train": fitted}
        return {"train": train, "validation": validation}

    def _encoded_of(self, rows: NDArray[np.int64]) -> Dataset:
        """The encoded rows of rows of the pool, numbered by their places among these."""
        import numpy as np

        # windows of one row follow one another, as where rows are encoded for a run
        place_of_row = {int(row): place for place, row in enumerate(rows)}
        chosen = [index for index, row in enumerate(self.row_of_encoded.tolist()) if row in place_of_row]
        chosen.sort(key=lambda index: place_of_row[int(self.row_of_encoded[index])])
        places = np.array([place_of_row[int(self.row_of_encoded[index])] for index in chosen], dtype=np.int64)
        return self.encoded.select(chosen).remove_columns("row").add_column("row", places)


class NothingToLookAt:
    """Without a model there is nothing that answers such rows."""

    folds: Sequence[int] = ()

    def names(self) -> list[str]:
        return []

    def num_fitted(self, name: str, fold: int) -> int:
        return 0

    def answer(self, name: str, fold: int, num_rows: int | None) -> tuple[NDArray[np.int64], Predictions] | None:
        return None
