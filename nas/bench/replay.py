"""One search replayed on a table: what it has found at each budget, and the sampler's CPU time.

Every suggestion is a charged trial, repeats too. A trial observes one of the point's runs, drawn at random.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import RandomSampler
from optuna.study import StudyDirection

from nas.bench.table import Array, Table
from nas.known_costs import Choices, KnownCosts
from nas.pareto import Direction, front, hypervolume
from nas.samplers import sampler
from trials.seeds import derive_seed

WAYS = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}
Tick = Callable[[int], None]
"""Is told of trials as they are done."""


@dataclass(frozen=True)
class Found:
    """Where a search stood when a budget was spent."""

    budget: int
    regret: float | None
    """Points of noise-free score that the best point by observed score is below the table's best; one objective."""
    hypervolume: float | None
    """Share of the true front's hypervolume that the observed front has, by noise-free scores; two objectives."""
    cpu_ms: float
    """Of process CPU time a trial, in the sampler and Optuna."""


class Task:
    """A table and what is wanted of it: the score alone, or the score and one cost."""

    def __init__(self, table: Table, cost: str | None = None) -> None:
        """Keep both."""
        self.table, self.cost = table, cost

    @property
    def objectives(self) -> tuple[str, ...]:
        """Return the names of what is optimised."""
        return ("score",) if self.cost is None else ("score", self.cost)

    @property
    def directions(self) -> list[Direction]:
        """Return the direction of each objective."""
        ways: list[Direction] = ["max", "min"]
        return ways[: len(self.objectives)]

    @cached_property
    def _truths(self) -> Array:
        table = self.table
        return np.stack([table.truth, *([] if self.cost is None else [table.costs[self.cost]])], axis=1)

    @cached_property
    def _box(self) -> tuple[tuple[float, float], float]:
        """Return the corner that hypervolumes are counted from, and the volume of the true front.

        The box reaches from the best to the median score, and from the cheapest point of the true front to its
        dearest and 10 % more.
        """
        above = self._truths[self._truths[:, 0] > np.median(self.table.truth)]
        best = above[front(above, self.directions)]
        corner = (float(np.median(self.table.truth)), 1.1 * float(best[:, 1].max()))
        return corner, hypervolume(best, self.directions, corner)

    def regret(self, points: NDArray[np.int64], observed: Array) -> float | None:
        """Return the regret after trials at these points with these observed scores; None with two objectives."""
        if self.cost is not None:
            return None
        return float(self.table.truth.max() - self.table.truth[points[np.argmax(observed)]])

    def volume(self, points: NDArray[np.int64], observed: Array) -> float | None:
        """Return the hypervolume after these trials; None with one objective."""
        if self.cost is None:
            return None
        corner, whole = self._box
        seen = np.stack([observed, self._truths[points, 1]], axis=1)
        kept = points[front(seen, self.directions)]
        return hypervolume(self._truths[kept], self.directions, corner) / whole if whole > 0 else 1.0

    def known_costs(self) -> KnownCosts | None:
        """Return what a sampler may know of points before they are trained; None where the table has nothing."""
        names = self.table.counted
        if not names:
            return None
        columns = np.stack([self.table.costs[name] for name in names], axis=1).tolist()
        steps = self.table.steps

        def of(choices: Choices) -> Sequence[float]:
            return columns[sum([steps[name][value] for name, value in choices.items()])]

        return KnownCosts(of, len(names), {1: names.index(self.cost)} if self.cost in names else {})


def replay(task: Task, name: str, budgets: Sequence[int], seed: int, tick: Tick = lambda done: None) -> list[Found]:
    """Run one search by the sampler of this name, once for each of its groups; return where it stood at each budget."""
    found = [
        each
        for startup, group in groups(name, budgets).items()
        for each in _run(task, name, group, startup, seed, tick)
    ]
    return sorted(found, key=lambda each: each.budget)


def groups(name: str, budgets: Sequence[int]) -> dict[int | None, list[int]]:
    """Return the budgets that one search can report on, by the number of random draws that it begins with."""
    found: dict[int | None, list[int]] = {}
    for budget in sorted(set(budgets)):
        found.setdefault(sampler(name).startup(budget), []).append(budget)
    return found


def _run(task: Task, name: str, budgets: Sequence[int], startup: int | None, seed: int, tick: Tick) -> list[Found]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table, noise = task.table, np.random.default_rng(_bits("noise", seed))
    at_seed = sampler(name).start(task.known_costs())
    study = optuna.create_study(directions=[WAYS[way] for way in task.directions])
    points, observed, found = np.zeros(budgets[-1], dtype=np.int64), np.zeros(budgets[-1]), list[Found]()
    spent = 0.0
    for number in range(budgets[-1]):
        begin = time.process_time()
        drawn = startup is not None and number < startup
        bits = _bits("draw" if drawn else "sampler", seed, number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.sampler = RandomSampler(seed=bits) if drawn else at_seed(bits)
        trial = study.ask()
        point = table.index(_suggested(trial, table.distributions))
        spent += time.process_time() - begin
        points[number] = point
        observed[number] = table.scores[point, noise.integers(table.scores.shape[1])]
        begin = time.process_time()
        study.tell(trial, [observed[number], *([] if task.cost is None else [table.costs[task.cost][point]])])
        spent += time.process_time() - begin
        tick(1)
        if (done := number + 1) in budgets:
            seen, values = points[:done], observed[:done]
            found.append(Found(done, task.regret(seen, values), task.volume(seen, values), 1e3 * spent / done))
    return found


def _suggested(trial: optuna.Trial, distributions: Mapping[str, Any]) -> dict[str, Any]:
    return {name: trial._suggest(name, each) for name, each in distributions.items()}


def _bits(*words: int | str) -> int:
    """Return a seed that Optuna's samplers take: 32 bits."""
    return derive_seed(*words) & 0xFFFFFFFF
