"""Rung rules judged on recorded curves: each with the seconds, or the trials, that a search without rungs has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nas.bench.replay import Tick
from nas.bench.rung_readings import Readings, readings
from nas.bench.rung_replay import Array, Stretch, Trainings, budget_seconds, replay, stops, within
from nas.macs_bands import macs_bands
from nas.pareto import Direction, front, hypervolume
from nas.rungs import rung_rule

NONE = "none"
"""The rule that the others are compared with."""
BANDS = 3
"""Bands of MACs that finished trials are counted in."""
Equal = Literal["seconds", "trials"]
_WAYS: tuple[Direction, ...] = ("max", "min")


class Field:
    """All trainings of a file as what a search can find: fronts of final accuracy and MACs among them.

    Hypervolumes are those of `nas bench search`, but with the logarithm of MACs, which spread over decades: the box
    reaches from the best to the median final accuracy, and from the cheapest network of the whole file's front to 1.1
    times the MACs of its dearest.
    """

    def __init__(self, trainings: Trainings) -> None:
        """Keep the trainings."""
        self.trainings = trainings
        self._values = np.stack([trainings.accuracy[:, -1], np.log10(trainings.macs)], axis=1)

    @cached_property
    def _box(self) -> tuple[tuple[float, float], float]:
        """Return the corner that hypervolumes are counted from, and the volume of the whole file's front."""
        values = self._values[self.trainings.finished]
        middle = float(np.median(values[:, 0]))
        above = values[values[:, 0] > middle]
        best = above[front(above, _WAYS)]
        corner = (middle, float(best[:, 1].max(initial=-np.inf)) + float(np.log10(1.1)))
        return corner, hypervolume(best, _WAYS, corner)

    def volume(self, ended: NDArray[np.int64]) -> float:
        """Return the hypervolume of these finished trainings' front as a share of the whole file's."""
        corner, whole = self._box
        return hypervolume(self._values[ended], _WAYS, corner) / whole if whole > 0 else 1.0

    def regret(self, ended: NDArray[np.int64]) -> float:
        """Return the points of accuracy that the best of these is below the file's best; all of it for none."""
        best = self._values[self.trainings.finished, 0].max()
        return 100 * float(best - self._values[ended, 0].max(initial=0.0))

    @cached_property
    def _band(self) -> NDArray[np.int64]:
        band = np.zeros(len(self._values), dtype=np.int64)
        for index, inside in enumerate(macs_bands(self.trainings.macs, BANDS)):
            band[inside] = index
        return band

    def by_band(self, ended: NDArray[np.int64]) -> list[int]:
        """Return how many of these lie in each third of the file's networks by MACs, smallest first."""
        return np.bincount(self._band[ended], minlength=BANDS).tolist()


