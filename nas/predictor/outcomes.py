"""Outcomes on a scale that a Gaussian process can model: what is good keeps its distances, what is poor is drawn in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """Maps outcomes, of which more is better, to about zero mean and unit variance, rising throughout.

    Above the median it is linear. Below it distances count by their logarithm: trainings that fail altogether would
    otherwise rule the variance, and nobody needs to know how poor a poor network is.
    """

    middle: float
    unit: float
    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def of(cls, outcomes: Array) -> Scale:
        """Return the scale of these outcomes [N], N >= 1."""
        middle = float(np.median(outcomes))
        unit = 2 * float(outcomes[outcomes >= middle].std())
        raw = cls(middle, unit if unit > 0 else max(float(outcomes.std()), 1e-12))
        bent = raw(outcomes)
        deviation = float(bent.std())
        return cls(raw.middle, raw.unit, float(bent.mean()), deviation if deviation > 0 else 1.0)

    def __call__(self, outcomes: Array) -> Array:
        """Return outcomes on this scale."""
        z = (outcomes - self.middle) / self.unit
        bent = np.where(z < 0, -np.log1p(-np.minimum(z, 0.0)), z)
        return (bent - self.mean) / self.deviation
