"""How much a candidate is expected to add to what has been found: one number, whatever the number of objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nas.predictor.columns import Array
from nas.predictor.improvement import expected_excess, expected_gain, sampled_gain
from nas.predictor.model import Regression

WIDE = 100.0
"""Costs that differ by more than this factor are compared by their logarithms: else only the dearest would count."""


class Acquisition:
    """Expected improvement of one objective, expected gain in hypervolume of several, times the chance to be feasible.

    Objectives are modelled, or known from the costs; a known one enters with no uncertainty at all.
    """

    def __init__(
        self,
        models: Sequence[Regression | None],
        known: Mapping[int, int],
        feasibility: Regression | None,
        costs: Array,
        sample: tuple[Array, Array],
        rng: np.random.Generator,
    ) -> None:
        """Judge against what has been found.

        models:  per objective; None where `known` says which cost it is.
        costs:   [N, C], of the feasible trials and of those running, as the models have them.
        sample:  rows [M, P] and costs [M, C] of random points; to be better than half of them is no achievement yet.
        """
        self._models, self._known, self._feasibility, self._rng = models, known, feasibility, rng
        self._wide = {cost for cost in known.values() if _spans(costs[:, cost]) > WIDE}
        self._found = np.stack(
            [self._known_outcome(index, costs) if model is None else model.found for index, model in enumerate(models)],
            axis=1,
        )
        self._found = self._found[~np.isnan(self._found).any(axis=1)]
        if len(models) > 1:
            worst = self._found.min(axis=0)
            median = np.median(self.moments(*sample)[0], axis=0) if len(sample[0]) else worst
            reached = np.minimum(median, self._found.max(axis=0))
            self._corner = np.where([index in known for index in range(len(models))], worst, reached)

    def moments(self, rows: Array, costs: Array) -> tuple[Array, Array]:
        """Return means and deviations of the objectives [M, K] of points; more is better."""
        mean, deviation = np.zeros((len(rows), len(self._models))), np.zeros((len(rows), len(self._models)))
        for index, model in enumerate(self._models):
            if model is None:
                mean[:, index] = self._known_outcome(index, costs)
            else:
                mean[:, index], deviation[:, index] = model.predict(rows, costs)
        return mean, deviation

    def _known_outcome(self, index: int, costs: Array) -> Array:
        """Return minus a cost, of costs that span orders of magnitude minus its logarithm."""
        cost = costs[:, self._known[index]]
        return -np.log(cost) if self._known[index] in self._wide else -cost

    def __call__(self, rows: Array, costs: Array) -> Array:
        """Return the merit [M] of points."""
        mean, deviation = self.moments(rows, costs)
        if mean.shape[1] == 1:
            merit = expected_excess(mean[:, 0], deviation[:, 0], self._found.max(axis=0))
        elif mean.shape[1] == 2:
            merit = expected_gain(mean, deviation, self._found, self._corner)
        else:
            merit = sampled_gain(mean, deviation, self._found, self._corner, self._rng)
        return merit if self._feasibility is None else merit * self._feasibility.chance(rows, costs)


def _spans(cost: Array) -> float:
    """Return how many times the cheapest the dearest is."""
    known = cost[~np.isnan(cost)]
    return float(known.max() / known.min()) if len(known) else 1.0
