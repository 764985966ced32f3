"""How the front of a study grew: the share of its hypervolume, trial by trial."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas.pareto import Direction, front, hypervolume

Numbers = NDArray[np.float64]
_BLOCK = 2048


def finite(*columns: Numbers) -> NDArray[np.bool_]:
    """Mark the trials that have a finite value in every column."""
    return np.logical_and.reduce([np.isfinite(column) for column in columns])


def growth(
    columns: Sequence[Numbers], directions: Sequence[Direction], among: NDArray[np.bool_], most: int = 100
) -> tuple[list[int], list[float]]:
    """Return at which positions the front grew, and the share of the final hypervolume it had then.

    The reference is the worst value of each objective among the marked. Volumes are taken at `most` of the steps, at a
    fifth as many with more than two objectives, always at the last.
    """
    at = np.flatnonzero(among & finite(*columns))
    if not len(at):
        return [], []
    points = np.column_stack([column[at] for column in columns])
    signs = np.array([-1.0 if direction == "max" else 1.0 for direction in directions])
    steps = _joins(points * signs)
    reference = [
        float(column.max() if d == "min" else column.min()) for column, d in zip(points.T, directions, strict=True)
    ]
    most = most if len(columns) == 2 else most // 5
    kept = [steps[index] for index in np.unique(np.linspace(0, len(steps) - 1, min(most, len(steps))).astype(int))]
    volumes: list[float] = []
    held: list[int] = []
    done = 0
    for step in kept:
        while done < len(steps) and steps[done] <= step:
            held.append(steps[done])
            done += 1
        best = front(points[held], directions)
        held = [held[index] for index in best]
        volumes.append(hypervolume(points[held], directions, reference))
    whole = volumes[-1] or 1.0
    numbers = [int(at[step]) for step in kept]
    return [*numbers, int(at[-1])], [*(volume / whole for volume in volumes), volumes[-1] / whole]


def _joins(points: Numbers) -> list[int]:
    """Return the positions of the points (less is better) that no earlier one dominates or equals, in order."""
    held = np.zeros((0, points.shape[1]))
    joined: list[int] = []
    for start in range(0, len(points), _BLOCK):
        block = points[start : start + _BLOCK]
        fresh = np.arange(len(block))
        for index in range(0, len(held), 64):
            part = held[index : index + 64]
            beaten = np.any((part[None] <= block[fresh][:, None]).all(axis=2), axis=1)
            fresh = fresh[~beaten]
        for index in fresh:
            point = block[index]
            if not (held <= point).all(axis=1).any():
                held = np.vstack([held[~(held >= point).all(axis=1)], point])
                joined.append(start + int(index))
    return joined
