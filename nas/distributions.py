"""A space's domains in Optuna's words; the space itself knows nothing of Optuna."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from space import DesignSpace
from space.choice import IntRange, OneOf
from space.errors import SpaceError
from space.walk import Domain, Params, Value, allows, brief


def distribution(domain: Domain) -> BaseDistribution:
    """Return the distribution of one choice; alternatives are unordered for Optuna, ranges are ordered."""
    if isinstance(domain, OneOf):
        return CategoricalDistribution(domain.labels())
    if isinstance(domain, IntRange):
        return IntDistribution(*domain.int_range, step=domain.step)
    return FloatDistribution(*domain.float_range, log=domain.log)


def suggest(trial: optuna.Trial, path: str, domain: Domain) -> Value:
    """Let a trial decide one choice."""
    if isinstance(domain, OneOf):
        chosen: Any = trial.suggest_categorical(path, domain.labels())
        return chosen
    if isinstance(domain, IntRange):
        return trial.suggest_int(path, *domain.int_range, step=domain.step)
    return trial.suggest_float(path, *domain.float_range, log=domain.log)


class Walker:
    """Replays choices through a space, remembering the distribution of every domain it met."""

    def __init__(self, space: DesignSpace) -> None:
        """Start with no domain met."""
        self.space = space
        self._known: dict[int, tuple[Domain, BaseDistribution]] = {}

    def distributions(self, choices: Params) -> dict[str, BaseDistribution]:
        """Return the distribution of each of these choices. Raises SpaceError where they do not fit."""
        found: dict[str, BaseDistribution] = {}

        def choose(path: str, domain: Domain) -> Value:
            if path not in choices or not allows(domain, choices[path]):
                raise SpaceError(f"{path}: {choices.get(path)!r}, the space has {brief(domain)}")
            found[path] = self._distribution(domain)
            return choices[path]

        self.space.realise(choose)
        return found

    def _distribution(self, domain: Domain) -> BaseDistribution:
        """Return the distribution of a domain, made once: domains live as long as their space."""
        known = self._known.get(id(domain))
        if known is None or known[0] is not domain:
            known = self._known[id(domain)] = (domain, distribution(domain))
        return known[1]
