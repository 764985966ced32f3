"""Random search: every point is drawn among the feasible ones.

Source:  Li and Talwalkar, Random Search and Reproducibility for Neural Architecture Search, arXiv:1902.07638.
"""

from __future__ import annotations

from optuna.samplers import RandomSampler

from nas.sampler import Sampler

SAMPLER = Sampler(start=lambda known=None: lambda seed: RandomSampler(seed=seed), startup=lambda budget: None)
