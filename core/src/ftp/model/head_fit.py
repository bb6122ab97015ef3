"""Ways to fit a new head, and the choice among them on the training rows themselves. Imports nothing heavy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ftp.model import linear_fit
from ftp.model.linear_fit import Numbers, Target

ROWS_COMPARED = 600
"""Rows on which ways of fitting are compared with one another."""
USUAL_STRENGTH = 0.01
"""The inverse penalty at which features are compared with one another."""


@dataclass(frozen=True)
class HeadFit:
    """How a new head is fitted on the training rows.

    Args:
        strengths: inverse penalties (scikit-learn's `C`) that are tried, 0.01 among them.
        num_folds: parts of the rows, each of which is judged by a fit on the others, where ways of fitting are compared.
        rows_at_most: rows that it is fitted on.
        any_layer: an encoder whose head reads the first token may end behind any layer of its upper half, where the mean of all
            tokens says more than at the last; its network then has fewer layers, or one more.
        reads_class_names: the name of each class counts as one more row of it, where names are words, rows are few, and it does
            no harm.
        is_balanced: classes count alike, however many rows each has.
        is_careful: what is usual (the last layer, a middle penalty) stays where nothing else is better by more than one standard
            error: among many ways, few rows find a best one by chance.
    """

    strengths: tuple[float, ...] = (0.01, 0.1, 1.0)
    num_folds: int = linear_fit.NUM_FOLDS
    rows_at_most: int = 2000
    any_layer: bool = False
    reads_class_names: bool = True
    is_balanced: bool = False
    is_careful: bool = False


def current() -> HeadFit:
    """The way that counts now."""
    return _WAYS[-1]


_WAYS: list[HeadFit] = [HeadFit()]  # the innermost counts


@contextlib.contextmanager
def fitting(way: HeadFit) -> Iterator[None]:
    """Within it, a new head is fitted in this way where core builds the model.

    Args:
        way: how it is fitted.
    """
    _WAYS.append(way)
    try:
        yield
    finally:
        _WAYS.pop()


@dataclass(frozen=True)
class Features:
    """What a head reads of rows, and what it should say.

    Args:
        values: `[terms, width] float32`.
        targets: `[terms, ...]`.
        num_names: so many terms at the end are of the names of the classes.
    """

    values: Numbers
    targets: Numbers
    num_names: int = 0

    def without_names(self) -> Features:
        """Those of the rows alone."""
        num_rows = len(self.values) - self.num_names
        return Features(self.values[:num_rows], self.targets[:num_rows])

    def few(self) -> Features:
        """Those that ways of fitting are compared on."""
        num_rows = len(self.values) - self.num_names
        kept = np.r_[: min(num_rows, ROWS_COMPARED), num_rows : len(self.values)]
        return Features(self.values[kept], self.targets[kept], self.num_names)


@dataclass(frozen=True)
class Fitter:
    """Fits and compares linear layers. `outputs`, `has_bias`: of the layer."""

    way: HeadFit
    target: Target
    outputs: int
    has_bias: bool

    def fit(self, features: Features, strength: float) -> linear_fit.Fit:
        """A linear layer on all terms."""
        return linear_fit.fit(self.target, features.values, features.targets, self.outputs, strength, self.has_bias,
                              self.way.is_balanced)

    def scores(self, features: Features, strength: float) -> Numbers:
        """[terms] how well fits on other rows say each, of a sample; the higher, the better."""
        few = features.few()
        return linear_fit.cross_validated(self.target, few.values, few.targets, self.outputs, strength, self.has_bias,
                                          self.way.is_balanced, num_folds=self.way.num_folds, always=few.num_names)

    def best_strength(self, features: Features) -> float:
        """The strength that suits some features."""
        scores = {strength: self.scores(features, strength) for strength in self.way.strengths}
        best = max(scores, key=lambda strength: float(scores[strength].mean()))
        if self.way.is_careful and not is_surely_better(scores[best], scores[USUAL_STRENGTH]):
            return USUAL_STRENGTH
        return best

    def best_kind(self, means: Mapping[int, Features], as_it_is: Features) -> int:
        """The layer whose means say the most, or 0 for what the head reads as it is."""
        if not means:
            return 0
        scores = {number: self.scores(features, USUAL_STRENGTH) for number, features in means.items()}
        scores[0] = self.scores(as_it_is, USUAL_STRENGTH)
        if not self.way.is_careful:
            return max(scores, key=lambda number: float(scores[number].mean()))
        best, *others = scores
        for number in others:
            if is_surely_better(scores[number], scores[best]):
                best = number
        return best

    def gains_by_names(self, features: Features) -> bool:
        """Whether the names of the classes are no harm to the fit."""
        alone = self.scores(features.without_names(), USUAL_STRENGTH)
        return not is_surely_better(alone, self.scores(features, USUAL_STRENGTH))


def is_surely_better(scores: Numbers, others: Numbers) -> bool:
    """Whether scores of the same terms are higher by more than one standard error."""
    if not (np.isfinite(scores).all() and np.isfinite(others).all()):
        return False
    differences = scores - others
    return bool(differences.mean() > differences.std() / np.sqrt(len(differences)))
