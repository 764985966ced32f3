"""How much better a candidate is expected to make things: expected improvement, and of the hypervolume.

All outcomes are to be maximised here, and normal with the given means and deviations.
Source:  Jones, Schonlau and Welch, Efficient global optimization of expensive black-box functions, 1998; Emmerich,
         Deutz and Klinkenberg, Hypervolume-based expected improvement, CEC 2011 (two objectives, exact).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]

DIRECTIONS = 32
SAMPLES = 16
"""Random directions and draws of the outcomes with which hypervolumes of three objectives or more are estimated."""


def expected_excess(mean: Array, deviation: Array, level: Array) -> Array:
    """Return the expectation of max(0, Y - level), elementwise with broadcasting; a deviation of 0 is a known Y."""
    gap = mean - level
    safe = np.maximum(deviation, 1e-12)
    z = gap / safe
    uncertain = gap * ndtr(z) + safe * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    return np.where(deviation > 0, np.maximum(uncertain, 0.0), np.maximum(gap, 0.0))


def expected_gain(mean: Array, deviation: Array, front: Array, corner: Array) -> Array:
    """Return the expected growth of the area that points dominate above `corner`, for candidates [M, 2].

    The two outcomes are independent given the model; one of them, or both, may be known (deviation 0).

    front:   [F, 2], the outcomes so far; dominated ones do no harm.
    corner:  [2], the point from which areas count.
    """
    kept = front[(front > corner).all(axis=1)]
    kept = kept[np.argsort(-kept[:, 0], kind="stable")]  # the first outcome falls
    tops = np.maximum.accumulate(kept[:, 1]) if len(kept) else np.zeros(0)
    # strips of the first outcome, from the best downwards, and what the second must exceed within each
    upper = np.concatenate([[np.inf], kept[:, 0]])
    lower = np.concatenate([kept[:, 0], corner[:1]])
    level = np.concatenate([corner[1:], tops])
    first_mean, first_deviation = mean[:, :1], deviation[:, :1]
    reach = expected_excess(first_mean, first_deviation, lower[None])
    beyond = np.zeros_like(reach)
    beyond[:, 1:] = expected_excess(first_mean, first_deviation, upper[None, 1:])
    return ((reach - beyond) * expected_excess(mean[:, 1:], deviation[:, 1:], level[None])).sum(axis=1)


def sampled_gain(mean: Array, deviation: Array, front: Array, corner: Array, rng: np.random.Generator) -> Array:
    """Return the expected growth of the dominated volume for candidates [M, K], any K, up to a constant factor.

    By the mean over random directions of the improvement along each, whose expectation is the hypervolume.
    Source:  Golovin and Zhang, Random hypervolume scalarizations, arXiv:2006.04655, lemma 5.
    """
    size = mean.shape[1]
    span = np.maximum(front.max(axis=0) - corner, 1e-12)
    directions = np.abs(rng.normal(size=(DIRECTIONS, size)))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    noise = rng.normal(size=(SAMPLES, 1, size))
    outcomes = ((mean + deviation * noise - corner) / span).reshape(-1, size)
    best = _along((front - corner) / span, directions).max(axis=0)
    gained = np.maximum(_along(outcomes, directions) - best, 0.0).mean(axis=1)
    return gained.reshape(SAMPLES, -1).mean(axis=0)


def _along(outcomes: Array, directions: Array) -> Array:
    """Return how far each outcome [N, K] reaches along each direction [D, K], as a volume: [N, D]."""
    reach = np.full((len(outcomes), len(directions)), np.inf)
    for index in range(outcomes.shape[1]):
        reach = np.minimum(reach, outcomes[:, index, None] / directions[None, :, index])
    return np.maximum(reach, 0.0) ** outcomes.shape[1]
