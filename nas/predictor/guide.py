"""Guided evolution: new points around the best, judged by the model, improved choice by choice.

Source:  White, Neiswanger and Savani, BANANAS, arXiv:1910.11858 (mutations of the best, judged by a predictor); Wan et
         al., CASMOPOLITAN, arXiv:2102.07188 (kernel of categorical choices, local search of the acquisition).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from optuna.distributions import CategoricalDistribution

from nas.known_costs import Choices, KnownCosts
from nas.pareto import Direction, front
from nas.predictor.acquisition import Acquisition
from nas.predictor.candidates import Candidates
from nas.predictor.columns import Array, Integers, Rule
from nas.predictor.history import History
from nas.predictor.model import FITTED, TRAINED, Fits, Lesson, Regression, instructive, settled
from nas.predictor.pool import Pool
from nas.predictor.spread import farthest

BRED = 450
"""Candidates bred from the elite for a proposal: two thirds by mutation, the others by crossing."""
BLIND = 120
"""Candidates drawn anywhere."""
ELITE = 12
"""Trials bred from at least."""
ROUNDS = 2
"""Rounds of local search around the best candidates."""
CLIMBERS = 8
"""Candidates whose neighbours are looked at in each round."""
NEIGHBOURS = 40
"""Neighbours of each at most."""


@dataclass(frozen=True)
class Guided:
    """The choices of a point, and the numbers of the trials that it was bred from."""

    choices: Choices
    parents: tuple[int, ...] = ()


class Guide:
    """Proposes points for one study from its history; what it keeps between proposals is derived from the trials."""

    def __init__(self, known: KnownCosts | None, startup: int) -> None:
        """Start with no trial known; the first `startup` points are spread over the space."""
        self.history = History(known)
        self._known, self._startup = known, startup
        self._rules: tuple[tuple[int, int], list[Rule]] | None = None
        self._fits = Fits(self.history.columns.distributions)

    def propose(self, rng: np.random.Generator) -> Guided | None:
        """Return the next point; None where there is nothing to learn from yet, or nothing new."""
        if len(self.history.excess) + len(self.history.pending) < self._startup:
            return self._spread(rng)
        learnt = np.flatnonzero(self.history.excess <= 0)
        if not len(learnt):
            return self._towards_feasible(rng)
        chosen = learnt[instructive(_merit(self.history.outcomes[learnt]), TRAINED)]
        rows, costs = self.history.rows(chosen), self.history.costs(chosen)
        first = learnt[: settled(len(learnt))]
        fitted = first[instructive(_merit(self.history.outcomes[first]), FITTED)]
        known = self._known.objectives if self._known else {}
        models = [
            None if index in known else self._regression(index, outcomes, chosen, fitted)
            for index, outcomes in enumerate(self.history.outcomes.T)
        ]
        feasibility = self._feasibility()
        pending = self.history.pending_rows
        pending_costs = self.history.costs_of(self.history.pending)
        for model in models:
            if model is not None:
                model.believe(pending, pending_costs)
        pool = Pool(self.history, self._known, rng)
        candidates = self._candidates(rng)
        blind, bred = round(BLIND * pool.share), round(BRED * pool.share)
        pool.add(candidates.random(rows, blind))
        acquisition = Acquisition(
            models,
            known,
            feasibility,
            np.concatenate([costs, pending_costs]),
            (pool.rows, pool.costs),
            rng,
        )
        elite = _elite(self.history.outcomes[chosen])
        pool.add(*_bred(candidates, rows[elite], chosen[elite], bred, rng))
        return self._best(pool, acquisition, candidates)

    def _spread(self, rng: np.random.Generator) -> Guided | None:
        """Return a random point far from those there are; None where there is none yet."""
        every = np.arange(len(self.history.excess), dtype=np.int64)
        rows = np.concatenate([self.history.rows(every), self.history.pending_rows])
        if not len(rows):
            return None
        costs = np.concatenate([self.history.costs(every), self.history.costs_of(self.history.pending)])
        pool, candidates = Pool(self.history, self._known, rng), self._candidates(rng)
        pool.add(candidates.random(rows, BLIND))
        if not len(pool):
            return None
        far = farthest(pool.rows, pool.costs, rows, costs, candidates.levels, candidates.ordered)
        return Guided(pool.choices(far))

    def _towards_feasible(self, rng: np.random.Generator) -> Guided | None:
        """Return a point that is expected to violate the constraints least, where no trial was feasible."""
        every = np.arange(len(self.history.excess), dtype=np.int64)
        if not len(every):
            return None
        inside = -np.log1p(self.history.excess)
        chosen, fitted = every[instructive(inside, TRAINED)], every[: settled(len(every))]
        model = self._regression("excess", inside, chosen, fitted[instructive(inside[fitted], FITTED)])
        rows, costs = self.history.rows(chosen), self.history.costs(chosen)
        pool, candidates = Pool(self.history, self._known, rng), self._candidates(rng)
        blind, bred = round(BLIND * pool.share), round(BRED * pool.share)
        pool.add(candidates.random(rows, blind))
        acquisition = Acquisition([model], {}, None, costs, (pool.rows, pool.costs), rng)
        elite = np.argsort(-inside[chosen])[:ELITE]
        pool.add(*_bred(candidates, rows[elite], chosen[elite], bred, rng))
        return self._best(pool, acquisition, candidates)

    def _best(self, pool: Pool, acquisition: Acquisition, candidates: Candidates) -> Guided | None:
        best = _climbed(pool, acquisition, candidates)
        if best is None:
            return None
        parents = pool.parents[best]
        return Guided(pool.choices(best), self.history.numbers(parents[parents >= 0]))

    def _feasibility(self) -> Regression | None:
        """Return a model of -1 for infeasible and 1 for feasible trials; None where all are feasible."""
        label = np.where(self.history.excess <= 0, 1.0, -1.0)
        if (label > 0).all():
            return None
        every = np.arange(len(label), dtype=np.int64)
        recent = every.astype(np.float64)
        chosen, fitted = every[instructive(recent, TRAINED)], every[: settled(len(every))]
        return self._regression("feasible", label, chosen, fitted[instructive(recent[fitted], FITTED)])

    def _regression(self, of: int | str, targets: Array, chosen: Integers, fitted: Integers) -> Regression:
        lessons = [
            Lesson(self.history.rows(at), self.history.costs(at)[:, : None if isinstance(of, str) else 0], targets[at])
            for at in (chosen, fitted)
        ]
        return Regression(self._fits, of, *lessons)

    def _candidates(self, rng: np.random.Generator) -> Candidates:
        columns = self.history.columns
        ordered = [not isinstance(each, CategoricalDistribution) for each in columns.distributions]
        rules = [] if self._known and self._known.complete else self._opening()
        return Candidates(columns.levels(), ordered, rules, rng)

    def _opening(self) -> list[Rule]:
        """Return what opens which choice, learnt from the first trials so that it need not be learnt each time."""
        count = settled(len(self.history.excess))
        at = count, len(self.history.columns)
        if self._rules is None or self._rules[0] != at:
            self._rules = at, self.history.columns.rules(self.history.rows(np.arange(count)))
        return self._rules[1]


def _merit(outcomes: Array) -> Array:
    """Return a number for each trial [N, M], more for better: of several objectives, that of its front from the last.

    Fronts are told apart until they hold as many trials as are learnt from.
    """
    if outcomes.shape[1] == 1:
        return outcomes[:, 0]
    ways: list[Direction] = ["max"] * outcomes.shape[1]
    merit, left = np.full(len(outcomes), -np.inf), np.arange(len(outcomes))
    rank = 0
    while len(left) and len(outcomes) - len(left) < TRAINED:
        best = front(outcomes[left], ways)
        merit[left[best]] = -rank
        left, rank = np.delete(left, best), rank + 1
    return merit


def _elite(outcomes: Array) -> list[int]:
    """Return the indices of the trials to breed from: the best, or the front and, where it is small, the next one."""
    if outcomes.shape[1] == 1:
        return np.argsort(-outcomes[:, 0], kind="stable")[:ELITE].tolist()
    ways: list[Direction] = ["max"] * outcomes.shape[1]
    kept = front(outcomes, ways)
    left = np.delete(np.arange(len(outcomes)), kept)
    return [*kept, *left[front(outcomes[left], ways)].tolist()[: max(0, ELITE - len(kept))]]


def _bred(
    candidates: Candidates, elite: Array, positions: Integers, count: int, rng: np.random.Generator
) -> tuple[Array, Integers]:
    """Return so many points bred from the elite, and the positions [N, 2] of their parents, -1 for none.

    They are mutations of one to three choices, and crossings.
    """
    crossings = count // 3
    parents = rng.integers(len(elite), size=count - crossings)
    mutants = candidates.mutated(elite[parents], rng.integers(1, 4, size=len(parents)))
    first, second = (rng.integers(len(elite), size=crossings) for _ in range(2))
    alone = np.column_stack([positions[parents], np.full(len(parents), -1)])
    pairs = np.column_stack([positions[first], positions[second]])
    return np.concatenate([mutants, candidates.crossed(elite[first], elite[second])]), np.concatenate([alone, pairs])


def _climbed(pool: Pool, acquisition: Acquisition, candidates: Candidates) -> int | None:
    """Add the neighbours of the best candidates, and of the best then; return the index of the best of all."""
    merit = acquisition(pool.rows, pool.costs) if len(pool) else np.zeros(0)
    for _ in range(ROUNDS):
        if not len(pool):
            return None
        best = np.argsort(-merit, kind="stable")[: max(1, round(CLIMBERS * pool.share))]
        before = len(pool)
        points, sources = candidates.neighbours(pool.rows[best], NEIGHBOURS)
        pool.add(points, pool.parents[best][sources])
        if len(pool) == before:
            break
        merit = np.concatenate([merit, acquisition(pool.rows[before:], pool.costs[before:])])
    return int(np.argmax(merit))
