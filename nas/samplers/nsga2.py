"""NSGA-II: crossover and mutation of the best ranks; cheap at any number of trials.

Optuna crosses the choices that all parents share; the other, conditional ones it draws at random.
Source:  Deb et al., A fast and elitist multiobjective genetic algorithm: NSGA-II, 2002.
"""

from __future__ import annotations

from optuna.samplers import BaseSampler, NSGAIISampler

from nas.sampler import Sampler

POPULATION = 50


def _make(seed: int) -> BaseSampler:
    return NSGAIISampler(population_size=POPULATION, seed=seed)


SAMPLER = Sampler(make=_make, startup=lambda budget: min(POPULATION, max(1, budget // 4)))