@dataclass(frozen=True)
class Row:
    """One rule at one budget on one file of curves, over all seeds."""

    curves: str
    rule: str
    default: bool
    """Is this the rule that a search takes where none is named?"""
    reduction: int
    epochs: int
    equal: Equal
    """What all rules had for a budget: the same CPU seconds, or the same number of trials begun."""
    budget: int
    """Trainings to the end that `none` makes for the same."""
    seeds: int
    hypervolume_mean: float
    hypervolume_median: float
    hypervolume_gain: float | None
    """Mean over seeds of the difference to `none` with the same order and seconds; None where that was not run."""
    hypervolume_gain_low: float | None
    hypervolume_gain_high: float | None
    """Limits of 95 % by the spread over seeds: of the order of the points, not of other points."""
    regret_mean: float
    regret_median: float
    seconds: float
    """CPU seconds of training, mean: less than the budget where the points gave out or the next stretch did not fit."""
    budget_seconds: float
    """What `none` takes."""
    trials_begun: float
    trials_finished: float
    finished_by_band: tuple[float, ...]
    """Of those finished, how many lie in each third of the file's networks by MACs, smallest first."""
    exhausted: float
    """Share of the searches in which all points of the file were begun."""
    rungs: tuple[Readings, ...]
    """How well the readings at the rule's rungs rank the final accuracies."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


@dataclass(frozen=True)
class _Found:
    """Where one search stood when a budget was spent."""

    volume: float
    regret: float
    seconds: float
    budget_seconds: float
    begun: int
    finished: int
    by_band: list[int]


def judge(
    files: Sequence[Trainings],
    rules: Sequence[tuple[str, int]],
    budgets: Sequence[int],
    seeds: int,
    *,
    default: str,
    equal: Equal = "seconds",
    tick: Tick = lambda done: None,
) -> Iterator[Row]:
    """Yield a row for each file, rule with its reduction, and budget; `none` comes first.

    equal:  what a budget buys for every rule: the CPU seconds of so many whole trainings, or so many trials begun.
    """
    for trainings in files:
        field, base = Field(trainings), dict[int, Array]()
        for name, reduction in sorted(rules, key=lambda each: each[0] != NONE):
            found: dict[int, list[_Found]] = {budget: [] for budget in budgets}
            for seed in range(seeds):
                for budget, each in _search(field, name, reduction, budgets, seed, equal).items():
                    found[budget].append(each)
                tick(1)
            stopped = stops(rung_rule(name)(reduction), trainings.epochs)[:-1]
            rungs = tuple(readings(trainings, stop) for stop in stopped)
            for budget in budgets:
                volumes = np.array([each.volume for each in found[budget]])
                if name == NONE:
                    base[budget] = volumes
                what = {"curves": trainings.name, "rule": name, "default": name == default, "reduction": reduction}
                what |= {"epochs": trainings.epochs, "equal": equal, "budget": budget, "rungs": rungs}
                yield Row(**what, **_figures(found[budget], volumes, base.get(budget), len(trainings.macs)))


def _search(
    field: Field, name: str, reduction: int, budgets: Sequence[int], seed: int, equal: Equal
) -> dict[int, _Found]:
    trainings = field.trainings
    limits = {budget: budget_seconds(trainings, budget, seed) for budget in budgets}
    if equal == "trials":
        return {
            budget: _found(field, replay(trainings, name, reduction, seed, trials=budget), limit)
            for budget, limit in limits.items()
        }
    stretches = replay(trainings, name, reduction, seed, seconds=max(limits.values()))
    return {budget: _found(field, within(stretches, limit), limit) for budget, limit in limits.items()}


def _found(field: Field, stretches: Sequence[Stretch], limit: float) -> _Found:
    ended = np.array([each.training for each in stretches if each.end], dtype=np.int64)
    return _Found(
        volume=field.volume(ended),
        regret=field.regret(ended),
        seconds=sum(each.seconds for each in stretches),
        budget_seconds=limit,
        begun=sum(each.begin for each in stretches),
        finished=len(ended),
        by_band=field.by_band(ended),
    )


def _figures(found: Sequence[_Found], volumes: Array, base: Array | None, points: int) -> dict[str, Any]:
    """Return the fields of a row that are taken over seeds."""
    mean = margin = None
    if base is not None:
        gains = volumes - base
        mean = float(gains.mean())
        margin = 1.96 * float(gains.std(ddof=1)) / len(gains) ** 0.5 if len(gains) > 1 else None
    regrets = np.array([each.regret for each in found])
    return {
        "seeds": len(found),
        "hypervolume_mean": float(volumes.mean()),
        "hypervolume_median": float(np.median(volumes)),
        "hypervolume_gain": mean,
        "hypervolume_gain_low": None if mean is None or margin is None else mean - margin,
        "hypervolume_gain_high": None if mean is None or margin is None else mean + margin,
        "regret_mean": float(regrets.mean()),
        "regret_median": float(np.median(regrets)),
        "seconds": float(np.mean([each.seconds for each in found])),
        "budget_seconds": float(np.mean([each.budget_seconds for each in found])),
        "trials_begun": float(np.mean([each.begun for each in found])),
        "trials_finished": float(np.mean([each.finished for each in found])),
        "finished_by_band": tuple(np.mean([each.by_band for each in found], axis=0).tolist()),
        "exhausted": float(np.mean([each.begun == points for each in found])),
    }
