"""The Gaussian process: its gradient, its fit, and what it predicts at and between the points it knows."""

from __future__ import annotations

import numpy as np
import pytest

from nas.predictor import gaussian_process as gp


def bits(rng: np.random.Generator, count: int, choices: int = 6) -> np.ndarray:
    """Return random points of binary choices as bits [count, choices]."""
    return rng.integers(0, 2, (count, choices)).astype(float)


def part(size: int) -> gp.Part:
    return gp.Part(np.eye(size), np.full(size, -1.0), np.ones(size))


def test_gradient_is_that_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    parts, features = [part(6), part(3)], [bits(rng, 12), rng.normal(size=(12, 3))]
    y = rng.normal(size=12)
    at = gp.Hyperparameters.start(parts).flat() + rng.normal(0, 0.3, 14)
    _, gradient = gp._loss(at, parts, features, y)
    for index in range(len(at)):
        step = np.zeros(len(at))
        step[index] = 1e-5
        above, below = (gp._loss(at + sign * step, parts, features, y)[0] for sign in (1, -1))
        assert gradient[index] == pytest.approx((above - below) / 2e-5, rel=1e-4, abs=1e-6)


def test_fit_finds_the_choices_that_matter() -> None:
    rng = np.random.default_rng(1)
    x = bits(rng, 60)
    y = 2.0 * x[:, 0] - x[:, 1]
    y = (y - y.mean()) / y.std()
    found = gp.fit([part(6)], [x], y)
    weights = found.weights[0]
    assert min(weights[:2]) > max(weights[2:])
    assert found.noise < np.log(1e-2)


def test_prediction_passes_through_what_is_known_and_is_unsure_elsewhere() -> None:
    rng = np.random.default_rng(2)
    parts, x = [part(8)], np.unique(bits(rng, 60, 8), axis=0)
    y = np.sin(x @ np.arange(8))
    known, others = slice(0, 20), slice(20, None)
    at = gp.Hyperparameters.start(parts)
    quiet = gp.Hyperparameters(at.weights, at.scales, at.tails, float(np.log(1e-6)))
    process = gp.GaussianProcess(parts, quiet, [x[known]], y[known])
    mean, deviation = process.predict([x[known]])
    np.testing.assert_allclose(mean, y[known], atol=1e-3)
    assert deviation.max() < 0.01 < process.predict([x[others]])[1].min()


def test_believing_keeps_the_mean_and_removes_the_doubt_at_the_believed_points() -> None:
    rng = np.random.default_rng(3)
    parts, x = [part(8)], np.unique(bits(rng, 60, 8), axis=0)
    process = gp.GaussianProcess(parts, gp.Hyperparameters.start(parts), [x[:20]], rng.normal(size=20))
    before, doubt = process.predict([x[20:30]])
    after, less = process.believing([x[20:25]]).predict([x[20:30]])
    np.testing.assert_allclose(after, before, atol=1e-6)
    assert (less[:5] < 0.5 * doubt[:5]).all()
    assert (less <= doubt + 1e-9).all()
