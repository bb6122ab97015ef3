"""A learning curve fitted to scores at growing numbers of rows, with the band that its points leave open. Pure numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ftp.advise.types import Curve, Point

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EXPONENTS = tuple(0.1 * 1.2**step for step in range(17))
"""Values of c that are tried: 0.1 to 1.8."""
USUAL_EXPONENT = 0.5
EXPONENT_SPREAD = 0.7
"""Of log c around its usual value: what a few points cannot say is taken from here."""
SMALLEST_ERROR = 1e-3


def fit_curve(look: str, points: Sequence[Point], drawn: Sequence[Sequence[float]], is_share: bool, goal: str) -> Curve | None:
    """The curve through points, and through each draw of them; None where there are fewer than three.

    Args:
        look: what was fitted.
        points: at growing numbers of rows.
        drawn: values at these numbers, drawn again.
        is_share: a score is 1 at most (an accuracy), so that no curve ends above it.
        goal: `max` or `min`.
    """
    import numpy as np

    if len(points) < 3:
        return None
    rows = np.array([point.rows for point in points], dtype=float)
    errors = np.array([max(point.error, SMALLEST_ERROR) for point in points])
    values = np.array([point.value for point in points])
    sign = 1.0 if goal == "max" else -1.0
    limit: float | None = None
    if is_share:
        limit = 1.0 if goal == "max" else 0.0
    parameters = _fit(rows, values, errors, sign, limit)
    draws = []
    for of_draw in drawn:
        if np.isfinite(of_draw).all():
            draws.append(_fit(rows, np.asarray(of_draw), errors, sign, limit))
    return Curve(look, tuple(points), *parameters, draws=tuple(draws))


def _fit(
    rows: NDArray[np.float64], values: NDArray[np.float64], errors: NDArray[np.float64], sign: float, limit: float | None
) -> tuple[float, float, float]:
    """(a, b, c) of the least squares, weighed by errors: for each c a line in n^-c, which never falls with more rows.

    Args:
        sign: -1 where lower values are better.
        limit: of a, in the direction in which values are better; None: there is none.
    """

    best = (math.inf, 0.0, 0.0, USUAL_EXPONENT)
    for exponent in EXPONENTS:
        steps = rows**-exponent
        weights = errors**-2.0
        mean_step = float((weights * steps).sum() / weights.sum())
        mean_value = float((weights * values).sum() / weights.sum())
        spread = float((weights * (steps - mean_step) ** 2).sum())
        slope = float((weights * (steps - mean_step) * (values - mean_value)).sum()) / max(spread, 1e-12)
        # more rows make nothing worse
        b = max(0.0, -slope * sign) * sign
        a = mean_value + b * mean_step
        if limit is not None and a * sign > limit * sign:
            # the line that ends there, and fits best otherwise
            a = limit
            b = float((weights * steps * (a - values)).sum() / (weights * steps**2).sum())
            b = max(0.0, b * sign) * sign
        misfit = float((((values - a + b * steps) / errors) ** 2).sum())
        misfit += (math.log(exponent / USUAL_EXPONENT) / EXPONENT_SPREAD) ** 2
        if misfit < best[0]:
            best = (misfit, a, b, exponent)
    return best[1:]


def sizes_up_to(num_rows: int, fewest: int) -> list[int]:
    """Growing numbers of rows, each twice the one before, the last being all of them.

    Args:
        num_rows: all rows.
        fewest: rows of the smallest at least.
    """
    sizes = [num_rows]
    while sizes[0] // 2 >= fewest and len(sizes) < 6:
        sizes.insert(0, sizes[0] // 2)
    return sizes


def drawn_values(by_size: Sequence[Sequence[float]], between_folds: Sequence[float], seed: int) -> list[list[float]]:
    """Values of all sizes, drawn again: rows drawn with replacement are the same ones at each size; which rows were fitted is
    another source, that is drawn for each size by itself.

    Args:
        by_size: for each size the values on drawn rows, in the order of the draws.
        between_folds: for each size the standard error of its value that folds show.
        seed: of the draws.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    table = np.asarray(by_size)  # [sizes, draws]
    of_rows = np.nanstd(table, axis=1)
    folds = np.asarray(between_folds)
    of_fits = np.sqrt(np.maximum(0.0, folds**2 - of_rows**2))
    jitter = generator.normal(size=table.shape) * of_fits[:, None]
    drawn = table + jitter
    return [column.tolist() for column in drawn.T]
