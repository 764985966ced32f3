"""What is expected of candidates whose costs are known."""

from __future__ import annotations

import numpy as np
import pytest

from nas.predictor.acquisition import Acquisition


class Flat:
    """A model that expects the same of every point."""

    def __init__(self, found: list[float]) -> None:
        self.found = np.array(found)

    def predict(self, rows: np.ndarray, costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.full(len(rows), self.found.max()), np.full(len(rows), 0.1)


def merit(costs: list[float], found: list[float], candidates: list[float]) -> np.ndarray:
    """Return the merit of candidates by their known cost, where trials have found these outcomes at these costs."""
    rows = np.zeros((len(candidates), 1))
    column = np.array(candidates)[:, None]
    rng = np.random.default_rng(0)
    acquire = Acquisition(
        [Flat(found), None], {1: 0}, None, np.array(costs)[:, None], (np.zeros((0, 1)), column[:0]), rng
    )
    return acquire(rows, column)


def test_a_cheaper_point_as_good_is_worth_more() -> None:
    gained = merit([1.0, 5.0, 10.0], [0.0, 0.5, 1.0], [2.0, 5.0, 9.0])
    assert gained[0] > gained[1] > gained[2] > 0


def test_costs_over_orders_of_magnitude_count_by_their_logarithm() -> None:
    narrow = merit([1.0, 10.0], [0.0, 1.0], [1.0, 5.5])
    assert narrow[0] / narrow[1] == pytest.approx(2.0, rel=0.1)
    wide = merit([1.0, 1e6], [0.0, 1.0], [1.0, 1e3])
    assert wide[0] / wide[1] == pytest.approx(2.0, rel=0.1)
