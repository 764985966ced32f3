"""Local search: all neighbours of the best trial are tried, then those of the next best; strong in small spaces.

A neighbour differs in one choice. With several objectives the best is on the front, in its emptiest neighbourhood.
Source:  White, Nolen and Savani, Exploring the Loss Landscape in Neural Architecture Search, arXiv:2005.02960.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas.known_costs import KnownCosts
from nas.planned import PlannedSampler
from nas.redraw import single_changes
from nas.sampler import Sampler
from nas.trial_order import order_keys

STARTUP = 10
EXHAUSTED = 50
"""Best trials whose neighbours may all have been tried, until the next point is drawn at random."""


class LocalSearch(PlannedSampler):
    """Tries the neighbours of the best trials of a study, best first."""

    def plan(self, study: Study, trials: list[FrozenTrial], rng: random.Random) -> Mapping[str, Any]:
        """Return the choices of the best trial that has an untried neighbour, with the one choice changed."""
        done = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.params]
        keys = order_keys(done, study.directions)
        for parent in sorted(done, key=lambda trial: keys[trial.number])[:EXHAUSTED]:
            tried = _tried(parent, trials)
            steps = [
                (name, value)
                for name, domain in parent.distributions.items()
                for value in single_changes(parent.params[name], domain, rng)
                if (name, value) not in tried
            ]
            if steps:
                name, value = rng.choice(steps)
                self.parents = (parent.number,)
                return parent.params | {name: value}
        return {}


def _tried(parent: FrozenTrial, trials: Sequence[FrozenTrial]) -> set[tuple[str, Any]]:
    """Return the single changes of a trial that other trials have made, whatever those opened."""
    tried: set[tuple[str, Any]] = set()
    here = parent.params
    for trial in trials:
        change: tuple[str, Any] | None = None
        for name, value in trial.params.items():
            if name in here and value != here[name]:
                if change is not None:
                    break
                change = name, value
        else:
            if change is not None:
                tried.add(change)
    return tried


def _start(known: KnownCosts | None = None) -> Any:
    return LocalSearch().reseeded


SAMPLER = Sampler(start=_start, startup=lambda budget: min(STARTUP, max(1, budget // 4)))
