"""What a picture of many trials needs: the front, and few points that look like many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas.front_growth import finite
from nas.pareto import Direction, front

Numbers = NDArray[np.float64]
Picked = NDArray[np.int64]


def front_of(columns: Sequence[Numbers], directions: Sequence[Direction], among: NDArray[np.bool_]) -> Picked:
    """Return the positions on the front of the marked trials, sorted by the first column."""
    at = np.flatnonzero(among & finite(*columns))
    if not len(at):
        return at
    points = np.column_stack([column[at] for column in columns])
    best = at[front(points, directions)]
    return best[np.argsort(columns[0][best], kind="stable")]


def thinned(
    at: Picked, x: Numbers, y: Numbers, *, log_x: bool = False, log_y: bool = False, most: int = 4000
) -> Picked:
    """Return at most `most` of the positions `at`, at least one in each part of the picture that had any.

    The picture is divided into cells; the first trial of each cell is kept, then others evenly.
    """
    if len(at) <= most:
        return at
    side = int(np.sqrt(most / 2))
    cells = _cells(x[at], side, log=log_x) * side + _cells(y[at], side, log=log_y)
    _, first = np.unique(cells, return_index=True)
    rest = np.setdiff1d(np.arange(len(at)), first)
    room = max(0, most - len(first))
    more = rest[np.linspace(0, len(rest) - 1, min(room, len(rest))).astype(int)] if len(rest) and room else rest[:0]
    return at[np.sort(np.unique(np.concatenate([first, more])))]


def _cells(values: Numbers, side: int, *, log: bool) -> NDArray[np.int64]:
    if log:
        values = np.log(np.maximum(values, 1e-300))
    low, high = values.min(), values.max()
    return np.minimum((values - low) / ((high - low) or 1.0) * side, side - 1).astype(np.int64)


def spread(count: int, most: int) -> Picked:
    """Return at most `most` positions below `count`, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(np.int64)) if count else np.zeros(0, np.int64)
