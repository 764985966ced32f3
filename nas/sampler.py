"""What a sampler is to the search: a maker of Optuna samplers, and how many points are drawn before it is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from optuna.samplers import BaseSampler


@dataclass(frozen=True)
class Sampler:
    """Proposes points. Every proposal comes from a sampler made anew with its own seed, so that a resumed search goes
    on exactly as an uninterrupted one would; whatever it learns from must be in the study's trials.
    """

    make: Callable[[int], BaseSampler]
    """Return an Optuna sampler with this seed; it must work for several objectives, constraints and conditionals."""
    startup: Callable[[int], int | None]
    """Points to draw at random among the feasible ones before the sampler is asked, for a given budget; None: all."""
