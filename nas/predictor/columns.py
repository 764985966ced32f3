"""The choices that a study has met, as columns of numbers; and which choice opens which, learnt from its trials.

A define-by-run space is known by its trials alone. A column is one name with one distribution; a row holds a trial's
positions: the index of a category, the number of steps above the low end, the place between the ends of a real range,
NaN where the choice was not open.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

LEVELS = 64
"""Choices with more levels than this open no other ones, as far as is learnt here."""
SAMPLE = 1000
"""Trials from which it is learnt which choice opens which."""
_GRID = 2**20
"""Real positions that agree to this resolution count as equal."""


@dataclass(frozen=True)
class Rule:
    """A column is open exactly where another one is at one of some levels."""

    column: int
    parent: int
    opens: NDArray[np.bool_]
    """[levels of the parent]."""


class Columns:
    """Grows with the trials shown to it, and stays a function of them."""

    def __init__(self) -> None:
        """Start without columns."""
        self.names: list[str] = []
        self.distributions: list[BaseDistribution] = []
        self.before: list[tuple[int, ...]] = []
        """For each column those that stood before it in the first trial that had it."""
        self._index: dict[tuple[str, BaseDistribution], int] = {}
        self._named: dict[str, list[int]] = {}
        self._values: list[list[Any] | None] = []

    def __len__(self) -> int:
        return len(self.names)

    def row(self, params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]) -> dict[int, float]:
        """Return a trial's positions by column, adding columns that are new."""
        found: dict[int, float] = {}
        for name, value in params.items():
            key = (name, distributions[name])
            column = self._index.get(key)
            if column is None:
                column = self._index[key] = len(self.names)
                self.names.append(name)
                self._named.setdefault(name, []).append(column)
                self.distributions.append(key[1])
                count = level_count(key[1])
                self._values.append([value_at(v, key[1]) for v in range(count)] if 0 < count <= LEVELS else None)
                self.before.append(tuple(found))
            found[column] = position(value, key[1])
        return found

    def array_of(self, choices: Mapping[str, Any]) -> Array:
        """Return the row [P] of choices whose distributions are not given; names that no trial had are left out."""
        out = np.full(len(self), np.nan)
        for name, value in choices.items():
            for column in self._named.get(name, ()):
                if self.distributions[column]._contains(self.distributions[column].to_internal_repr(value)):
                    out[column] = position(value, self.distributions[column])
                    break
        return out

    def matrix(self, rows: Sequence[Mapping[int, float]]) -> Array:
        """Return rows [N, P] of positions."""
        out = np.full((len(rows), len(self)), np.nan)
        for index, row in enumerate(rows):
            out[index, list(row)] = list(row.values())
        return out

    def levels(self) -> Integers:
        """Return the number of levels of each column, 0 for a real range."""
        return np.array([level_count(each) for each in self.distributions], dtype=np.int64)

    def params(self, row: Array) -> dict[str, Any]:
        """Return the choices of one row of positions."""
        found: dict[str, Any] = {}
        for column, place in enumerate(row.tolist()):
            if place == place:
                values = self._values[column]
                found[self.names[column]] = (
                    values[int(place)] if values is not None else value_at(place, self.distributions[column])
                )
        return found

    def rules(self, rows: Array) -> list[Rule]:
        """Return what opens each column that is not always open, in an order in which they can be followed.

        Columns that no single other one explains are left out.
        """
        if len(rows) > SAMPLE:
            rows = rows[np.linspace(0, len(rows) - 1, SAMPLE).astype(np.int64)]
        open_ = ~np.isnan(rows)
        levels = self.levels()
        usable = np.flatnonzero((levels > 0) & (levels <= LEVELS))
        starts = np.zeros(len(self) + 1, dtype=np.int64)
        starts[1:] = np.cumsum(np.where((levels > 0) & (levels <= LEVELS), levels, 0))
        hot = np.zeros((len(rows), int(starts[-1])), dtype=np.float32)
        for column in usable:
            at = np.flatnonzero(open_[:, column])
            hot[at, starts[column] + rows[at, column].astype(np.int64)] = 1
        together = hot.T @ open_.astype(np.float32)
        alone = hot.sum(axis=0)
        count = open_.sum(axis=0)
        found: dict[int, Rule] = {}
        for column in np.flatnonzero((count > 0) & (count < len(rows))):
            best: tuple[tuple[bool, int, int, int], Rule] | None = None
            for parent in self.before[column]:
                span = slice(starts[parent], starts[parent + 1])
                both, each = together[span, column], alone[span]
                if not len(both) or both.sum() != count[column] or ((both > 0) & (both < each)).any():
                    continue
                sibling = bool((both == each).all())  # opened together, by something else
                named = self.names[column].startswith(self.names[parent]) and len(self.names[parent])
                merit = (not sibling, int(named), -int((each > 0).sum()), parent)
                if best is None or merit > best[0]:
                    best = merit, Rule(int(column), int(parent), both > 0)
            if best is not None:
                found[int(column)] = best[1]
        return _sorted(found)


def _sorted(rules: Mapping[int, Rule]) -> list[Rule]:
    """Return the rules so that a parent's comes before its children's."""
    out: dict[int, Rule] = {}

    def add(rule: Rule) -> None:
        if rule.parent in rules and rule.parent not in out:
            add(rules[rule.parent])
        out.setdefault(rule.column, rule)

    for rule in rules.values():
        add(rule)
    return list(out.values())


def level_count(distribution: BaseDistribution) -> int:
    """Return the number of values of a distribution, 0 for a real range without steps."""
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    if isinstance(distribution, IntDistribution):
        return (distribution.high - distribution.low) // distribution.step + 1
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        return round((distribution.high - distribution.low) / distribution.step) + 1
    return 0


def position(value: Any, distribution: BaseDistribution) -> float:
    """Return where a value stands in its distribution, as the rows have it."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.to_internal_repr(value)
    if isinstance(distribution, IntDistribution):
        return float((value - distribution.low) // distribution.step)
    if not isinstance(distribution, FloatDistribution):
        raise TypeError(f"distribution: {distribution!r}, allowed: categorical, int, float")
    if distribution.step is not None:
        return float(round((value - distribution.low) / distribution.step))
    low, high, at = distribution.low, distribution.high, value
    if distribution.log:
        low, high, at = math.log(low), math.log(high), math.log(value)
    return (at - low) / (high - low) if high > low else 0.0


def value_at(place: float, distribution: BaseDistribution) -> Any:
    """Undo `position`."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(place)]
    if isinstance(distribution, IntDistribution):
        return distribution.low + int(place) * distribution.step
    if not isinstance(distribution, FloatDistribution):
        raise TypeError(f"distribution: {distribution!r}, allowed: categorical, int, float")
    if distribution.step is not None:
        return min(distribution.low + int(place) * distribution.step, distribution.high)
    if distribution.log:
        low, high = math.log(distribution.low), math.log(distribution.high)
        return min(max(math.exp(low + place * (high - low)), distribution.low), distribution.high)
    return min(distribution.low + place * (distribution.high - distribution.low), distribution.high)


def fingerprints(rows: Array, levels: Integers) -> NDArray[np.uint64]:
    """Return a number for each row [N, P] that equal rows share, and others hardly ever; columns added later that
    are not open leave it as it was.
    """
    salt = np.random.default_rng(0).integers(1, 2**63, size=rows.shape[1], dtype=np.uint64) | np.uint64(1)
    codes = np.where(np.isnan(rows), 0, np.round(np.where(levels > 0, rows, rows * _GRID)) + 1).astype(np.uint64)
    return (codes * salt).sum(axis=1, dtype=np.uint64)
