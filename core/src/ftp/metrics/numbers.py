"""How well numbers agree with the right ones, by SciPy. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence


def pearson(truth: Sequence[float], numbers: Sequence[float]) -> float:
    """Pearson's correlation; 0 where either is constant, so that it says nothing.

    Args:
        truth: the right numbers.
        numbers: the answers, as many.
    """
    from scipy.stats import pearsonr

    return 0.0 if is_constant(truth, numbers) else float(pearsonr(truth, numbers).statistic)


def spearman(truth: Sequence[float], numbers: Sequence[float]) -> float:
    """Spearman's rank correlation; 0 where either is constant, so that it says nothing.

    Args:
        truth: the right numbers.
        numbers: the answers, as many.
    """
    from scipy.stats import spearmanr

    return 0.0 if is_constant(truth, numbers) else float(spearmanr(truth, numbers).statistic)


def is_constant(truth: Sequence[float], numbers: Sequence[float]) -> bool:
    """Whether either of two lists has one value alone."""
    return len(set(truth)) < 2 or len(set(numbers)) < 2
