"""Rank correlations agree with scipy's, and their intervals with resampling done the slow way."""

import math

import numpy as np
import pytest
from scipy import stats

from nas.rank_correlation import _Below, kendall, spearman


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    x = rng.normal(size=40).round(1)  # with ties
    return x, (x + rng.normal(size=40)).round(1)


def test_values_are_scipys(pairs):
    assert spearman(*pairs).value == pytest.approx(stats.spearmanr(*pairs).statistic)
    assert kendall(*pairs).value == pytest.approx(stats.kendalltau(*pairs).statistic)


@pytest.mark.parametrize(("ours", "theirs"), [(spearman, stats.spearmanr), (kendall, stats.kendalltau)])
def test_intervals_are_those_of_resampled_points(pairs, ours, theirs):
    found = ours(*pairs, seed=3)
    rng = np.random.default_rng(9)
    slow = [theirs(*(each[at] for each in pairs)).statistic for at in rng.integers(40, size=(400, 40))]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])), abs=0.06)
    assert found.low < found.value < found.high
    assert ours(*pairs, seed=3) == found


def test_ranks_of_repeated_points_are_those_of_the_longer_list():
    values, weights = np.array([5.0, 1.0, 5.0, 2.0]), np.array([[2.0, 1.0, 0.0, 3.0]])
    long = np.repeat(values, weights[0].astype(int))
    ranks = _Below(values).ranks(weights)[0]
    assert np.repeat(ranks, weights[0].astype(int)).tolist() == stats.rankdata(long).tolist()


def test_what_has_no_order_has_no_correlation():
    for ours in (spearman, kendall):
        assert ours([1, 2, 3], [1, 2, 3]).value == pytest.approx(1)
        assert ours([1, 2, 3], [3, 2, 1]).value == pytest.approx(-1)
        assert math.isnan(ours([1, 1, 1], [1, 2, 3]).value)
        assert math.isnan(ours([1], [1]).value)
