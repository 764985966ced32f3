"""What a rung rule is to the search: how far trials are trained at first, and which of them go on.

A rung is a stop on the way of a training. A trial that has reached one waits there, with its checkpoint, until the rule
lets it go on, and is never trained twice over the same stretch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Rung:
    """A stop on the way of a training."""

    epochs: float
    """Share of the recipe's epochs that are over at this stop, in (0, 1]; the last rung has 1."""
    resolution: float = 1.0
    """Side of the training images on the way here, as a share of the whole training's."""
    images: float = 1.0
    """Training images of each epoch on the way here, as a share of the whole training's."""


@dataclass(frozen=True)
class Standing:
    """A trial that has reached a rung, whether it has gone on from there or not."""

    number: int
    macs: float
    """Multiply-accumulates of the point, at the study's cost resolution."""
    values: tuple[float, ...]
    """Its objectives as measured at this rung, each turned so that less is better."""


class RungRule(Protocol):
    """Decides without waiting: it is asked anew whenever a trial has reached a rung, so that no worker idles."""

    def rungs(self, epochs: int) -> tuple[Rung, ...]:
        """Return the stops of a training of so many epochs, in their order; the last is its end."""
        ...

    def promoted(self, standings: Sequence[Standing]) -> Sequence[int]:
        """Return the numbers of those that may go on from a rung, best first, of all that have reached it so far.

        The answer may hold trials that have gone on already.
        """
        ...
