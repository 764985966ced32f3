"""Costs that follow from a point alone, before any training, as a sampler may ask for them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Choices = Mapping[str, Any]


@dataclass(frozen=True)
class KnownCosts:
    """What a sampler may know of a point it has not proposed yet, in any search space."""

    of: Callable[[Choices, random.Random], tuple[Choices, Sequence[float]] | None]
    """Complete a point and cost it: return all its choices (those given that are open and allowed are kept, what
    else is open is drawn) and its costs, each above 0; None where they cannot be computed."""
    count: int
    """Number of costs that `of` returns."""
    objectives: Mapping[int, int] = field(default_factory=dict[int, int])
    """For objectives that are such costs: which cost an objective's index stands for."""
    limit: int = 2000
    """Points that a sampler may cost for one proposal; it is part of what a proposal takes."""
