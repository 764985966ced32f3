"""What a proposal was bred from: a sampler says it on the Optuna trial, and the search stores it with its own."""

from __future__ import annotations

from collections.abc import Iterable

from optuna.study import Study
from optuna.trial import FrozenTrial

PARENTS = "nas:parents"
"""Name of the trial's attribute that holds the numbers of its parents."""


def set_parents(study: Study, trial: FrozenTrial, parents: Iterable[int]) -> None:
    """Note the numbers of the trials whose choices a running trial takes over; the one it takes most from is first."""
    study._storage.set_trial_system_attr(trial._trial_id, PARENTS, list(dict.fromkeys(parents)))


def parents_of(trial: FrozenTrial) -> list[int]:
    """Return the numbers of a trial's parents; none where it was drawn, or its sampler breeds nothing."""
    return list(trial.system_attrs.get(PARENTS, ()))
