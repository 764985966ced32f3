"""Rows of positions as features of a Gaussian process: bits per choice, options counted, and known costs.

Unordered choices become one bit an option, ordered ones a bit for each step they are above the low end, so that
the squared distance of two bits vectors is the number of choices in which they differ, ordered ones in proportion.
Choices that share their options (the operator of each stage) also count how often each option is taken.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution

from nas.predictor.columns import Array, level_count
from nas.predictor.gaussian_process import Part

STEPS = 16
"""Ordered choices of more levels have this many bits."""
SHARED = 32
"""Choices with more options than this do not count them."""


class Features:
    """Turns rows [N, P] of positions, and costs [N, C], into the features of each part of the kernel."""

    def __init__(self, distributions: Sequence[BaseDistribution], rows: Array, costs: Array) -> None:
        """Lay out the features; `rows` and `costs` are those of the trials to be learnt from."""
        self._columns: list[int] = []
        self._at: list[float] = []
        self._kind: list[int] = []  # 0 equal to, 1 at or above, 2 open
        self._size: list[float] = []
        self._option: list[tuple[BaseDistribution, int] | None] = []
        for column, distribution in enumerate(distributions):
            self._lay_out(column, distribution, rows[:, column])
        shared = self._shared_options(distributions)
        active = max(1.0, float((~np.isnan(rows)).sum(axis=1).mean()))
        self._bag = self._bags(shared, distributions)
        self._center, self._spread = _moments(costs)
        dense = [count for count in (self._bag.shape[1], costs.shape[1]) if count]
        self.parts = [self._bit_part(shared, len(distributions), active), *map(_dense_part, dense)]

    def __call__(self, rows: Array, costs: Array) -> list[Array]:
        """Return the features [N, F] of each part."""
        on = self._on(rows)
        found = [on * np.array(self._size)]
        if self._bag.shape[1]:
            found.append(on @ self._bag)
        if costs.shape[1]:
            found.append(np.nan_to_num((_logs(costs) - self._center) / self._spread))
        return found

    def _on(self, rows: Array) -> Array:
        """Return which bits are on: [N, F] of 0 and 1."""
        places = rows[:, self._columns]
        at, kind = np.array(self._at), np.array(self._kind)
        with np.errstate(invalid="ignore"):
            on = np.where(kind == 0, places == at, np.where(kind == 1, places >= at, ~np.isnan(places)))
        return on.astype(np.float64)

    def _lay_out(self, column: int, distribution: BaseDistribution, places: Array) -> None:
        """Add the bits of a column whose places [N] in the trials these are; options never taken need none."""
        count = level_count(distribution)
        if isinstance(distribution, CategoricalDistribution):
            for level in np.unique(places[~np.isnan(places)]):
                self._add(column, float(level), 0, np.sqrt(0.5), (distribution, int(level)))
        else:
            top = count - 1 if count else 1
            thresholds = range(1, count) if 1 < count <= STEPS else np.linspace(0, top, STEPS + 1)[1:]
            for threshold in thresholds if top else ():
                self._add(column, float(threshold), 1, 1 / np.sqrt(len(thresholds)), None)
        if np.isnan(places).any():
            self._add(column, 0.0, 2, np.sqrt(0.5), None)

    def _add(self, column: int, at: float, kind: int, size: float, option: tuple[BaseDistribution, int] | None) -> None:
        self._columns.append(column)
        self._at.append(at)
        self._kind.append(kind)
        self._size.append(float(size))
        self._option.append(option)

    def _shared_options(self, distributions: Sequence[BaseDistribution]) -> dict[tuple[BaseDistribution, int], int]:
        """Return a number for each option that several columns have in common."""
        often = {d: distributions.count(d) for d in set(distributions)}
        shared: dict[tuple[BaseDistribution, int], int] = {}
        for option in self._option:
            if option is not None and often[option[0]] > 1 and level_count(option[0]) <= SHARED:
                shared.setdefault(option, len(shared))
        return shared

    def _bags(
        self, shared: dict[tuple[BaseDistribution, int], int], distributions: Sequence[BaseDistribution]
    ) -> Array:
        """Return the matrix from bits to counts of shared options, in deviations of random points."""
        bag = np.zeros((len(self._columns), len(shared)))
        for bit, option in enumerate(self._option):
            if option in shared:
                chance = 1 / level_count(option[0])
                bag[bit, shared[option]] = 1 / np.sqrt(distributions.count(option[0]) * chance * (1 - chance))
        return bag

    def _bit_part(self, shared: dict[tuple[BaseDistribution, int], int], columns: int, active: float) -> Part:
        ties = np.zeros((len(self._columns), columns + len(shared)))
        for bit, (column, option) in enumerate(zip(self._columns, self._option, strict=True)):
            ties[bit, column] = 1
            if option in shared:
                ties[bit, columns + shared[option]] = 1
        spread = np.concatenate([np.full(columns, 1.0), np.full(len(shared), 0.7)])
        return Part(ties, np.full(len(self._columns), np.log(2 / active)), spread)


def _dense_part(count: int) -> Part:
    """Return a part whose features, each of deviation 1, have a weight of their own."""
    return Part(np.eye(count), np.full(count, np.log(0.5 / count)), np.full(count, 1.0))


def _logs(costs: Array) -> Array:
    return np.log(np.maximum(costs, 1e-30))


def _moments(costs: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and deviation of the logarithms of each cost, of the trials whose costs are known (not NaN)."""
    logs = _logs(costs[~np.isnan(costs).any(axis=1)])
    if not len(logs):
        return np.zeros(costs.shape[1]), np.ones(costs.shape[1])
    return logs.mean(axis=0), np.maximum(logs.std(axis=0), 1e-3)
