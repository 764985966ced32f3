"""How much a candidate is expected to add to what has been found: one number, whatever the number of objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nas.pareto import Direction, front
from nas.predictor.columns import Array
from nas.predictor.improvement import expected_excess, expected_gain, sampled_gain
from nas.predictor.model import Regression


class Acquisition:
    """Expected improvement of one objective, expected gain in hypervolume of several, times the chance to be feasible.

    Objectives are modelled, or known from the costs; a known one enters with no uncertainty at all.
    """

    def __init__(
        self,
        models: Sequence[Regression | None],
        known: Mapping[int, int],
        feasibility: Regression | None,
        found: tuple[Array, Array],
        sample: tuple[Array, Array],
        rng: np.random.Generator,
    ) -> None:
        """Judge against what has been found.

        models:      per objective; None where `known` says which cost it is.
        found:       rows [N, P] and costs [N, C] of the feasible trials and of those running.
        sample:      rows and costs of random points; half of them are no achievement.
        """
        self._models, self._known, self._feasibility, self._rng = models, known, feasibility, rng
        self.found = np.stack(
            [-found[1][:, known[index]] if model is None else model.found for index, model in enumerate(models)],
            axis=1,
        )
        """[N, M], the outcomes on the scales of their models."""
        medians = np.nanmedian(self.moments(*sample)[0], axis=0) if len(sample[0]) else self.found.min(axis=0)
        worst = self.found.min(axis=0)
        self._corner = np.array([worst[i] if i in known else min(medians[i], self.found[:, i].max())
                                 for i in range(len(models))])  # fmt: skip

    def moments(self, rows: Array, costs: Array) -> tuple[Array, Array]:
        """Return means and deviations of the objectives [M, K] of points; more is better."""
        mean, deviation = np.zeros((len(rows), len(self._models))), np.zeros((len(rows), len(self._models)))
        for index, model in enumerate(self._models):
            if model is None:
                mean[:, index] = -costs[:, self._known[index]]
            else:
                mean[:, index], deviation[:, index] = model.predict(rows, costs)
        return mean, deviation

    def __call__(self, rows: Array, costs: Array) -> Array:
        """Return the merit [M] of points."""
        mean, deviation = self.moments(rows, costs)
        if mean.shape[1] == 1:
            merit = expected_excess(mean[:, 0], deviation[:, 0], self.found.max(axis=0))
        elif mean.shape[1] == 2:
            merit = expected_gain(mean, deviation, self.found, self._corner)
        else:
            merit = sampled_gain(mean, deviation, self.found, self._corner, self._rng)
        return merit if self._feasibility is None else merit * self._feasibility.chance(rows, costs)

    def elite(self, observed: Array, least: int) -> list[int]:
        """Return the indices of the trials to search around: the fronts, by prediction and as observed, and more."""
        ways: list[Direction] = ["max"] * self.found.shape[1]
        count = len(observed)
        if len(ways) == 1:
            best = [*np.argsort(-self.found[:count, 0])[:least], *np.argsort(-observed[:, 0])[: least // 2]]
            return sorted({int(index) for index in best})
        kept = {*front(self.found[:count], ways), *front(observed, ways)}
        left = [index for index in range(count) if index not in kept]
        if left and len(kept) < least:
            kept |= {left[index] for index in front(observed[left], ways)[: least - len(kept)]}
        return sorted(kept)
