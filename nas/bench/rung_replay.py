"""A search with rungs replayed on recorded curves: points in random order, workers on simulated time, nothing trained.

Time is that of the recorded CPU seconds, one worker a core. A free worker takes the best trial that waits at the latest
rung that has one to promote, else the next point; where neither is left it waits for the others.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.bench.curves import Curves, CurvesError
from nas.rung_rule import RungRule, Standing
from nas.rungs import rung_rule

Array = NDArray[np.float64]
WORKERS = 4


@dataclass(frozen=True)
class Trainings:
    """The first training of each point of a file, read at equal steps."""

    name: str
    macs: Array
    """[points] of the points themselves."""
    accuracy: Array
    """[points, epochs] in [0, 1]; NaN from where a training failed."""
    seconds: Array
    """[points, epochs] of CPU time; 0 from where a training failed."""
    again: tuple[Array, Array]
    """Final accuracies of the points that were trained twice: the first training's and the other's."""

    @classmethod
    def of(cls, name: str, curves: Curves, epochs: int | None = None) -> Trainings:
        """Take the trainings of a file; with `epochs`, as if only so many readings had been made of each.

        Raises CurvesError where the file has no finished training or its epochs cannot be grouped so.
        """
        firsts = {run.point: run for run in curves.runs if run.repeat == 0}
        recorded = max((len(run.accuracy) for run in firsts.values()), default=0)
        if not any(run.failure is None for run in firsts.values()):
            raise CurvesError(f"{name}: no training came to its end")
        count = recorded if epochs is None else epochs
        if recorded % count:
            raise CurvesError(f"{name}: {recorded} epochs were recorded, {count} readings are no divisor of them")
        step = recorded // count
        accuracy, seconds = np.full((len(firsts), recorded), np.nan), np.zeros((len(firsts), recorded))
        for row, run in enumerate(firsts.values()):
            accuracy[row, : len(run.accuracy)] = run.accuracy
            seconds[row, : len(run.seconds)] = run.seconds
        ends = {(run.point, run.repeat): run.accuracy[-1] for run in curves.runs if run.failure is None}
        pairs = [(ends[point, 0], end) for (point, repeat), end in ends.items() if repeat == 1 and (point, 0) in ends]
        first, other = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
        macs = np.array([curves.points[point].macs for point in firsts], dtype=np.float64)
        grouped = seconds.reshape(len(firsts), count, step).sum(axis=2)
        return cls(name, macs, accuracy[:, step - 1 :: step], grouped, (first, other))

    @property
    def epochs(self) -> int:
        """Return the number of readings of a training."""
        return self.accuracy.shape[1]

    @property
    def finished(self) -> NDArray[np.int64]:
        """Return the positions of the trainings that came to their end."""
        return np.flatnonzero(~np.isnan(self.accuracy[:, -1]))


@dataclass(frozen=True)
class Stretch:
    """A piece of a training, from one stop to the next."""

    training: int
    """Position in the trainings."""
    begin: bool
    """Is it the first piece?"""
    end: bool
    """Is it the last, and did the training come to its end?"""
    seconds: float


def stops(rule: RungRule, epochs: int) -> list[int]:
    """Return the epochs after which the rule stops trainings; the last is their end."""
    return [max(1, round(rung.epochs * epochs)) for rung in rule.rungs(epochs)]


def budget_seconds(trainings: Trainings, trials: int, seed: int) -> float:
    """Return the CPU seconds of training the first so many points of a seed's order to their end."""
    return float(trainings.seconds[_order(trainings, seed)[:trials]].sum())


def replay(
    trainings: Trainings, name: str, reduction: int, seed: int, *, seconds: float = math.inf, trials: int | None = None
) -> list[Stretch]:
    """Run one search by the rule of this name; return its stretches in the order in which they were begun.

    seconds:  the last stretch is the first that goes beyond them, where the points last so long.
    trials:   points to begin at most; None: all of the file.
    """
    spent, found = 0.0, list[Stretch]()
    for stretch in _Search(trainings, rung_rule(name)(reduction), _order(trainings, seed)[:trials]).stretches():
        found.append(stretch)
        spent += stretch.seconds
        if spent > seconds:
            break
    return found


def within(stretches: Sequence[Stretch], seconds: float) -> list[Stretch]:
    """Return the stretches that were begun before the first that does not fit into these seconds."""
    total = np.cumsum([each.seconds for each in stretches])
    # the sum of the same trainings in another order may differ in its last bits
    return list(stretches[: int(np.searchsorted(total, seconds * (1 + 1e-9), side="right"))])


def _order(trainings: Trainings, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(len(trainings.macs))


class _Search:
    """The state of a search: who waits at which rung, and what the workers are at."""

    def __init__(self, trainings: Trainings, rule: RungRule, order: NDArray[np.int64]) -> None:
        self._trainings, self._rule = trainings, rule
        self._stops = stops(rule, trainings.epochs)
        self._left = order.tolist()[::-1]
        self._waiting: list[dict[int, Standing]] = [{} for _ in self._stops[:-1]]
        self._gone: list[set[int]] = [set() for _ in self._stops[:-1]]
        self._free: list[list[int]] = [[] for _ in self._stops[:-1]]
        """At each rung, who may go on, the best last."""
        self._begun = dict[int, int]()
        """Training of each trial, by its number."""

    def stretches(self) -> Iterator[Stretch]:
        """Yield what is begun, in the order of simulated time."""
        running: list[tuple[float, int, int, int]] = []
        now, count = 0.0, 0
        while True:
            while len(running) < WORKERS and (work := self._next()) is not None:
                number, rung = work
                stretch = self._stretch(number, rung)
                count += 1
                heapq.heappush(running, (now + stretch.seconds, count, number, rung))
                yield stretch
            if not running:
                return
            now, _, number, rung = heapq.heappop(running)
            self._arrived(number, rung)

    def _next(self) -> tuple[int, int] | None:
        """Return a trial and the stop it is trained to; None where nothing can be done now."""
        for rung in reversed(range(len(self._free))):
            if self._free[rung]:
                number = self._free[rung].pop()
                self._gone[rung].add(number)
                return number, rung + 1
        if not self._left:
            return None
        number = len(self._begun)
        self._begun[number] = self._left.pop()
        return number, 0

    def _stretch(self, number: int, rung: int) -> Stretch:
        training = self._begun[number]
        start, stop = self._stops[rung - 1] if rung else 0, self._stops[rung]
        seconds = float(self._trainings.seconds[training, start:stop].sum())
        ended = stop == self._trainings.epochs and not np.isnan(self._trainings.accuracy[training, -1])
        return Stretch(training, rung == 0, bool(ended), seconds)

    def _arrived(self, number: int, rung: int) -> None:
        """Let a trial stand at its stop and ask the rule anew; one that has failed on the way is gone."""
        training = self._begun[number]
        reading = float(self._trainings.accuracy[training, self._stops[rung] - 1])
        if rung == len(self._waiting) or np.isnan(reading):
            return
        macs = float(self._trainings.macs[training])
        waiting = self._waiting[rung]
        waiting[number] = Standing(number, macs, (-reading, macs))
        promoted = self._rule.promoted(list(waiting.values()))
        self._free[rung] = [each for each in promoted if each not in self._gone[rung]][::-1]
