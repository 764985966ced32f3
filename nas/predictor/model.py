"""What the finished trials say of points not yet tried: outcomes and feasibility, each by a Gaussian process."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from scipy.special import ndtr

from nas.predictor.columns import Array, Integers
from nas.predictor.features import Features
from nas.predictor.gaussian_process import GaussianProcess, Hyperparameters, fit
from nas.predictor.outcomes import Scale

TRAINED = 300
"""Trials that a model is conditioned on at most."""
FITTED = 200
"""Trials that its hyperparameters are fitted to at most."""
WORK = 8_000_000
"""Numbers of trials squared times features that a step of a fit may take; with many features, fewer trials are used."""
REFIT = 12
"""Hyperparameters are fitted anew when the trials have grown by one part in so many."""


@dataclass(frozen=True)
class Lesson:
    """Trials to learn from."""

    rows: Array
    """[N, P], positions."""
    costs: Array
    """[N, C], known costs."""
    targets: Array
    """[N], of which more is better."""


class Fits:
    """Hyperparameters fitted before. They are a function of the lesson, hence this is a cache and no memory."""

    def __init__(self, distributions: Sequence[BaseDistribution]) -> None:
        """Start empty; `distributions`, of the columns, may grow."""
        self._distributions = distributions
        self._kept: dict[Hashable, tuple[bytes, Features, Hyperparameters]] = {}

    def get(self, of: Hashable, lesson: Lesson) -> tuple[Features, Hyperparameters]:
        """Return the features laid out for a lesson about `of`, and the hyperparameters fitted to it."""
        width = int(np.flatnonzero(~np.isnan(lesson.rows).all(axis=0)).max(initial=-1)) + 1
        key = lesson.rows[:, :width].tobytes() + lesson.targets.tobytes()
        kept = self._kept.get(of)
        if kept is None or kept[0] != key:
            features = Features(self._distributions[:width], lesson.rows[:, :width], lesson.costs)
            size = sum(len(part.offset) for part in features.parts)
            most = min(len(lesson.rows), max(60, int(np.sqrt(WORK / size))))
            some = np.linspace(0, len(lesson.rows) - 1, most).astype(np.int64)
            inputs = features(lesson.rows[some], lesson.costs[some])
            found = fit(features.parts, inputs, Scale.of(lesson.targets[some])(lesson.targets[some]))
            kept = self._kept[of] = (key, features, found)
        return kept[1], kept[2]


class Regression:
    """A Gaussian process over rows of positions and known costs, on the scale of its targets."""

    def __init__(self, fits: Fits, of: Hashable, lesson: Lesson, fitted: Lesson) -> None:
        """Learn `lesson`, with the hyperparameters that suit `fitted`."""
        self._features, at = fits.get(of, fitted)
        self.scale = Scale.of(lesson.targets)
        self._costs = fitted.costs.shape[1]
        inputs = self._inputs(lesson.rows, lesson.costs)
        self._process = GaussianProcess(self._features.parts, at, inputs, self.scale(lesson.targets))

    def believe(self, rows: Array, costs: Array) -> None:
        """Take the outcomes of running trials for what is predicted, so that others are sent elsewhere."""
        if len(rows):
            self._process = self._process.believing(self._inputs(rows, costs))

    @property
    def found(self) -> Array:
        """Return the targets of the trials learnt, and the predictions that stand for those believed: [N]."""
        return self._process.outcomes

    def predict(self, rows: Array, costs: Array) -> tuple[Array, Array]:
        """Return mean and deviation [M] of the targets that trials of these points would have, on its scale.

        What the kernel cannot explain counts as a difference between points rather than as chance in their training:
        no point is tried twice, and the best is chosen by what one trial of it has shown.
        """
        mean, deviation = self._process.predict(self._inputs(rows, costs))
        return mean, np.sqrt(deviation**2 + self._process.noise)

    def _inputs(self, rows: Array, costs: Array) -> list[Array]:
        return self._features(rows, costs[:, : self._costs])

    def chance(self, rows: Array, costs: Array) -> Array:
        """Return the probability [M] that the target is above 0."""
        mean, deviation = self.predict(rows, costs)
        return ndtr((mean - self.scale(np.zeros(1))[0]) / np.maximum(deviation, 1e-3))


def settled(count: int) -> int:
    """Return how many of the first trials the hyperparameters depend on, so that they stay for a while."""
    return count - count % max(1, count // REFIT)


def instructive(merit: NDArray[np.float64], most: int) -> Integers:
    """Return the indices, rising, of at most so many trials: two thirds are the best, the rest an even spread."""
    count = len(merit)
    if count <= most:
        return np.arange(count)
    best = np.argsort(-merit, kind="stable")[: 2 * most // 3]
    rest = np.setdiff1d(np.arange(count), best)
    return np.union1d(best, rest[np.linspace(0, len(rest) - 1, most - len(best)).astype(np.int64)])
