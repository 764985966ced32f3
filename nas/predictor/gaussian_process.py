"""A Gaussian process over feature vectors whose kernel is a sum of parts, fitted by its marginal likelihood.

Each part is a rational quadratic kernel s (1 + D / a)^-a of a weighted squared distance D; over bits, D counts the
weighted differences (a Hamming kernel), and the heavy tail of the rational quadratic lets far points inform each other
almost additively. Weights, scales, tails and noise maximise the marginal likelihood times log-normal priors.
Source:  Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, sec. 2.2, 4.2 and 5.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky
from scipy.optimize import minimize

Array = NDArray[np.float64]

BIAS = 1.0
"""Prior variance of the constant part, in units of the variance of the outcomes."""
JITTER = 1e-6
ITERATIONS = 30
"""Steps of the optimiser in one fit at most."""
_NOISE = (np.log(1e-2), 1.5)
"""Mean and deviation of the log-normal prior of the noise variance."""
_TAIL = (np.log(2.0), 1.0)
_SCALE = 1.0
_BOUND = 6.0
"""Logarithms of weights, scales and tails keep within this distance of their priors' means."""


@dataclass(frozen=True)
class Part:
    """One part of the kernel: the features it sees, and which of their weights are fitted together."""

    ties: Array
    """[F, G]: the logarithm of feature f's weight is offset[f] + sum over g of ties[f, g] times parameter g."""
    offset: Array
    """[F]: logarithms of the weights that the prior expects."""
    spread: Array
    """[G]: standard deviation of each parameter's normal prior, whose mean is 0."""


@dataclass(frozen=True)
class Hyperparameters:
    """A point in the space of kernels: for each part its weights' parameters, log scale and log tail; the log noise."""

    weights: tuple[Array, ...]
    scales: Array
    tails: Array
    noise: float

    def flat(self) -> Array:
        """Return all numbers in one vector."""
        return np.concatenate([*self.weights, self.scales, self.tails, [self.noise]])

    @classmethod
    def start(cls, parts: Sequence[Part]) -> Hyperparameters:
        """Return the means of the priors; the parts share the outcomes' variance."""
        count = len(parts)
        weights = tuple(np.zeros(part.ties.shape[1]) for part in parts)
        return cls(weights, np.full(count, -np.log(count)), np.full(count, _TAIL[0]), float(_NOISE[0]))

    @classmethod
    def of_flat(cls, flat: Array, parts: Sequence[Part]) -> Hyperparameters:
        """Undo `flat`."""
        ends = np.cumsum([part.ties.shape[1] for part in parts])
        weights = tuple(np.split(flat[: ends[-1]], ends[:-1]))
        rest, count = flat[ends[-1] :], len(parts)
        return cls(weights, rest[:count], rest[count : 2 * count], float(rest[-1]))


def _distances(a: Array, b: Array, weight: Array) -> Array:
    """Return weighted squared distances between the rows of a [N, F] and b [M, F]: [N, M]."""
    weighted = a * weight
    squares = (weighted * a).sum(axis=1)[:, None] + (b * b * weight).sum(axis=1)[None]
    return np.maximum(squares - 2 * weighted @ b.T, 0.0)


def _weight(part: Part, parameters: Array) -> Array:
    return np.exp(part.offset + part.ties @ parameters)


def _loss(flat: Array, parts: Sequence[Part], features: Sequence[Array], y: Array) -> tuple[float, Array]:
    """Return the negative logarithm of likelihood times priors, and its gradient."""
    at = Hyperparameters.of_flat(flat, parts)
    kernel = np.full((len(y), len(y)), BIAS)
    made: list[tuple[Array, Array, Array, Array]] = []
    for part, x, parameters, scale, tail in zip(parts, features, at.weights, at.scales, at.tails, strict=True):
        weight, a = _weight(part, parameters), np.exp(tail)
        ratio = _distances(x, x, weight) / a
        log_base = np.log1p(ratio)
        k = np.exp(scale - a * log_base)
        kernel += k
        made.append((weight, k, ratio, log_base))
    noise = np.exp(at.noise)
    kernel[np.diag_indices_from(kernel)] += noise + JITTER
    factor = cholesky(kernel, lower=True, check_finite=False, overwrite_a=True)
    inverse = cho_solve((factor, True), np.eye(len(y)), check_finite=False)
    alpha = inverse @ y
    loss = 0.5 * y @ alpha + np.log(np.diag(factor)).sum()
    slope = 0.5 * (inverse - np.outer(alpha, alpha))
    weights, scales, tails = [], [], []
    for part, x, tail, (weight, k, ratio, log_base) in zip(parts, features, at.tails, made, strict=True):
        pull = slope * k
        scales.append(pull.sum())
        share = ratio / (1 + ratio)
        tails.append(np.exp(tail) * (pull * (share - log_base)).sum())
        by_distance = -pull / (1 + ratio)
        by_weight = 2 * (by_distance.sum(axis=1) @ (x * x) - (x * (by_distance @ x)).sum(axis=0))
        weights.append(part.ties.T @ (weight * by_weight))
    gradient = np.concatenate([*weights, scales, tails, [noise * np.trace(slope)]])
    penalty, pulled = _prior(at, parts)
    return float(loss + penalty), gradient + pulled


