"""Regularised evolution: the best of a few young trials gets a child with one choice redrawn; the oldest leave.

With several objectives the best is that of the lowest rank, then of the emptiest neighbourhood.
Source:  Real et al., Regularized Evolution for Image Classifier Architecture Search, arXiv:1802.01548, algorithm 1.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas.known_costs import KnownCosts
from nas.planned import PlannedSampler
from nas.redraw import redrawn
from nas.sampler import Sampler
from nas.trial_order import order_keys

POPULATION = 30
CONTESTANTS = 10
"""Of the population, as many are drawn, and the best of them is the parent."""
TRIES = 20
"""Children in a row that may all have been seen before."""


class RegularizedEvolution(PlannedSampler):
    """Breeds from the last finished trials of a study."""

    def plan(self, study: Study, trials: list[FrozenTrial], rng: random.Random) -> Mapping[str, Any]:
        """Return a parent's choices with one of them redrawn."""
        young = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.params][-POPULATION:]
        if not young:
            return {}
        keys = order_keys(young, study.directions)
        seen = {frozenset(trial.params.items()) for trial in trials}
        child: dict[str, Any] = {}
        for _ in range(TRIES):
            drawn = rng.sample(young, min(CONTESTANTS, len(young)))
            parent = min(drawn, key=lambda trial: keys[trial.number])
            free = [name for name, domain in parent.distributions.items() if not domain.single()]
            if not free:
                return {}
            name = rng.choice(free)
            self.parents = (parent.number,)
            child = parent.params | {name: redrawn(parent.params[name], parent.distributions[name], rng)}
            if frozenset(child.items()) not in seen:
                break
        return child


def _start(known: KnownCosts | None = None) -> Any:
    return RegularizedEvolution().reseeded


SAMPLER = Sampler(start=_start, startup=lambda budget: min(POPULATION, max(1, budget // 4)))
