"""The candidates of one proposal: points that no trial has had, each with its costs where those are known."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from nas.known_costs import Choices, KnownCosts
from nas.predictor.columns import Array, Integers, fingerprints
from nas.predictor.history import History

USUAL = 1000
"""Candidates of a proposal whose number nothing limits."""
WIDE = 100
"""With more columns than this, there are fewer candidates in proportion."""


class Pool:
    """Takes candidates in, each once, and completes and costs them while the limit of known costs allows."""

    def __init__(self, history: History, known: KnownCosts | None, rng: np.random.Generator) -> None:
        """Start empty."""
        self._columns, self._known = history.columns, known
        self._taken = set(history.seen)
        self._levels = self._columns.levels()
        self._python = random.Random(int(rng.integers(2**32)))
        self._left = known.limit if known else 0
        wide = WIDE / max(len(self._levels), 1)
        self.share = min(1.0, wide, known.limit / USUAL if known else 1.0)
        """The part of the usual numbers of candidates that can be afforded."""
        self.rows: Array = np.zeros((0, len(self._levels)))
        self.costs: Array = np.zeros((0, known.count if known else 0))
        self.parents: Integers = np.zeros((0, 2), dtype=np.int64)
        """[N, 2]: positions in the history of the trials that each was bred from, -1 for none."""
        self._completed: list[Choices | None] = []

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, rows: Array, parents: Integers | None = None) -> None:
        """Take in those of these points [N, P] that are new; `parents` [N, 2] are those they were bred from."""
        bred = np.full((len(rows), 2), -1, dtype=np.int64) if parents is None else parents
        new = self._new(rows)
        rows, bred = rows[new], bred[new]
        if self._known is None:
            self._taken.update(fingerprints(rows, self._levels).tolist())
            self._join(rows, np.zeros((len(rows), 0)), [None] * len(rows), bred)
        else:
            self._complete(self._known, [self._columns.params(row) for row in rows[: self._left]], rows, bred)

    def choices(self, index: int) -> Choices:
        """Return all choices of a candidate."""
        return self._completed[index] or self._columns.params(self.rows[index])

    def _complete(self, known: KnownCosts, wanted: Sequence[Choices], rows: Array, parents: Integers) -> None:
        """Take in what becomes of these choices, whose rows are given, when they are completed."""
        self._left -= len(wanted)
        whole: list[Choices] = []
        places: list[Array] = []
        costs: list[Sequence[float]] = []
        bred: list[int] = []
        for index, (row, choices) in enumerate(zip(rows, wanted, strict=False)):
            made = choices if known.complete is None else known.complete(choices, self._python)
            cost = None if made is None else known.of(made)
            if made is not None and cost is not None:
                whole.append(made)
                places.append(row if known.complete is None else self._columns.array_of(made))
                costs.append(cost)
                bred.append(index)
        if whole:
            completed = np.array(places)
            kept = self._new(completed)
            self._taken.update(fingerprints(completed, self._levels).tolist())
            found = np.array(costs, dtype=np.float64)[kept]
            self._join(completed[kept], found, [whole[index] for index in kept], parents[bred][kept])

    def _new(self, rows: Array) -> list[int]:
        """Return the indices of rows not taken before, of equal ones the first."""
        prints = fingerprints(rows, self._levels)
        _, first = np.unique(prints, return_index=True)
        return [int(index) for index in np.sort(first) if int(prints[index]) not in self._taken]

    def _join(self, rows: Array, costs: Array, completed: Sequence[Choices | None], parents: Integers) -> None:
        self.rows = np.concatenate([self.rows, rows])
        self.costs = np.concatenate([self.costs, costs])
        self._completed += completed
        self.parents = np.concatenate([self.parents, parents])
