"""Which of a study's trials is better: feasible before infeasible, then by rank, then by crowding.

Source:  Deb et al., A fast and elitist multiobjective genetic algorithm: NSGA-II, 2002, sec. III and VI.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from nas.pareto import Direction, ranks


def order_keys(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> dict[int, tuple[float, ...]]:
    """Return a key for each complete trial's number, less for better: violation, rank, crowding, number."""
    over = [violation_of(trial.constraints) for trial in trials]
    inside = [trial for trial, excess in zip(trials, over, strict=True) if excess <= 0]
    keys: dict[int, tuple[float, ...]] = {t.number: (e, 0.0, 0.0, t.number) for t, e in zip(trials, over, strict=True)}
    if inside:
        signs = np.array([-1.0 if way == StudyDirection.MAXIMIZE else 1.0 for way in directions])
        values = np.array([trial.values for trial in inside]) * signs
        less: list[Direction] = ["min"] * len(directions)
        rank = np.array(ranks(values, less))
        lonely = _crowding(values, rank)
        for index, trial in enumerate(inside):
            keys[trial.number] = (0.0, float(rank[index]), -float(lonely[index]), trial.number)
    return keys


def violation_of(constraints: Mapping[str, float]) -> float:
    """Return the sum of a trial's positive constraint values."""
    return sum(max(0.0, value) for value in constraints.values())


def _crowding(values: NDArray[np.float64], rank: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how far each point is from its neighbours of the same rank, infinite at the ends."""
    out = np.zeros(len(values))
    for level in np.unique(rank):
        members = np.flatnonzero(rank == level)
        for objective in values[members].T:
            order = np.argsort(objective, kind="stable")
            span = objective[order[-1]] - objective[order[0]]
            gaps = np.full(len(members), np.inf)
            if span > 0 and len(members) > 2:
                gaps[order[1:-1]] = (objective[order[2:]] - objective[order[:-2]]) / span
            out[members] += gaps
    return out
