"""A sampler that plans a whole point when a trial's first choice opens, and follows the plan choice by choice.

This is how a sampler that thinks in whole points serves a define-by-run space: what the plan foresees is followed, what
it does not (a choice that a change has opened) is drawn.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Self

from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas.choice_by_choice import ChoiceByChoice
from nas.parents import set_parents
from trials.seeds import derive_seed


class PlannedSampler(ChoiceByChoice):
    """Asks `plan` once a trial. A plan depends on the study's trials and on the seed, so that resuming repeats it.

    A trial is seeded by the sampler's seed and the number of trials before it, or, from `reseeded` on, by a seed of its
    own.
    """

    def __init__(self, *, seed: int = 0) -> None:
        """Start without a study."""
        self._seed, self._counting = seed, True
        self._study: Study | None = None
        self._plans: dict[int, tuple[int, Mapping[str, Any]]] = {}
        self.parents: tuple[int, ...] = ()
        """Numbers of the trials that the plan being made is bred from; `plan` sets it."""

    def reseeded(self, seed: int) -> Self:
        """Return itself, with the randomness of this seed."""
        self._seed, self._counting = seed, False
        return self

    @abstractmethod
    def plan(self, study: Study, trials: list[FrozenTrial], rng: random.Random) -> Mapping[str, Any]:
        """Return the choices of a new point, as far as they are foreseen; `trials` are all others, by number.

        Where they are those of other trials with changes, `parents` is set to these.
        """

    def forget(self) -> None:
        """Drop what was learnt from a study's trials: another study begins."""

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Follow the plan of this trial, which is made at its first choice; draw what the plan lacks."""
        if self._study is None or (self._study._storage, self._study._study_id) != (study._storage, study._study_id):
            self._study, self._plans = study, {}
            self.forget()
        if trial.number not in self._plans:
            self._plans[trial.number] = self._planned(study, trial)
        seed, plan = self._plans[trial.number]
        if param_name in plan and _allows(param_distribution, plan[param_name]):
            return plan[param_name]
        draw = RandomSampler(seed=derive_seed(seed, param_name) & 0xFFFFFFFF)
        return draw.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        """Forget the plan of a finished trial."""
        self._plans.pop(trial.number, None)

    def _planned(self, study: Study, trial: FrozenTrial) -> tuple[int, Mapping[str, Any]]:
        others = [each for each in study.get_trials(deepcopy=False) if each.number != trial.number]
        seed = derive_seed("plan", self._seed, len(others) if self._counting else -1)
        self.parents = ()
        plan = self.plan(study, others, random.Random(seed))
        if self.parents:
            set_parents(study, trial, self.parents)
        return seed, plan


def _allows(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except (TypeError, ValueError):  # the name stands for something else by now
        return False
