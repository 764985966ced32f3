"""What a study's trials teach, as arrays; a function of the trials alone, whatever the order in which they ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.known_costs import KnownCosts
from nas.predictor.columns import Array, Columns, Integers, fingerprints


class History:
    """Reads the trials of one study, each finished one once.

    After `read`, the finished trials with values are there in the order of their numbers.
    """

    def __init__(self, known: KnownCosts | None) -> None:
        """Start with no trial read."""
        self.columns = Columns()
        self.outcomes: Array = np.zeros((0, 0))
        """[N, M]: values, turned so that more is better."""
        self.excess: Array = np.zeros(0)
        """[N]: sums of the violated constraints, 0 for a feasible trial."""
        self.pending: list[FrozenTrial] = []
        """Trials that are running."""
        self.pending_rows: Array = np.zeros((0, 0))
        """[R, P]: their positions."""
        self.seen: set[int] = set()
        """Fingerprints of all trials, failed ones included."""
        self._known = known
        self._read: set[int] = set()
        self._told: list[FrozenTrial] = []
        self._over: list[float] = []
        self._matrix: Array = np.full((64, 64), np.nan)
        self._order: Integers = np.zeros(0, dtype=np.int64)
        self._costs: dict[int, Sequence[float]] = {}
        self._finished: set[int] = set()

    def read(self, trials: Iterable[FrozenTrial], directions: Sequence[StudyDirection]) -> None:
        """Take in these trials, in the order of their numbers."""
        signs = [1.0 if way == StudyDirection.MAXIMIZE else -1.0 for way in directions]
        self.pending, waiting = [], list[dict[int, float]]()
        for trial in trials:
            if trial.number in self._read or not trial.params:
                continue
            if trial.state.is_finished():
                self._read.add(trial.number)
                self._finish(trial)
            else:
                self.pending.append(trial)
                waiting.append(self.columns.row(trial.params, trial.distributions))
        self._grow(0)
        self.pending_rows = self.columns.matrix(waiting)
        numbers = np.array([trial.number for trial in self._told], dtype=np.int64)
        self._order = np.argsort(numbers, kind="stable")
        # read anew: what was told of a trial that was not fully trained is amended as others go on
        values = [[sign * value for sign, value in zip(signs, trial.values, strict=True)] for trial in self._told]
        self.outcomes = np.array(values).reshape(-1, len(signs))[self._order]
        self.excess = np.array(self._over)[self._order]
        self.seen = self._finished | {int(print_) for print_ in self._prints(self.pending_rows)}

    def rows(self, chosen: NDArray[np.integer] | NDArray[np.bool_]) -> Array:
        """Return the rows of positions of some of the finished trials: [n, P]."""
        return self._matrix[self._order[chosen], : len(self.columns)]

    def numbers(self, positions: Integers) -> tuple[int, ...]:
        """Return the numbers of some of the finished trials."""
        return tuple(self._told[index].number for index in self._order[positions])

    def costs(self, chosen: NDArray[np.integer] | NDArray[np.bool_]) -> Array:
        """Return the known costs of some of the finished trials: [n, C]."""
        return self.costs_of([self._told[index] for index in self._order[chosen]])

    def costs_of(self, trials: Sequence[FrozenTrial]) -> Array:
        """Return the known costs of any trials, [n, C], and NaN for those that cannot be computed."""
        if self._known is None:
            return np.zeros((len(trials), 0))
        for trial in trials:
            if trial.number not in self._costs:
                self._costs[trial.number] = self._known.of(trial.params) or ()
        out = np.full((len(trials), self._known.count), np.nan)
        for index, trial in enumerate(trials):
            if self._costs[trial.number]:
                out[index] = self._costs[trial.number]
        return out

    def _finish(self, trial: FrozenTrial) -> None:
        row = self.columns.matrix([self.columns.row(trial.params, trial.distributions)])
        self._finished.add(int(self._prints(row)[0]))
        if trial.state != TrialState.COMPLETE or not np.isfinite(trial.values).all():
            return
        index, width = len(self._told), row.shape[1]
        self._grow(index + 1)
        self._matrix[index, :width] = row[0]
        self._told.append(trial)
        self._over.append(sum(max(0.0, over) for over in trial.constraints.values()))

    def _grow(self, count: int) -> None:
        """Make room for so many rows, and for all columns."""
        height, width = self._matrix.shape
        if count > height or len(self.columns) > width:
            wide = width if len(self.columns) <= width else 2 * len(self.columns)
            larger = np.full((height if count <= height else 2 * count, wide), np.nan)
            larger[:height, :width] = self._matrix
            self._matrix = larger

    def _prints(self, rows: Array) -> NDArray[np.uint64]:
        return fingerprints(rows, self.columns.levels())
