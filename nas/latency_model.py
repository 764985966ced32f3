"""Predicted latency: the sum of a network's measured parts, corrected by what whole networks took.

A prediction is never taken for a measurement: it only keeps networks that are too slow beyond doubt from being built.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from space import Architecture
from trials.block_latency import BlockTable, parts

Array = NDArray[np.float64]
LEAST = 8
"""Whole networks from which on the sum is corrected."""
RIDGE = 5.0
"""Penalty on the slope, in networks."""
UNTAUGHT = 1.0
"""Relative error that is assumed of a sum that nothing has corrected yet."""
TAIL = 0.9
"""Quantile of the relative errors that a refusal must exceed."""


@dataclass(frozen=True)
class LatencyError:
    """How far predictions lie off the measured latencies of networks that took no part in making them."""

    networks: int
    additive: float
    """Median absolute percentage error of the plain sum, in %."""
    corrected: float
    """That of the corrected sum, in %."""


class LatencyModel:
    """Predicts latencies; the more networks it is told, the better."""

    def __init__(self, table: BlockTable, resolution: int) -> None:
        """Start from the parts alone."""
        self._table, self._resolution = table, resolution
        self._features: list[Array] = []
        self._measured: list[float] = []
        self._margin: float | None = None

    def tell(self, arch: Architecture, measured_ms: float) -> None:
        """Take in the measured latency of a whole network. Raises SpaceError."""
        self._features.append(self._describe(arch))
        self._measured.append(measured_ms)
        self._margin = None

    def predict(self, arch: Architecture) -> float:
        """Return the predicted latency of a network in ms; parts not yet known are measured. Raises SpaceError."""
        features = self._describe(arch)
        if len(self._measured) < LEAST:
            return float(np.exp(features[0]))
        return float(_fitted(np.array(self._features), np.array(self._measured))(features[None])[0])

    @property
    def margin(self) -> float:
        """Relative error that nine in ten predictions do not exceed."""
        if len(self._measured) < LEAST:
            return UNTAUGHT
        if self._margin is None:
            x, y = np.array(self._features), np.array(self._measured)
            self._margin = float(np.quantile(np.abs(_held_out(x, y, len(y)) / y - 1), TAIL))
        return self._margin

    def error(self, folds: int = 5) -> LatencyError:
        """Return the error on networks held out in turn, each fifth of those told."""
        x, y = np.array(self._features), np.array(self._measured)
        plain = np.exp(x[:, 0])
        return LatencyError(len(y), _mdape(plain, y), _mdape(_held_out(x, y, folds), y))

    def _describe(self, arch: Architecture) -> Array:
        """Return the logarithm of the sum of the parts, and that of their number over the sum."""
        total = max(self._table.latency(arch, self._resolution), 1e-6)
        count = sum(1 for _ in parts(arch, self._resolution))
        return np.log([total, count / total])


def _fitted(features: Array, measured: Array) -> Callable[[Array], Array]:
    """Return a function from features [N, 2] to latencies.

    log(measured / sum) is regressed on log(parts / sum), with a ridge: calls cost each part the same, whatever its
    size, and two numbers are what a dozen networks can teach.
    """
    mean, spread = features[:, 1].mean(), max(float(features[:, 1].std()), 1e-9)
    goal, scaled = np.log(measured) - features[:, 0], (features[:, 1] - mean) / spread
    level = goal.mean()
    slope = float(scaled @ (goal - level)) / (float(scaled @ scaled) + RIDGE)

    def predict(x: Array) -> Array:
        return np.exp(x[:, 0] + level + (x[:, 1] - mean) / spread * slope)

    return predict


def _held_out(features: Array, measured: Array, folds: int) -> Array:
    """Return for each network what the others predict."""
    found = np.exp(features[:, 0])
    for fold in range(min(folds, len(measured))):
        out = np.arange(len(measured)) % min(folds, len(measured)) == fold
        if (~out).sum() >= 2:
            found[out] = _fitted(features[~out], measured[~out])(features[out])
    return found


def _mdape(predicted: Sequence[float] | Array, measured: Array) -> float:
    return float(np.median(np.abs(np.asarray(predicted) / measured - 1)) * 100)
