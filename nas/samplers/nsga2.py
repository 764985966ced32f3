"""NSGA-II in its steady-state form, crossing conditional choices path by path; cheap at any number of trials.

The population is the best of all trials so far: feasible before infeasible, then by rank, then by crowding. A proposal
takes each choice from either of two parents that has it open, and redraws about one.
Source:  Deb et al., A fast and elitist multiobjective genetic algorithm: NSGA-II, 2002; steady state after Durillo et
         al., On the effect of the steady-state selection scheme in multi-objective genetic algorithms, EMO 2009.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.choice_by_choice import ChoiceByChoice
from nas.parents import set_parents
from nas.redraw import NEAR, moved
from nas.sampler import Sampler
from nas.trial_order import order_keys

POPULATION = 50
CROSSOVER = 0.9
"""Share of the proposals that have two parents."""


class SteadyNsga2(ChoiceByChoice):
    """Keeps a population while the study grows; `reseeded` sets the seed of the next proposal."""

    def __init__(self, population: int) -> None:
        self._size = population
        self._population: list[FrozenTrial] = []
        self._taken: set[int] = set()
        self._order: dict[int, tuple[float, ...]] = {}
        self._rng = random.Random(0)
        self._uniform = RandomSampler(seed=0)
        self._parents: tuple[FrozenTrial, ...] = ()
        self._given: Counter[int] = Counter()

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
        self._given.clear()
        if self._population:
            first = self._winner()
            self._parents = (first, self._winner()) if self._rng.random() < CROSSOVER else (first,)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Inherit the choice from a parent that has it, or redraw it."""
        donors = [p for p in self._parents if p.distributions.get(param_name) == param_distribution]
        if not donors:
            return self._uniform.sample_independent(study, trial, param_name, param_distribution)
        donor = self._rng.choice(donors)
        self._given[donor.number] += 1
        set_parents(study, trial, (number for number, _ in self._given.most_common()))
        value = donor.params[param_name]
        if self._rng.random() >= 1 / len(self._parents[0].params):
            return value
        if self._rng.random() < NEAR and isinstance(param_distribution, (IntDistribution, FloatDistribution)):
            return moved(value, param_distribution, self._rng)
        return self._uniform.sample_independent(study, trial, param_name, param_distribution)

    def _winner(self) -> FrozenTrial:
        """Return the better of two random members."""
        pair = [self._rng.choice(self._population) for _ in range(2)]
        return min(pair, key=lambda trial: self._order[trial.number])

    def _join(self, trial: FrozenTrial, directions: list[StudyDirection]) -> None:
        """Take a trial into the population and let the worst one go where it is full."""
        self._population.append(trial)
        self._order = order_keys(self._population, directions)
        if len(self._population) > self._size:
            worst = max(self._population, key=lambda each: self._order[each.number])
            self._population.remove(worst)


SAMPLER = Sampler(
    start=lambda known=None: SteadyNsga2(POPULATION).reseeded,
    startup=lambda budget: min(POPULATION, max(1, budget // 4)),
)
