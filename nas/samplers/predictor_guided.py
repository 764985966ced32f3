"""Predictor-guided evolution: a Gaussian process over the choices judges new points near the best ones.

The most sample-efficient sampler here. It works on any define-by-run space: what its choices are and what opens them
is learnt from the trials. Costs that are known before training enter the gain in hypervolume exactly. Running trials
are taken for what is predicted of them, so that parallel workers are sent to different places; no point is proposed
twice.
Source:  see nas/predictor/guide.py, improvement.py and gaussian_process.py.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial

from nas.known_costs import KnownCosts
from nas.planned import PlannedSampler
from nas.predictor.guide import Guide
from nas.sampler import Sampler

STARTUP = 10
"""Trials that are spread over the space before there is a model."""


class PredictorGuided(PlannedSampler):
    """Proposes what is expected to improve on the trials of a study most."""

    def __init__(self, known: KnownCosts | None = None, *, seed: int = 0, startup: int = STARTUP) -> None:
        """Start without a study.

        known:  costs that follow from a point before training.
        """
        super().__init__(seed=seed)
        self._known, self._startup = known, startup
        self._guide = Guide(known, startup)

    def forget(self) -> None:
        """Begin with no trial known."""
        self._guide = Guide(self._known, self._startup)

    def plan(self, study: Study, trials: list[FrozenTrial], rng: random.Random) -> Mapping[str, Any]:
        """Return the choices of the most promising candidate."""
        self._guide.history.read(trials, study.directions)
        found = self._guide.propose(np.random.default_rng(rng.getrandbits(64)))
        if found is None:
            return {}
        self.parents = found.parents
        return found.choices


def _start(known: KnownCosts | None = None) -> Any:
    return PredictorGuided(known).reseeded


SAMPLER = Sampler(start=_start, startup=lambda budget: 1)
