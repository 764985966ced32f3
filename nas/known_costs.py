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

    of: Callable[[Choices], Sequence[float] | None]
    """Return the costs, each above 0, of a point given by all its choices; None where they cannot be computed."""
    count: int
    """Number of costs that `of` returns."""
    objectives: Mapping[int, int] = field(default_factory=dict[int, int])
    """For objectives that are such costs, to be made small: which cost an objective's index stands for."""
    complete: Callable[[Choices, random.Random], Choices | None] | None = None
    """Make a point of some choices: keep those that are open and allowed, draw what else is open; None where the point
    would be refused. Without it, a sampler relies on what it has learnt of the space."""
    limit: int = 2000
    """Points that a sampler may complete and cost for one proposal; it is part of what a proposal takes."""
