"""Expected improvements against what sampling the outcomes gives."""

from __future__ import annotations

import numpy as np
import pytest

from nas.pareto import hypervolume
from nas.predictor.improvement import expected_excess, expected_gain, sampled_gain

FRONT = np.array([[3.0, 1.0], [2.0, 2.0], [1.0, 2.5], [0.5, 0.5], [4.0, -1.0]])
CORNER = np.array([0.0, 0.0])


def test_excess_is_the_mean_of_what_exceeds() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.normal(1.0, 0.7, 400_000)
    for level in (-1.0, 1.0, 2.5):
        sampled = np.maximum(drawn - level, 0).mean()
        assert expected_excess(np.array(1.0), np.array(0.7), np.array(level)) == pytest.approx(sampled, abs=4e-3)
    known = expected_excess(np.array([1.0, 3.0]), np.zeros(2), np.array([2.0, 2.0]))
    np.testing.assert_array_equal(known, [0.0, 1.0])


def gain(point: np.ndarray) -> float:
    ways = ["max", "max"]
    return hypervolume(np.vstack([FRONT, point]), ways, CORNER) - hypervolume(FRONT, ways, CORNER)


@pytest.mark.parametrize("known", [True, False], ids=["cost-known", "both-modelled"])
def test_gain_is_the_mean_growth_of_the_hypervolume(known: bool) -> None:
    rng = np.random.default_rng(1)
    mean = np.array([[2.5, 1.8], [0.2, 2.6], [3.5, 0.5], [-1.0, 0.3], [1.5, 1.0]])
    deviation = np.array([[0.0 if known else 0.4, 0.6]] * 5)
    exact = expected_gain(mean, deviation, FRONT, CORNER)
    sampled = [
        np.mean([gain(point) for point in m + d * rng.normal(size=(500, 2))])
        for m, d in zip(mean, deviation, strict=True)
    ]
    np.testing.assert_allclose(exact, sampled, atol=0.08)
    assert exact[0] > 0.1


def test_gain_of_known_outcomes_is_the_growth_itself() -> None:
    points = np.array([[2.5, 1.8], [0.2, 2.6], [1.0, 1.0], [5.0, 3.0], [-1.0, 9.0]])
    np.testing.assert_allclose(expected_gain(points, np.zeros((5, 2)), FRONT, CORNER), [gain(p) for p in points])


def test_gain_without_a_front_is_the_box() -> None:
    gained = expected_gain(np.array([[2.0, 3.0]]), np.zeros((1, 2)), np.zeros((0, 2)), CORNER)
    assert gained[0] == pytest.approx(6.0)


def test_sampled_gain_orders_candidates_of_three_objectives_as_the_hypervolume_does() -> None:
    rng = np.random.default_rng(2)
    front = rng.uniform(0.2, 0.8, (6, 3))
    candidates = rng.uniform(0.3, 1.0, (40, 3))
    ways, corner = ["max"] * 3, np.zeros(3)
    base = hypervolume(front, ways, corner)
    exact = [hypervolume(np.vstack([front, point]), ways, corner) - base for point in candidates]
    estimate = sampled_gain(candidates, np.full((40, 3), 1e-6), front, corner, rng)
    assert np.corrcoef(exact, estimate)[0, 1] > 0.9
