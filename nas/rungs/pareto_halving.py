"""Asynchronous successive halving by Pareto rank among networks of a like size.

The rungs and their share of promotions are those of ASHA (arXiv:1810.05934). What is best is decided by non-dominated
sorting and, within a rank, crowding distance (NSGA-II, Deb et al. 2002, sec. III), as in MO-ASHA (arXiv:2106.12639),
but within a band of MACs: over all of a rung, large networks would leave small ones only the ends of the front.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nas.geometric_rungs import checked_reduction, geometric_rungs
from nas.pareto import Direction, Points, ranks
from nas.rung_rule import Rung, RungRule, Standing

FACTOR = 4.0
"""Largest MACs of a band over its smallest. Bands end at the powers of it whatever has come: where they moved with the
trials, each move would let others through, and far more than 1/reduction went on."""
PROMOTIONS = 2
"""That a band has room for; a smaller one is joined with the next, as the best of few would be left to chance."""


class ParetoHalving:
    """Of each band of MACs at a rung, the best 1/reduction go on."""

    def __init__(self, reduction: int) -> None:
        """Keep the factor. Raises NasError where it is below 2."""
        self._reduction = checked_reduction(reduction)

    def rungs(self, epochs: int) -> tuple[Rung, ...]:
        """Return stops at 1/reduction, 1/reduction^2, ... of the training, whole epochs."""
        return geometric_rungs(epochs, self._reduction)

    def promoted(self, standings: Sequence[Standing]) -> Sequence[int]:
        """Return the best of each band, the first of every band before the second of any, smaller networks first.

        One with an objective that is not finite counts, but never goes on.
        """
        best = [self._best(band) for band in self.bands(standings)]
        longest = max((len(each) for each in best), default=0)
        return [each[place] for place in range(longest) for each in best if place < len(each)]

    def bands(self, standings: Sequence[Standing]) -> list[list[Standing]]:
        """Return all that have reached a rung by MACs between powers of FACTOR, smallest first.

        A band with too few is joined with the next larger, the last with the one before.
        """
        least, joined, last = PROMOTIONS * self._reduction, list[list[Standing]](), math.inf
        for each in sorted(standings, key=lambda each: (each.macs, each.number)):
            power = math.floor(math.log(max(each.macs, 1.0)) / math.log(FACTOR))
            if not joined or (power != last and len(joined[-1]) >= least):
                joined.append([])
            joined[-1].append(each)
            last = power
        if len(joined) > 1 and len(joined[-1]) < least:
            few = joined.pop()
            joined[-1] += few
        return joined

    def _best(self, band: Sequence[Standing]) -> list[int]:
        """Return the numbers of a band's best 1/reduction, best first: by rank, crowding distance and objectives."""
        room = len(band) // self._reduction
        fit = [each for each in band if all(map(math.isfinite, each.values))]
        if not room or not fit:
            return []
        values = np.array([each.values for each in fit])
        directions: list[Direction] = ["min"] * values.shape[1]
        rank = np.array(ranks(values, directions))
        spread = np.zeros(len(fit))
        for one in range(rank.max() + 1):
            spread[rank == one] = _crowding(values[rank == one])
        order = sorted(range(len(fit)), key=lambda at: (rank[at], -spread[at], *fit[at].values, fit[at].number))
        return [fit[at].number for at in order[:room]]


def _crowding(values: Points) -> Points:
    """Return the crowding distance of each of the vectors [N, M] of one rank; infinite at the ends."""
    distance = np.zeros(len(values))
    for column in values.T:
        order = np.argsort(column, kind="stable")
        steps = column[order]
        width = steps[-1] - steps[0]
        if width > 0:
            distance[order[1:-1]] += (steps[2:] - steps[:-2]) / width
            distance[order[[0, -1]]] = np.inf
    return distance


def RULE(reduction: int) -> RungRule:  # noqa: N802
    """Return the rule: of each band, one of `reduction` trials goes on from each rung."""
    return ParetoHalving(reduction)
