"""Asynchronous successive halving (ASHA, arXiv:1810.05934, algorithm 2), by the first objective alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nas.geometric_rungs import checked_reduction, geometric_rungs
from nas.rung_rule import Rung, RungRule, Standing


class SuccessiveHalving:
    """Of all that have reached a rung, the best 1/reduction go on; what else the search wants does not count."""

    def __init__(self, reduction: int) -> None:
        """Keep the factor. Raises NasError where it is below 2."""
        self._reduction = checked_reduction(reduction)

    def rungs(self, epochs: int) -> tuple[Rung, ...]:
        """Return stops at 1/reduction, 1/reduction^2, ... of the training, whole epochs."""
        return geometric_rungs(epochs, self._reduction)

    def promoted(self, standings: Sequence[Standing]) -> Sequence[int]:
        """Return the best, of equals the earlier; one whose objective is not finite counts, but never goes on."""
        fit = [each for each in standings if math.isfinite(each.values[0])]
        best = sorted(fit, key=lambda each: (each.values[0], each.number))
        return [each.number for each in best[: len(standings) // self._reduction]]


def RULE(reduction: int) -> RungRule:  # noqa: N802
    """Return the rule: one of `reduction` trials goes on from each rung."""
    return SuccessiveHalving(reduction)
