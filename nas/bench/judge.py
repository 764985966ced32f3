"""Samplers judged on tables: every sampler on every task with the same seeds, and how they compare with chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nas.bench.replay import Found, Task, Tick, groups, replay
from nas.bench.table import Table

CHANCE = "random"
"""The sampler that `relative` compares with."""


@dataclass(frozen=True)
class Row:
    """One sampler at one budget on one task, over all seeds; a figure that a task does not have is None."""

    table: str
    sampler: str
    default: bool
    """Is this the sampler that a search takes where none is named?"""
    objectives: tuple[str, ...]
    budget: int
    seeds: int
    regret_mean: float | None
    regret_median: float | None
    hypervolume_mean: float | None
    hypervolume_median: float | None
    relative: float | None
    """The mean regret over random search's; None where that was not run."""
    cpu_ms_per_trial: float

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self) | {"objectives": list(self.objectives)}


def tasks(table: Table) -> list[Task]:
    """Return the tasks of a table: the score alone, and with the first cost that is known before training."""
    cost = next(iter((*table.counted, *table.costs)), None)
    return [Task(table), *([] if cost is None else [Task(table, cost)])]


def work(tables: Sequence[Table], samplers: Sequence[str], budgets: Sequence[int], seeds: int) -> int:
    """Return the number of trials that `judge` will run."""
    searches = sum(max(group) for name in samplers for group in groups(name, budgets).values())
    return sum(len(tasks(table)) for table in tables) * seeds * searches


def judge(
    tables: Sequence[Table],
    samplers: Sequence[str],
    budgets: Sequence[int],
    seeds: int,
    *,
    default: str,
    tick: Tick = lambda done: None,
) -> Iterator[Row]:
    """Yield a row for each table, task, sampler and budget, as they come in."""
    for task in (task for table in tables for task in tasks(table)):
        chance: dict[int, float | None] = {}
        for name in sorted(samplers, key=lambda name: name != CHANCE):
            runs = [replay(task, name, budgets, seed, tick) for seed in range(seeds)]
            for found in zip(*runs, strict=True):
                row = _row(task, name, found, chance, default=name == default)
                if name == CHANCE:
                    chance[row.budget] = row.regret_mean
                    row = _row(task, name, found, chance, default=name == default)
                yield row


def _row(task: Task, name: str, found: Sequence[Found], chance: dict[int, float | None], *, default: bool) -> Row:
    regrets = [each.regret for each in found if each.regret is not None]
    volumes = [each.hypervolume for each in found if each.hypervolume is not None]
    budget = found[0].budget
    base, mean = chance.get(budget), float(np.mean(regrets)) if regrets else None
    return Row(
        table=task.table.name,
        sampler=name,
        default=default,
        objectives=task.objectives,
        budget=budget,
        seeds=len(found),
        regret_mean=mean,
        regret_median=float(np.median(regrets)) if regrets else None,
        hypervolume_mean=float(np.mean(volumes)) if volumes else None,
        hypervolume_median=float(np.median(volumes)) if volumes else None,
        relative=mean / base if mean is not None and base else None,
        cpu_ms_per_trial=float(np.mean([each.cpu_ms for each in found])),
    )


@dataclass(frozen=True)
class Summary:
    """One sampler at one budget over all tables."""

    sampler: str
    budget: int
    relative: float | None
    """Mean over the tables with one objective of the mean regret over random search's."""
    hypervolume: float | None
    """Mean over the tables with two objectives of the mean hypervolume."""
    cpu_ms_per_trial: float


def summaries(rows: Sequence[Row]) -> list[Summary]:
    """Return what the rows come to for each sampler and budget."""
    out: list[Summary] = []
    for name, budget in dict.fromkeys((row.sampler, row.budget) for row in rows):
        mine = [row for row in rows if (row.sampler, row.budget) == (name, budget)]
        relatives = [row.relative for row in mine if row.relative is not None]
        volumes = [row.hypervolume_mean for row in mine if row.hypervolume_mean is not None]
        out.append(
            Summary(
                name,
                budget,
                float(np.mean(relatives)) if relatives else None,
                float(np.mean(volumes)) if volumes else None,
                float(np.mean([row.cpu_ms_per_trial for row in mine])),
            )
        )
    return out
