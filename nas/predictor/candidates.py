"""New points near good ones: mutations and crossings of rows of positions that keep conditional choices whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.predictor.columns import Array, Integers, Rule

NEAR = 0.5
"""Share of the redrawn numbers that move a little instead of anywhere."""


class Candidates:
    """Draws points from what is known of a space: its columns and what opens them."""

    def __init__(self, levels: Integers, ordered: Sequence[bool], rules: Sequence[Rule], rng: np.random.Generator):
        """Draw with `rng`; `ordered` tells which columns hold numbers."""
        self.levels, self.ordered, self._rules, self._rng = levels, np.array(ordered, dtype=bool), rules, rng
        self._free = (levels == 0) | (levels > 1)

    def random(self, rows: Array, count: int) -> Array:
        """Return points drawn anew: every choice of some of `rows` redrawn."""
        picked = rows[self._rng.integers(len(rows), size=count)]
        return self._settled(np.where(np.isnan(picked), np.nan, self._drawn(count)))

    def mutated(self, rows: Array, changes: Integers) -> Array:
        """Return each row with so many of its open choices [N] redrawn."""
        order = self._rng.random(rows.shape)
        order[np.isnan(rows) | ~self._free] = 2
        rank = order.argsort(axis=1).argsort(axis=1)
        chosen = (rank < changes[:, None]) & (order < 2)
        out = rows.copy()
        at = np.nonzero(chosen)
        out[at] = self._other(rows[at], at[1])
        return self._settled(out)

    def crossed(self, first: Array, second: Array) -> Array:
        """Return rows that take each choice open in both parents from either, and what it opens with it."""
        both = ~np.isnan(first) & ~np.isnan(second)
        taken = both & (self._rng.random(first.shape) < 0.5)
        return self._settled(np.where(taken, second, first), donors=second)

    def neighbours(self, rows: Array, most: int) -> tuple[Array, Integers]:
        """Return points that differ from one of the rows in one choice, of each at most so many, and from which row.

        Of a number with many levels, they have the next ones and random ones.
        """
        found: list[Array] = []
        sources: list[int] = []
        for source, row in enumerate(rows):
            steps = [
                (int(column), place)
                for column in np.flatnonzero(~np.isnan(row) & self._free)
                for place in self._places(int(column), float(row[column]))
            ]
            if len(steps) > most:
                steps = [steps[index] for index in self._rng.choice(len(steps), most, replace=False)]
            others = np.repeat(row[None], len(steps), axis=0)
            for other, (column, place) in zip(others, steps, strict=True):
                other[column] = place
            found.append(others)
            sources += [source] * len(steps)
        return self._settled(np.concatenate(found)), np.array(sources, dtype=np.int64)

    def _places(self, column: int, here: float) -> list[float]:
        count = int(self.levels[column])
        if count == 0:
            moved = [here + self._rng.normal(0, 0.1), here + self._rng.normal(0, 0.02), self._rng.random()]
            return [min(max(float(place), 0.0), 1.0) for place in moved]
        if not self.ordered[column] or count <= 5:
            return [float(level) for level in range(count) if level != here]
        steps = {int(here) - 1, int(here) + 1, *(int(v) for v in self._rng.integers(count, size=2))} - {int(here)}
        return [float(level) for level in sorted(steps) if 0 <= level < count]

    def _drawn(self, count: int) -> Array:
        """Return values for every column, drawn uniformly: [count, P]."""
        drawn = self._rng.random((count, len(self.levels)))
        return np.where(self.levels > 0, np.floor(drawn * self.levels), drawn)

    def _other(self, here: Array, column: Integers) -> Array:
        """Return another value for each of these, numbers often a near one."""
        levels = self.levels[column]
        shift = np.floor(self._rng.random(len(here)) * np.maximum(levels - 1, 1)) + 1
        out = np.where(levels > 0, (here + shift) % np.maximum(levels, 1), self._rng.random(len(here)))
        near = self.ordered[column] & (self._rng.random(len(here)) < NEAR)
        span = np.where(levels > 0, np.maximum(levels - 1, 1), 1.0)
        step = self._rng.normal(0, 0.1, len(here)) * span
        step = np.where(levels > 0, np.sign(step) * np.maximum(np.round(np.abs(step)), 1), step)
        moved = np.where((here + step < 0) | (here + step > span), here - step, here + step)
        moved = np.clip(moved, 0, np.where(levels > 0, levels - 1, 1))
        return np.where(near & (moved != here), moved, out)

    def _settled(self, rows: Array, donors: Array | None = None) -> Array:
        """Close the choices that nothing opens any more; draw those newly opened, or take them from the donors."""
        if not self._rules:
            return rows
        fresh = self._drawn(len(rows))
        if donors is not None:
            fresh = np.where(np.isnan(donors), fresh, donors)
        for rule in self._rules:
            parent = rows[:, rule.parent]
            known = ~np.isnan(parent)
            opened = known & rule.opens[np.where(known, parent, 0).astype(np.int64)]
            here = rows[:, rule.column]
            rows[:, rule.column] = np.where(opened, np.where(np.isnan(here), fresh[:, rule.column], here), np.nan)
        return rows
