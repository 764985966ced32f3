"""What a sampler is to the search: a source of Optuna samplers, and how many points are drawn before it is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from optuna.samplers import BaseSampler

from nas.known_costs import KnownCosts


class Start(Protocol):
    """Begins a study."""

    def __call__(self, known: KnownCosts | None = None) -> Callable[[int], BaseSampler]:
        """Return a function from the next proposal's seed to the Optuna sampler that makes it.

        known:  costs that the sampler may use; it must do without as well.
        """
        ...


@dataclass(frozen=True)
class Sampler:
    """Proposes points. Every proposal has a seed of its own, so that a resumed search goes on exactly as an
    uninterrupted one would; whatever a sampler learns from must be in the study's trials.
    """

    start: Start
    """That sampler must work for several objectives, constraints and conditional choices."""
    startup: Callable[[int], int | None]
    """Points to draw at random among the feasible ones before the sampler is asked, for a given budget; None: all."""
