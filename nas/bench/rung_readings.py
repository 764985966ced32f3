"""How far a reading on the way of a training tells its end: what a rung rule has to go by, and the noise beneath."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.bench.rung_replay import Array, Trainings
from nas.macs_bands import macs_bands
from nas.quantities import short
from nas.rank_correlation import Interval, spearman

BANDS = 3
OVERALL = "all"


@dataclass(frozen=True)
class Agreement:
    """How well one list of accuracies ranks another of the same networks."""

    macs: str
    """`all`, or the MACs from and to."""
    networks: int
    spearman: Interval


@dataclass(frozen=True)
class Readings:
    """The accuracies at a stop against the final ones."""

    epoch: int
    epochs: int
    cost: float
    """CPU seconds up to here as a share of all."""
    agreements: tuple[Agreement, ...]
    """Over all networks first, then in each band of MACs, smallest first."""


@dataclass(frozen=True)
class Noise:
    """What training a network again with another seed changes."""

    networks: int
    deviation: float
    """Standard deviation of one training's final accuracy, in points."""
    spearman: Interval
    """The ceiling of every ranking: one training's final accuracies against the other's."""


def readings(trainings: Trainings, epoch: int) -> Readings:
    """Return what the accuracies after so many epochs tell of the final ones, of trainings that came to their end."""
    ended = trainings.finished
    macs, final = trainings.macs[ended], trainings.accuracy[ended, -1]
    now = trainings.accuracy[ended, epoch - 1]
    found = [Agreement(OVERALL, len(ended), spearman(now, final))]
    for band in macs_bands(macs, BANDS):
        name = f"{short(float(macs[band[0]]))} to {short(float(macs[band[-1]]))}"
        found.append(Agreement(name, len(band), spearman(now[band], final[band])))
    cost = float(trainings.seconds[:, :epoch].sum() / trainings.seconds.sum())
    return Readings(epoch, trainings.epochs, cost, tuple(found))


def noise(trainings: Trainings) -> Noise | None:
    """Return what the trainings that were made twice tell of noise; None where fewer than two were."""
    first, other = trainings.again
    if len(first) < 2:
        return None
    return Noise(len(first), _deviation(first, other), spearman(first, other))


def _deviation(first: Array, other: Array) -> float:
    """Return the deviation of one of a pair: half the mean square of the differences, as both vary."""
    return 100 * float(np.sqrt(np.mean((first - other) ** 2) / 2))
