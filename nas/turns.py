"""Time several ways of doing one thing in turns, so that what else the machine does meets them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

Clock = Callable[[], float]
PATIENCE_S = 1.0
"""Seconds of one run beyond which a way is not timed again."""


class Quartiles(NamedTuple):
    """Quartiles of the seconds that a way took."""

    low: float
    median: float
    high: float


def clock_of(threads: int, device: str = "cpu") -> Clock:
    """Return CPU time of the process for one thread on a CPU, which others disturb little, else time on the wall."""
    return time.process_time if threads == 1 and device == "cpu" else time.perf_counter


def by_turns(
    ways: Mapping[str, Callable[[], object]], clock: Clock, rounds: int, *, patience: float = PATIENCE_S
) -> dict[str, Quartiles]:
    """Return the quartiles of each way's seconds; a first run of each is not counted unless it takes long."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for turn in range(rounds + 1):
        first = turn % len(names)  # who comes first finds what the one before left in the caches
        for name in names[first:] + names[:first]:
            if spent[name] and spent[name][0] > patience:
                continue
            begin = clock()
            ways[name]()
            took = clock() - begin
            if turn or took > patience:
                spent[name].append(took)
    return {name: quartiles_of(each) for name, each in spent.items()}


def quartiles_of(values: list[float]) -> Quartiles:
    """Return the quartiles of some seconds; one alone is all three."""
    if len(values) == 1:
        return Quartiles(values[0], values[0], values[0])
    return Quartiles(*statistics.quantiles(values, n=4, method="inclusive"))
