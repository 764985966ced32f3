"""Fronts, ranks and hypervolumes of sets of vectors: pure functions of arrays.

Values are [N, M]: N points, M objectives. Directions are M words, `max` or `min`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Direction = Literal["max", "min"]
Points = NDArray[np.float64]
_BLOCK = 1024
_LEADERS = 32
"""Points, good in everything, that rule out most of the others before these are compared."""
PAIRWISE = 1024
"""Up to this many points, all pairs fit into a few megabytes."""


def _minimised(values: ArrayLike, directions: Sequence[Direction]) -> Points:
    """Return the values [N, M] with every objective turned so that less is better.

    Raises:  ValueError where the shapes do not fit or a value is NaN.
    """
    points = np.asarray(values, dtype=np.float64).reshape(-1, len(directions))
    if np.isnan(points).any():
        raise ValueError("values: NaN has no place in an order, leave such points out")
    return points * np.array([-1.0 if direction == "max" else 1.0 for direction in directions])


def dominates(a: Sequence[float], b: Sequence[float], directions: Sequence[Direction]) -> bool:
    """Tell whether `a` is at least as good as `b` in every objective and better in one."""
    signs = [-1.0 if direction == "max" else 1.0 for direction in directions]
    gaps = [sign * (x - y) for sign, x, y in zip(signs, a, b, strict=True)]
    return max(gaps) <= 0 and min(gaps) < 0


def _front_mask(points: Points) -> NDArray[np.bool_]:
    """Mark the points [N, M] that none dominates (less is better); equal points are all kept.

    In lexicographic order no point is dominated by a later one. Two and three objectives need one sweep; more are taken
    in blocks that are first held against the front so far.
    """
    if len(points) > 4 * _BLOCK and points.shape[1] > 2:
        left = _hopeful(points)
        mask = np.zeros(len(points), dtype=bool)
        mask[left] = _ordered_mask(points[left])
        return mask
    return _ordered_mask(points)


def _hopeful(points: Points) -> NDArray[np.int64]:
    """Return the indices of the points that none of a few dominates, which are good in everything."""
    ranked = sum(np.argsort(np.argsort(column)) for column in points.T)
    left = np.arange(len(points))
    columns = [np.ascontiguousarray(column) for column in points.T]
    for one in np.argpartition(ranked, _LEADERS)[:_LEADERS]:
        # column by column, as rows of three are slow to reduce; those equal to it stay
        better = np.logical_or.reduce([column < points[one, at] for at, column in enumerate(columns)])
        equal = np.logical_and.reduce([column == points[one, at] for at, column in enumerate(columns)])
        kept = np.logical_or(better, equal)
        left, columns = left[kept], [column[kept] for column in columns]
    return left


def _ordered_mask(points: Points) -> NDArray[np.bool_]:
    order = np.lexsort(points.T[::-1])
    ordered = points[order]
    if points.shape[1] == 2:
        kept = _sweep(ordered)
    elif points.shape[1] == 3:
        kept = _staircase(ordered)
    else:
        kept = np.zeros(len(points), dtype=bool)
        best = np.zeros((0, points.shape[1]))
        for start in range(0, len(points), _BLOCK):
            block = ordered[start : start + _BLOCK]
            free = ~_beaten(block, best)
            free[free] = _free_within(block[free])
            kept[start : start + _BLOCK] = free
            best = np.concatenate([best, block[free]])
    mask = np.zeros(len(points), dtype=bool)
    mask[order[kept]] = True
    return mask


def _staircase(ordered: Points) -> NDArray[np.bool_]:
    """Mark those of the lexicographically ordered points [N, 3] that none dominates.

    Of those seen so far, the second and third coordinates of the best are kept as a falling staircase.
    """
    kept = np.zeros(len(ordered), dtype=bool)
    seconds: list[float] = []
    thirds: list[float] = []
    last: list[float] | None = None
    for index, point in enumerate(ordered.tolist()):
        if point == last:  # equal points share the fate of the first
            kept[index] = kept[index - 1]
            continue
        last = point
        _, second, third = point
        at = bisect_right(seconds, second)
        if at and thirds[at - 1] <= third:
            continue
        kept[index] = True
        start = at - 1 if at and seconds[at - 1] == second else at
        end = start
        while end < len(thirds) and thirds[end] >= third:
            end += 1
        seconds[start:end], thirds[start:end] = [second], [third]
    return kept


def _sweep(ordered: Points) -> NDArray[np.bool_]:
    """Mark those of the lexicographically ordered points [N, 2] that none dominates."""
    if not len(ordered):
        return np.zeros(0, dtype=bool)
    first = np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)])
    least = np.minimum.accumulate(ordered[:, 1])
    below = ordered[:, 1] < np.concatenate([[np.inf], least[:-1]])
    below[0] = True
    # equal points stand side by side and share the fate of the first
    return below[np.maximum.accumulate(np.where(first, np.arange(len(ordered)), 0))]


def _beaten(points: Points, by: Points) -> NDArray[np.bool_]:
    """Mark the points that one of the points `by` dominates."""
    beaten = np.zeros(len(points), dtype=bool)
    for start in range(0, len(by), _BLOCK // 16):
        left = np.flatnonzero(~beaten)
        part = by[start : start + _BLOCK // 16]
        a, b = part[None], points[left, None]
        beaten[left] = np.any((a <= b).all(axis=2) & (a < b).any(axis=2), axis=1)
    return beaten


def _free_within(points: Points) -> NDArray[np.bool_]:
    """Mark the points that none of these points dominates, in lexicographic order."""
    mask = np.ones(len(points), dtype=bool)
    for index in range(len(points)):
        if mask[index]:
            later, point = points[index + 1 :], points[index]
            mask[index + 1 :] &= ~((later >= point).all(axis=1) & (later > point).any(axis=1))
    return mask


def front(values: ArrayLike, directions: Sequence[Direction]) -> list[int]:
    """Return the indices, rising, of the points that no other point dominates; equal points are all kept."""
    return [int(index) for index in np.flatnonzero(_front_mask(_minimised(values, directions)))]


def ranks(values: ArrayLike, directions: Sequence[Direction]) -> list[int]:
    """Return for each point the number of fronts to peel off before it is on the front: 0 is the front."""
    points = _minimised(values, directions)
    out = np.full(len(points), -1)
    rank = 0
    if len(points) <= PAIRWISE:  # compare all pairs once, then only count
        a, b = points[:, None], points[None]
        below = np.logical_and((a <= b).all(axis=2), (a < b).any(axis=2))
        dominators = below.sum(axis=0)
        while (best := np.flatnonzero((dominators == 0) & (out < 0))).size:
            out[best] = rank
            dominators -= below[best].sum(axis=0)
            rank += 1
    while (left := np.flatnonzero(out < 0)).size:
        out[left[_front_mask(points[left])]] = rank
        rank += 1
    return [int(value) for value in out]


def hypervolume(values: ArrayLike, directions: Sequence[Direction], reference: Sequence[float]) -> float:
    """Return the volume between the points and the reference that at least one point dominates.

    Points not better than the reference in every objective add nothing. Exact for any number of objectives: by
    sorting in two, by slicing along the last objective above (cost grows steeply with the number of objectives).
    """
    corner = _minimised([list(reference)], directions)[0]
    points = _minimised(values, directions)
    inside = points[(points < corner).all(axis=1)]
    return _volume(inside, corner)


def _volume(points: Points, corner: Points) -> float:
    if not len(points):
        return 0.0
    if len(corner) == 1:
        return float(corner[0] - points.min())
    points = np.unique(points[_front_mask(points)], axis=0)
    if len(corner) == 2:  # sorted by the first objective, the second falls: a staircase
        tops = np.concatenate(([corner[1]], points[:-1, 1]))
        return float(((corner[0] - points[:, 0]) * (tops - points[:, 1])).sum())
    points = points[np.argsort(points[:, -1], kind="stable")]
    heights = np.diff(np.append(points[:, -1], corner[-1]))
    slices = (float(h) * _volume(points[: i + 1, :-1], corner[:-1]) for i, h in enumerate(heights) if h > 0)
    return float(sum(slices))
