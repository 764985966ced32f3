"""Samplers that answer one choice after the other as a trial opens them, with nothing sampled together beforehand."""

from __future__ import annotations

from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial


class ChoiceByChoice(BaseSampler):
    """An Optuna sampler whose `sample_independent` alone answers, which suits conditional spaces."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return nothing: each choice is made when it opens."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return nothing, see `infer_relative_search_space`."""
        return {}
