"""TPE: models the good and the other points choice by choice.

Each choice is modelled by itself, which suits conditional choices; trials in flight count as poor ones, so that
parallel workers are not all sent to one place. The trials are split into good and others once a proposal, where
Optuna's sampler splits them again for each choice; the proposals are the same.
Source:  Ozaki et al., Multiobjective Tree-Structured Parzen Estimator, JAIR 73, 2022.
"""

from __future__ import annotations

from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.samplers._tpe.sampler import _split_trials, default_gamma, default_gamma_multiobjective
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas.sampler import Sampler

Split = tuple[list[FrozenTrial], list[FrozenTrial]]
_LEARNT = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)


class SplitOnceTpe(TPESampler):
    """Optuna's TPE sampler with the split of the trials kept for the length of a proposal."""

    def __init__(self, seed: int) -> None:
        """Start without a split; random first trials are left to the caller."""
        super().__init__(n_startup_trials=0, constant_liar=True, multivariate=False, seed=seed)
        self._split: tuple[int, Split] | None = None

    def _sample(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        if self._split is None or self._split[0] != trial.number:
            self._split = trial.number, _splitted(study, trial)
        below, above = self._split[1]
        good = self._build_parzen_estimator(study, search_space, below, handle_below=True)
        other = self._build_parzen_estimator(study, search_space, above, handle_below=False)
        drawn = good.sample(self._rng.rng, self._n_ei_candidates)
        best = self._compare(drawn, self._compute_acquisition_func(drawn, good, other))
        return {name: domain.to_external_repr(best[name]) for name, domain in search_space.items()}


def _splitted(study: Study, trial: FrozenTrial) -> Split:
    """Return the good and the other trials; those running count as others."""
    trials = [each for each in study.get_trials(deepcopy=False, states=_LEARNT) if each.number != trial.number]
    finished = sum(each.state != TrialState.RUNNING for each in trials)
    share = default_gamma if len(study.directions) == 1 else default_gamma_multiobjective
    return _split_trials(study, trials, share(finished))


def _make(seed: int) -> BaseSampler:
    return SplitOnceTpe(seed)


SAMPLER = Sampler(start=lambda known=None: _make, startup=lambda budget: min(20, max(4, budget // 5)))
