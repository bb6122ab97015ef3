"""What can be had without training a network: the baselines of the head, cross-fitted, the best of them at growing sizes.

Heavy: reads rows through the network where a model is at hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ftp import heads
from ftp.advise.comparison import ahead_in, at
from ftp.advise.curve import drawn_values, fit_curve, sizes_up_to
from ftp.advise.pool import HELD, Pool
from ftp.advise.scores import LOSS, Scorer, metric_of
from ftp.advise.started import started
from ftp.advise.types import Curve, Looks, Metric, Outcome, Point, Situation
from ftp.data.encode import encode
from ftp.errors import PluginError, UserError
from ftp.evaluate import baselines, linear
from ftp.evaluate.linear import HEAD, WORDS
from ftp.model import linear_fit
from ftp.types import Data, Loss, Model, Predictions, Score, StartedRun

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
CURVE_DRAWS = 60
FEWEST_CURVE_ROWS = 16
ROWS_A_CLASS = 2
"""Rows of the smallest size of a curve for each class, at least."""

Tell = Callable[[str], None]


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


def take(situation: Situation, pool: Pool, tell: Tell = lambda message: None) -> Looks:
    """All looks at the rows of a situation.

    Args:
        situation: the rows and their plugins.
        pool: the same rows in folds.
        tell: is given a line on what is being done.
    """
    began = time.perf_counter()
    with started(situation) as run:
        model, loss = _model_of(run, situation, tell)
        looker = _looker_for(run, situation, pool, model, loss)
        scorer = Scorer(run, pool, model)
        entries: dict[str, Outcome] = {}
        metric: Metric | None = None
        for name in looker.names():
            tell(f"{name}, cross-fitted")
            outcome = _cross_fitted(looker, name, looker.folds)
            if outcome is None:
                continue
            scores = scorer.scores(outcome)
            # answers of pilots are compared without their networks
            is_raced = situation.question.budget_seconds > 0
            metric = metric or metric_of(situation, _without_model(scorer, outcome) if is_raced else scores)
            entries[name] = _with_scores(outcome, {own.name: own.value for own in scores})
        metric = metric or metric_of(situation, [])
        has_own_baselines = heads.get(situation.prepared.task.head).baselines is not None
        # a network whose head is new answers by chance: nobody is to keep it as it is
        if not has_own_baselines and model is not None and model.fresh:
            entries = {}
        best = _best(metric, entries)
        simplest = _simplest(pool, entries)
        curve = None
        ahead = None
        if best and simplest and best != simplest:
            compared = ahead_in(scorer, metric, entries[best], entries[simplest], situation.question.seed)
            ahead = (compared.value, compared.low, compared.high) if compared.rows else None
        # without baselines of its own a head has the untuned network alone, which no rows make better
        if best and best != simplest and has_own_baselines:
            tell(f"{best}, at growing numbers of rows")
            curve = _curve(looker, scorer, metric, best, situation)
    return Looks(metric, entries, best, simplest, ahead, curve, time.perf_counter() - began)


def _model_of(run: StartedRun, situation: Situation, tell: Tell) -> tuple[Model | None, Loss | None]:
    """The network as it is, and how it reads rows; None where no model is at hand, which is told."""
    tell("loading the model")
    try:
        model: Model = run.hooks.one("build_model", run=run, data=situation.data)
        model.net.to(run.accelerator.device)
        loss: Loss = run.hooks.one("make_loss", run=run, data=situation.data, model=model)
    except UserError as error:
        run.tell(f"no look through a network: {error.problems[0].what}")
        return None, None
    if loss.extra is not None:
        loss.extra.to(run.accelerator.device)
    return model, loss


def _looker_for(
    run: StartedRun, situation: Situation, pool: Pool, model: Model | None, loss: Loss | None
) -> Looker:
    """What suits the head: classes are fitted on features that are read once; all else as a run measures its baselines."""
    head = heads.get(situation.prepared.task.head)
    if head.probe == "class" and head.picks_class_of == "row":
        return ClassLooker(run, pool, model, loss)
    if model is None or loss is None:
        return NothingToLookAt()
    return HeadLooker(run, pool, model, loss)


def _cross_fitted(looker: Looker, name: str, folds: Sequence[int], num_rows: int | None = None) -> Outcome | None:
    """One look at all folds."""
    import numpy as np

    began = time.perf_counter()
    rows: list[NDArray[np.int64]] = []
    losses: list[NDArray[np.float64]] = []
    answers = []
    for fold in folds:
        answered = looker.answer(name, fold, num_rows)
        if answered is None:
            return None
        rows.append(answered[0])
        losses.append(np.asarray(answered[1].losses, dtype=np.float64))
        answers += list(answered[1].answers)
    if not rows:
        return None
    num_fitted = looker.num_fitted(name, folds[0])
    return Outcome(name, np.concatenate(rows), np.concatenate(losses), answers, seconds=time.perf_counter() - began,
                   num_train_rows=num_fitted if num_rows is None else num_rows, folds=tuple(folds))


def _without_model(scorer: Scorer, outcome: Outcome) -> list[Score]:
    """The scores that answers alone have; none where a plugin asks for more (the tokenizer, for example)."""
    try:
        return Scorer(scorer.run, scorer.pool).scores(outcome)
    except (PluginError, UserError):
        return []


def _with_scores(outcome: Outcome, scores: Mapping[str, float]) -> Outcome:
    import dataclasses

    return dataclasses.replace(outcome, scores=scores)


def _best(metric: Metric, entries: Mapping[str, Outcome]) -> str:
    """The best look, the simpler of two that are equal."""
    best = ""
    for name, outcome in entries.items():
        value = outcome.scores.get(metric.name)
        if value is None or value != value:
            continue
        if not best or metric.ahead(value, entries[best].scores[metric.name]) > 0:
            best = name
    return best


def _simplest(pool: Pool, entries: Mapping[str, Outcome]) -> str:
    """The first look, where it gives all rows of a fold the same answer: a head names its simplest baseline first."""
    first = next(iter(entries), "")
    if not first or len(entries) < 2:
        return ""
    outcome = entries[first]
    answer_of_fold: dict[int, object] = {}
    for fold, prediction in zip(pool.fold_of_row[outcome.rows].tolist(), outcome.answers, strict=True):
        if answer_of_fold.setdefault(fold, prediction.answer) != prediction.answer:
            return ""
    return first


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
        return [name for name, by_split in self._measure(0, None).items() if HELD in by_split]

    def num_fitted(self, name: str, fold: int) -> int:
        return len(self._fitted(fold, None))

    def answer(self, name: str, fold: int, num_rows: int | None) -> tuple[NDArray[np.int64], Predictions] | None:
        predictions = self._measure(fold, num_rows).get(name, {}).get(HELD)
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
            fitted = self._fitted(fold, num_rows)
            held = self._held(fold)
            encoded = {"train": self._encoded_of(fitted), HELD: self._encoded_of(held)}
            rows = {HELD: self.pool.rows.select(held)}
            data = Data({"train": self.pool.rows.select(fitted), **rows}, self.pool.data.form, self.pool.data.labels)
            self.measured[key] = baselines.predict_baselines(self.run, data, self.model, self.loss, encoded, rows)
        return self.measured[key]

    def _encoded_of(self, rows: NDArray[np.int64]) -> Dataset:
        """The encoded rows of rows of the pool, numbered by their places among these."""
        import numpy as np

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


# --- the learning curve ---


def _curve(looker: Looker, scorer: Scorer, metric: Metric, name: str, situation: Situation) -> Curve | None:
    """The score of one look at growing numbers of rows, fitted."""
    import numpy as np

    fewest = max(FEWEST_CURVE_ROWS, ROWS_A_CLASS * len(situation.data.labels))
    num_fitted = min(looker.num_fitted(name, fold) for fold in looker.folds)
    outcomes = {}
    for size in sizes_up_to(num_fitted, fewest):
        outcome = _cross_fitted(looker, name, looker.folds, size)
        if outcome is not None:
            outcomes[size] = outcome
    points = []
    by_size = []
    between_folds = []
    generator = np.random.default_rng(situation.question.seed)
    draws: list[NDArray[np.int64]] = []
    for size, outcome in outcomes.items():
        num_rows = len(outcome.rows)
        draws = draws or [generator.integers(num_rows, size=num_rows) for _ in range(CURVE_DRAWS)]
        drawn = [scorer.value(metric, outcome, chosen) for chosen in draws]
        error = _error_between_folds(looker, scorer, metric, outcome)
        by_size.append(drawn)
        between_folds.append(error)
        # a score of 1 has an error too: one row more or less
        points.append(Point(size, scorer.value(metric, outcome), max(error, float(np.nanstd(drawn)), 1 / num_rows)))
    values = [point.value for point in points]
    if len(points) < 3 or not np.isfinite(values).all():
        return None
    is_share = metric.name != LOSS and all(0 <= value <= 1 for value in values) and metric.goal == "max"
    drawn_again = drawn_values(by_size, between_folds, situation.question.seed)
    return fit_curve(name, points, drawn_again, is_share, metric.goal)


def _error_between_folds(looker: Looker, scorer: Scorer, metric: Metric, outcome: Outcome) -> float:
    """The standard error of a score that its folds show; 0 where they are too few to say."""
    import numpy as np

    fold_of_row = scorer.pool.fold_of_row[outcome.rows]
    values = []
    for fold in looker.folds:
        of_fold = scorer.value(metric, at(outcome, np.flatnonzero(fold_of_row == fold)))
        if np.isfinite(of_fold):
            values.append(of_fold)
    if len(values) < 3:
        return 0.0
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))
