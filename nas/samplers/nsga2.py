"""NSGA-II in its steady-state form, crossing conditional choices path by path; cheap at any number of trials.

The population is the best of all trials so far: feasible before infeasible, then by rank, then by crowding. A proposal
takes each choice from either of two parents that has it open, and redraws about one.
Source:  Deb et al., A fast and elitist multiobjective genetic algorithm: NSGA-II, 2002; steady state after Durillo et
         al., On the effect of the steady-state selection scheme in multi-objective genetic algorithms, EMO 2009.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.pareto import Direction, ranks
from nas.sampler import Sampler

POPULATION = 50
CROSSOVER = 0.9
"""Share of the proposals that have two parents."""
NEAR = 0.5
"""Share of the redrawn numbers that move a little instead of anywhere."""


class SteadyNsga2(BaseSampler):
    """Keeps a population while the study grows; `reseeded` sets the seed of the next proposal."""

    def __init__(self, population: int) -> None:
        self._size = population
        self._population: list[FrozenTrial] = []
        self._taken: set[int] = set()
        self._order: dict[int, tuple[float, ...]] = {}
        self._rng = random.Random(0)
        self._uniform = RandomSampler(seed=0)
        self._parents: tuple[FrozenTrial, ...] = ()

    def reseeded(self, seed: int) -> SteadyNsga2:
        """Return itself, with the randomness of this seed."""
        self._rng, self._uniform = random.Random(seed), RandomSampler(seed=seed)
        return self

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Take in what has finished since, and choose the parents of this trial."""
        for each in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            if each.number not in self._taken:
                self._taken.add(each.number)
                self._join(each, study.directions)
        self._parents = ()
        if self._population:
            first = self._winner()
            self._parents = (first, self._winner()) if self._rng.random() < CROSSOVER else (first,)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return nothing: each choice is inherited when it opens."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return nothing, see `infer_relative_search_space`."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Inherit the choice from a parent that has it, or redraw it."""
        donors = [p for p in self._parents if p.distributions.get(param_name) == param_distribution]
        if not donors:
            return self._uniform.sample_independent(study, trial, param_name, param_distribution)
        value = self._rng.choice(donors).params[param_name]
        if self._rng.random() >= 1 / len(self._parents[0].params):
            return value
        if self._rng.random() < NEAR and isinstance(param_distribution, (IntDistribution, FloatDistribution)):
            return self._moved(value, param_distribution)
        return self._uniform.sample_independent(study, trial, param_name, param_distribution)

    def _moved(self, value: float, domain: IntDistribution | FloatDistribution) -> int | float:
        """Return a number near `value`, a tenth of the range away on average."""
        low, high = domain.low, domain.high
        goal = min(max(self._rng.gauss(value, (high - low) / 10), low), high)
        if isinstance(domain, FloatDistribution):
            return goal
        return min(low + round((goal - low) / domain.step) * domain.step, high)

    def _winner(self) -> FrozenTrial:
        """Return the better of two random members."""
        pair = [self._rng.choice(self._population) for _ in range(2)]
        return min(pair, key=lambda trial: self._order[trial.number])

    def _join(self, trial: FrozenTrial, directions: list[StudyDirection]) -> None:
        """Take a trial into the population and let the worst one go where it is full."""
        self._population.append(trial)
        self._order = _order(self._population, directions)
        if len(self._population) > self._size:
            worst = max(self._population, key=lambda each: self._order[each.number])
            self._population.remove(worst)


def _order(trials: list[FrozenTrial], directions: list[StudyDirection]) -> dict[int, tuple[float, ...]]:
    """Return a key for each trial's number, less for better: violation, rank, crowding, number."""
    over = [_violation(trial.constraints) for trial in trials]
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


def _violation(constraints: Mapping[str, float]) -> float:
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


SAMPLER = Sampler(
    start=lambda: SteadyNsga2(POPULATION).reseeded, startup=lambda budget: min(POPULATION, max(1, budget // 4))
)
