"""Other values for a choice: a near number, or any other value of its distribution."""

from __future__ import annotations

import math
import random
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

NEAR = 0.5
"""Share of the redrawn numbers that move a little instead of anywhere."""


def moved(value: float, domain: IntDistribution | FloatDistribution, rng: random.Random) -> int | float:
    """Return a number near `value`, a tenth of the range away on average, or `value` itself."""
    low, high = domain.low, domain.high
    goal = min(max(rng.gauss(value, (high - low) / 10), low), high)
    if domain.step is None:
        return goal
    return min(low + round((goal - low) / domain.step) * domain.step, high)


def redrawn(value: Any, domain: BaseDistribution, rng: random.Random) -> Any:
    """Return a value other than `value`; the same where the distribution has no other."""
    if domain.single():
        return value
    if isinstance(domain, CategoricalDistribution):
        here = domain.to_internal_repr(value)
        return domain.choices[rng.choice([index for index in range(len(domain.choices)) if index != here])]
    if not isinstance(domain, (IntDistribution, FloatDistribution)):
        raise TypeError(f"distribution: {domain!r}, allowed: categorical, int, float")
    if rng.random() < NEAR and (near := moved(value, domain, rng)) != value:
        return near
    if domain.step is None:
        low, high = (math.log(domain.low), math.log(domain.high)) if domain.log else (domain.low, domain.high)
        drawn = rng.uniform(low, high)
        return min(max(math.exp(drawn) if domain.log else drawn, domain.low), domain.high)
    steps, here = int((domain.high - domain.low) / domain.step + 1e-9), round((value - domain.low) / domain.step)
    other = rng.randrange(steps)
    return domain.low + (other + (other >= here)) * domain.step


def single_changes(value: Any, domain: BaseDistribution, rng: random.Random, most: int = 16) -> list[Any]:
    """Return the values that a choice may take instead of `value`: all of a few, else the next ones and random ones."""
    if isinstance(domain, CategoricalDistribution):
        here = domain.to_internal_repr(value)
        return [each for index, each in enumerate(domain.choices) if index != here]
    if isinstance(domain, IntDistribution):
        count = (domain.high - domain.low) // domain.step + 1
        if count <= most:
            return [each for each in range(domain.low, domain.high + 1, domain.step) if each != value]
        near = {value - domain.step, value + domain.step}
        far = {domain.low + rng.randrange(count) * domain.step for _ in range(most // 4)}
        return sorted(each for each in near | far if domain.low <= each <= domain.high and each != value)
    return sorted({redrawn(value, domain, rng) for _ in range(4)} - {value})
