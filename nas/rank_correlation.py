"""How well one order agrees with another: Spearman's rho and Kendall's tau-b, with bootstrap intervals.

Pure functions of arrays. An interval is that of percentiles over resampled points (Efron, "Bootstrap methods", 1979).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
RESAMPLES = 1000
CONFIDENCE = 0.95
_BLOCK = 100
"""Resamples that are computed at a time."""


@dataclass(frozen=True)
class Interval:
    """A figure with the limits between which it lies with 95 % confidence; NaN where it is not defined."""

    value: float
    low: float
    high: float


def spearman(x: ArrayLike, y: ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Return Spearman's rank correlation of x [N] and y [N]; equal values share their mean rank."""
    places = [_Below(np.asarray(each, dtype=np.float64)) for each in (x, y)]

    def of(weights: Array) -> Array:
        ranks = [place.ranks(weights) for place in places]
        return _pearson(ranks[0], ranks[1], weights)

    return _interval(of, len(places[0].below), seed, resamples)


def kendall(x: ArrayLike, y: ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Return Kendall's tau-b of x [N] and y [N], in which pairs that are equal in x or y count as neither."""
    a, b = (np.sign(np.subtract.outer(each, each)) for each in (np.asarray(x, float), np.asarray(y, float)))
    both, first, second = a * b, a * a, b * b

    def of(weights: Array) -> Array:
        concordant, xs, ys = (((weights @ pairs) * weights).sum(1) for pairs in (both, first, second))
        with np.errstate(invalid="ignore", divide="ignore"):
            return concordant / np.sqrt(xs * ys)

    return _interval(of, len(a), seed, resamples)


class _Below:
    """Which values lie below which, so that ranks of resampled points are sums of weights."""

    def __init__(self, values: Array) -> None:
        self.below = np.greater.outer(values, values).astype(np.float64)
        self._equal = np.equal.outer(values, values).astype(np.float64)

    def ranks(self, weights: Array) -> Array:
        """Return the mean rank of each point [R, N] where point j stands weights[r, j] times."""
        return weights @ self.below.T + (weights @ self._equal.T + 1) / 2


def _pearson(x: Array, y: Array, weights: Array) -> Array:
    """Return the correlation of weighted points in each row [R]."""
    total = weights.sum(1, keepdims=True)
    x, y = (each - (weights * each).sum(1, keepdims=True) / total for each in (x, y))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (weights * x * y).sum(1) / np.sqrt((weights * x * x).sum(1) * (weights * y * y).sum(1))


def _interval(of: Callable[[Array], Array], count: int, seed: int, resamples: int) -> Interval:
    """Return what `of` makes of all points, and its quantiles over resamples: it maps weights [R, N] to [R] figures."""
    value = float(of(np.ones((1, count)))[0]) if count > 1 else float("nan")
    if not np.isfinite(value) or not resamples:
        return Interval(value, float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    found: list[Array] = []
    for begin in range(0, resamples, _BLOCK):
        block = min(_BLOCK, resamples - begin)
        weights = rng.multinomial(count, np.full(count, 1 / count), size=block).astype(np.float64)
        found.append(of(weights))
    every = np.concatenate(found)
    every = every[np.isfinite(every)]
    low, high = np.quantile(every, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]) if len(every) else (np.nan, np.nan)
    return Interval(value, float(low), float(high))
