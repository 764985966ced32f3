"""Which zero-cost proxies deserve trust: their rank correlation with accuracies, overall and at a like size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.macs_bands import macs_bands
from nas.proxy_scores import LEAST, Array, Population, ProxyScores
from nas.quantities import short
from nas.rank_correlation import Interval, kendall, spearman

OVERALL = "all"
RETRAINED = "accuracy, other seed"
"""The ceiling: how well a training ranks networks that are trained again."""


@dataclass(frozen=True)
class RankRow:
    """One ranking of one band of a population."""

    population: str
    proxy: str
    """A proxy's kind, or one of several metrics of it."""
    band: str
    """`all`, or the MACs from and to."""
    networks: int
    """Networks that have a score."""
    failed: int
    spearman: Interval
    kendall: Interval
    cpu_ms: float | None
    """CPU milliseconds a network; None where the row is no proxy of its own."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name; intervals as value, low and high."""
        figures = {
            f"{name}{end}": number
            for name, interval in (("spearman", self.spearman), ("kendall", self.kendall))
            for end, number in (("", interval.value), ("_low", interval.low), ("_high", interval.high))
        }
        keys = ("population", "proxy", "band", "networks", "failed", "cpu_ms")
        return {key: getattr(self, key) for key in keys} | figures


def rank_rows(population: Population, scored: Sequence[ProxyScores], bands: int) -> list[RankRow]:
    """Return a row for each ranking and band, best Spearman overall first; bands hold equally many networks.

    bands:  1 for none besides `all`.
    """
    groups = [(OVERALL, np.ones(len(population.macs), dtype=bool)), *_bands(population.macs, bands)]
    found: list[tuple[float, list[RankRow]]] = []
    for each in scored:
        for name, values, own in _rankings(each, population.macs):
            rows = [
                _row(population, name, band, values, inside, each.cpu_ms if own else None) for band, inside in groups
            ]
            merit = rows[0].spearman.value
            found.append((-merit if math.isfinite(merit) else math.inf, rows))
    found.sort(key=lambda pair: pair[0])
    return [*_ceiling(population), *(row for _, rows in found for row in rows)]


def _rankings(scored: ProxyScores, macs: Array) -> list[tuple[str, Array, bool]]:
    """Return the ranking that a proxy gives, and each of its metrics where it has several."""
    whole = (scored.kind, scored.ranking(macs), True)
    return [whole, *((name, column, False) for name, column in scored.columns.items() if len(scored.columns) > 1)]


def _row(
    population: Population, name: str, band: str, values: Array, inside: NDArray[np.bool_], cpu_ms: float | None
) -> RankRow:
    known = inside & ~np.isnan(values)
    accuracy, scores = population.accuracy[known], values[known]
    count = len(scores)
    nothing = Interval(math.nan, math.nan, math.nan)
    rho, tau = (spearman(scores, accuracy), kendall(scores, accuracy)) if count >= LEAST else (nothing, nothing)
    return RankRow(population.name, name, band, count, int(inside.sum()) - count, rho, tau, cpu_ms)


def _ceiling(population: Population) -> list[RankRow]:
    if population.repeated is None:
        return []
    first, again = population.repeated
    rho, tau = spearman(again, first), kendall(again, first)
    return [RankRow(population.name, RETRAINED, OVERALL, len(first), 0, rho, tau, None)]


def _bands(macs: Array, count: int) -> list[tuple[str, NDArray[np.bool_]]]:
    """Return bands of equally many networks, by their MACs, named by the least and the largest in them."""
    if count < 2:
        return []
    found: list[tuple[str, NDArray[np.bool_]]] = []
    for part in macs_bands(macs, count):
        inside = np.zeros(len(macs), dtype=bool)
        inside[part] = True
        found.append((f"{short(float(macs[part[0]]))} to {short(float(macs[part[-1]]))}", inside))
    return found
