"""Linear models on features, by scikit-learn, as the weight and bias of one linear layer. Imports nothing heavy."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]
Target = Literal["class", "labels", "number"]
"""What a row is to get: one class, any number of labels, or a number."""

NUM_FOLDS = 3
LEAST_PROBABILITY = 1e-3
"""A probability counts as this at least, so that one row does not decide which fit is the best."""
SMALLEST_SPREAD = 1e-6
ITERATIONS = 200


@dataclass(frozen=True)
class Fit:
    """A linear layer.

    Attributes:
        weight: `[outputs, width] float32`.
        bias: `[outputs] float32`.
    """

    weight: Numbers
    bias: Numbers

    def logits(self, features: Numbers) -> Numbers:
        """`[rows, outputs]` for features `[rows, width]`."""
        return _numbers(features @ self.weight.T + self.bias)


def fit(
    target: Target, features: Numbers, targets: Numbers, outputs: int, strength: float, has_bias: bool = True,
    is_balanced: bool = False,
) -> Fit:
    """Fit a linear layer to rows: logistic regression of classes or labels, ridge regression of numbers.

    The features are standardised first, and the layer takes them as they are.

    Args:
        target: what `targets` are.
        features: `[rows, width] float32`.
        targets: `[rows] int` the class of each row; or `[rows, outputs]` 1 where a row has a label; or `[rows] float`.
        outputs: of the layer.
        strength: the inverse of the penalty on weights (scikit-learn's `C`); the larger, the closer to the rows.
        has_bias: whether the layer has one; without it features are scaled but not moved.
        is_balanced: classes count alike, however many rows each has (King and Zeng 2001); for other targets it changes nothing.
    """
    mean = features.mean(0) if has_bias else np.zeros(features.shape[1], np.float32)
    spread = features.std(0) + SMALLEST_SPREAD
    standardised = (features - mean) / spread
    if target == "class":
        weight, bias = _classes(standardised, targets, outputs, strength, has_bias, is_balanced)
    elif target == "labels":
        weight, bias = _labels(standardised, targets, outputs, strength, has_bias)
    else:
        weight, bias = _number(standardised, targets, strength, has_bias)
    weight = weight / spread
    return Fit(weight.astype(np.float32), (bias - weight @ mean).astype(np.float32))


def cross_validated(
    target: Target, features: Numbers, targets: Numbers, outputs: int, strength: float, has_bias: bool = True,
    is_balanced: bool = False, *, num_folds: int = NUM_FOLDS, always: int = 0,
) -> Numbers:
    """How well a fit on other rows says the target of each row: its log probability, or minus the squared error.

    Args:
        target: as in `fit`, and so are the others.
        features: rows in random order.
        targets: of these rows.
        outputs: of the layer.
        strength: the inverse of the penalty on weights.
        has_bias: whether the layer has one.
        is_balanced: whether classes count alike.
        num_folds: parts of the rows, each of which is judged by a fit on the others.
        always: so many rows at the end are in every fit, and are not judged.

    Returns:
        `[rows judged]`; minus infinity where rows are too few to say.
    """
    num_judged = len(features) - always
    fold_of_row = np.full(len(features), -1)
    fold_of_row[:num_judged] = _folds(target, targets[:num_judged], num_folds)
    scores = np.full(len(features), -np.inf)
    for fold in range(num_folds):
        is_held = fold_of_row == fold
        is_fitted = ~is_held
        if not is_held.any() or (target == "class" and len(np.unique(targets[is_fitted])) < 2):
            continue
        layer = fit(target, features[is_fitted], targets[is_fitted], outputs, strength, has_bias, is_balanced)
        scores[is_held] = _scores(target, layer.logits(features[is_held]), targets[is_held])
    return scores[:num_judged]


def _folds(target: Target, targets: Numbers, num_folds: int) -> Numbers:
    """[rows] the fold of each row; those of a class are dealt out evenly."""
    dealt = np.arange(len(targets)) % num_folds
    if target != "class":
        return dealt
    folds = np.empty(len(targets), np.int64)
    folds[np.argsort(targets, kind="stable")] = dealt
    return folds


def _classes(
    features: Numbers, targets: Numbers, outputs: int, strength: float, has_bias: bool, is_balanced: bool
) -> tuple[Numbers, Numbers]:
    """Logistic regression of classes; a class that no row has gets no weight, and a bias below all others."""
    weights, biases, classes = _logistic(features, targets, strength, has_bias, is_balanced)
    weight = np.zeros((outputs, features.shape[1]))
    bias = np.full(outputs, biases.min() - np.log(len(targets)))
    weight[classes] = weights
    bias[classes] = biases
    return weight, bias


def _labels(features: Numbers, targets: Numbers, outputs: int, strength: float, has_bias: bool) -> tuple[Numbers, Numbers]:
    """Logistic regression of each label by itself; one that all rows have, or none, gets only the log odds of its share."""
    weight = np.zeros((outputs, features.shape[1]))
    # half a row more of each kind, so that the odds are finite
    shares = (targets.sum(0) + 0.5) / (len(targets) + 1)
    bias = np.log(shares / (1 - shares))
    for label in range(outputs):
        column = targets[:, label]
        if 0 < column.sum() < len(column):
            weights, biases, _ = _logistic(features, column, strength, has_bias)
            # of two classes the difference is what a label's own logit says
            weight[label] = weights[1] - weights[0]
            bias[label] = biases[1] - biases[0]
    return weight, bias


def _number(features: Numbers, targets: Numbers, strength: float, has_bias: bool) -> tuple[Numbers, Numbers]:
    from sklearn.linear_model import Ridge

    ridge = Ridge(alpha=1 / strength, fit_intercept=has_bias).fit(features, targets)
    return ridge.coef_[None], np.array([float(ridge.intercept_)])


def _logistic(
    features: Numbers, targets: Numbers, strength: float, has_bias: bool, is_balanced: bool = False
) -> tuple[Numbers, Numbers, Numbers]:
    """Weights `[classes, width]`, biases `[classes]`, and the numbers of the classes, of which there are two at least."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # a start need not have converged: training goes on from it
        warnings.simplefilter("ignore", ConvergenceWarning)
        regression = LogisticRegression(C=strength, max_iter=ITERATIONS, fit_intercept=has_bias,
                                        class_weight="balanced" if is_balanced else None).fit(features, targets)
    weights = regression.coef_
    biases = np.broadcast_to(regression.intercept_, len(weights))
    if len(weights) == 1:  # of two classes scikit-learn gives only what speaks for the second
        weights = np.concatenate([-weights, weights]) / 2
        biases = np.concatenate([-biases, biases]) / 2
    return weights, biases, regression.classes_


def _scores(target: Target, logits: Numbers, targets: Numbers) -> Numbers:
    """[rows] how well logits say the targets, higher is better."""
    if target == "number":
        return _numbers(-((logits[:, 0] - targets) ** 2))
    if target == "labels":
        probabilities = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
        of_truth = np.where(targets > 0, probabilities, 1 - probabilities)
        return _numbers(np.log(np.maximum(of_truth, LEAST_PROBABILITY)).mean(1))
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    of_truth = shifted[np.arange(len(targets)), targets] / shifted.sum(1)
    return _numbers(np.log(np.maximum(of_truth, LEAST_PROBABILITY)))


def _numbers(values: Any) -> Numbers:
    return np.asarray(values)