def _prior(at: Hyperparameters, parts: Sequence[Part]) -> tuple[float, Array]:
    """Return the negative logarithm of the priors and its gradient."""
    mean = Hyperparameters.start(parts).flat()
    count = len(parts)
    spread = np.concatenate(
        [*(part.spread for part in parts), np.full(count, _SCALE), np.full(count, _TAIL[1]), [_NOISE[1]]]
    )
    gap = (at.flat() - mean) / spread
    return 0.5 * float(gap @ gap), gap / spread


def fit(parts: Sequence[Part], features: Sequence[Array], y: Array) -> Hyperparameters:
    """Return the hyperparameters that maximise likelihood times priors for outcomes y [N] of features [N, F] per part.

    `y` is expected to have a mean near 0 and a variance near 1.
    """
    start = Hyperparameters.start(parts).flat()
    bounds = [(value - _BOUND, value + _BOUND) for value in start]
    found = minimize(
        _loss, start, (parts, features, y), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": ITERATIONS}
    )
    return Hyperparameters.of_flat(found.x, parts)


class GaussianProcess:
    """The posterior of an unknown function, given values at some points; exact, O(N^3) once and O(N^2) a prediction."""

    def __init__(self, parts: Sequence[Part], at: Hyperparameters, features: Sequence[Array], y: Array) -> None:
        """Condition on outcomes y [N] of features [N, F] per part."""
        self._parts, self._at, self._features = parts, at, tuple(features)
        self._weights = [_weight(part, parameters) for part, parameters in zip(parts, at.weights, strict=True)]
        kernel = self._kernel(self._features)
        kernel[np.diag_indices_from(kernel)] += np.exp(at.noise) + JITTER
        factor = cholesky(kernel, lower=True, check_finite=False, overwrite_a=True)
        self._inverse = cho_solve((factor, True), np.eye(len(y)), check_finite=False)
        self._alpha = self._inverse @ y
        self.outcomes = y

    def _kernel(self, features: Sequence[Array]) -> Array:
        """Return the covariances of these points with those conditioned on: [M, N]."""
        total = np.full((len(features[0]), len(self._features[0])), BIAS)
        for x, known, weight, scale, tail in zip(
            features, self._features, self._weights, self._at.scales, self._at.tails, strict=True
        ):
            a = np.exp(tail)
            total += np.exp(scale - a * np.log1p(_distances(x, known, weight) / a))
        return total

    def predict(self, features: Sequence[Array]) -> tuple[Array, Array]:
        """Return mean [M] and standard deviation [M] of the noise-free function at features [M, F] per part."""
        kernel = self._kernel(features)
        variance = BIAS + np.exp(self._at.scales).sum() - ((kernel @ self._inverse) * kernel).sum(axis=1)
        return kernel @ self._alpha, np.sqrt(np.maximum(variance, 1e-12))

    @property
    def noise(self) -> float:
        """Return the variance of the noise."""
        return float(np.exp(self._at.noise))

    def believing(self, features: Sequence[Array]) -> GaussianProcess:
        """Return the posterior as if the outcomes at these features were known to equal their predicted means."""
        mean, _ = self.predict(features)
        joined = [np.concatenate(pair) for pair in zip(self._features, features, strict=True)]
        return GaussianProcess(self._parts, self._at, joined, np.concatenate([self.outcomes, mean]))
