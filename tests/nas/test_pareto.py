"""Fronts, ranks and hypervolumes against their definitions, by brute force."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.pareto import Direction, dominates, front, hypervolume, ranks

Values = list[tuple[int, ...]]
WAYS: list[Direction] = ["max", "min"]


@st.composite
def cases(draw: st.DrawFn, most: int = 4, points: int = 12) -> tuple[Values, list[Direction]]:
    count = draw(st.integers(1, most))
    ways: list[Direction] = draw(st.lists(st.sampled_from(WAYS), min_size=count, max_size=count))
    values = draw(st.lists(st.tuples(*[st.integers(0, 5)] * count), min_size=0, max_size=points))
    return values, ways


def better(a: tuple[int, ...], b: tuple[int, ...], ways: list[Direction]) -> bool:
    pairs = [(x, y) if way == "min" else (y, x) for x, y, way in zip(a, b, ways, strict=True)]
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


@given(cases())
def test_front_is_the_undominated_points(case: tuple[Values, list[Direction]]) -> None:
    values, ways = case
    expected = [i for i, a in enumerate(values) if not any(better(b, a, ways) for b in values)]
    assert front(values, ways) == expected
    assert all(dominates(a, b, ways) == better(a, b, ways) for a in values for b in values)


@given(cases())
def test_ranks_peel_fronts_off(case: tuple[Values, list[Direction]]) -> None:
    values, ways = case
    found = ranks(values, ways)
    left = set(range(len(values)))
    for rank in range(max(found, default=-1) + 1):
        peeled = {i for i in left if not any(better(values[j], values[i], ways) for j in left)}
        assert {i for i, r in enumerate(found) if r == rank} == peeled
        left -= peeled
    assert not left


@settings(deadline=None)
@given(cases(points=7))
def test_hypervolume_counts_the_dominated_unit_cells(case: tuple[Values, list[Direction]]) -> None:
    values, ways = case
    reference = [5 if way == "min" else 0 for way in ways]
    cells = 0
    for corner in product(range(5), repeat=len(ways)):
        # a cell counts if some point is at least as good as all of it
        cells += any(
            all(
                value <= low if way == "min" else value >= low + 1
                for value, low, way in zip(point, corner, ways, strict=True)
            )
            for point in values
        )
    assert hypervolume(values, ways, reference) == pytest.approx(cells)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)), max_size=15))
def test_hypervolume_grows_with_points_and_never_beyond_the_box(values: list[tuple[float, ...]]) -> None:
    ways: list[Direction] = ["max", "min", "max"]
    volumes = [hypervolume(values[:n], ways, (0.0, 1.0, 0.0)) for n in range(len(values) + 1)]
    assert all(a <= b + 1e-12 for a, b in pairwise(volumes))
    assert 0 <= volumes[-1] <= 1 + 1e-12


def test_empty_and_single() -> None:
    assert front(np.empty((0, 2)), ["max", "min"]) == []
    assert hypervolume([], ["max", "min"], (0, 1)) == 0
    assert hypervolume([(0.5, 0.5)], ["max", "min"], (0, 1)) == pytest.approx(0.25)
    assert hypervolume([(0.5, 1.5)], ["max", "min"], (0, 1)) == 0


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        front([(0.5, float("nan"))], ["max", "min"])
