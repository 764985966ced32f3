"""Where a network comes from: the trials that its sampler bred it from, as the search stored them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nas.dashboard.queries import Queries
from trials.rows import TrialRow

GENERATIONS = 12
"""Ancestors that are followed."""
_CLOSED = "-"


def parents_of(queries: Queries, study: str, row: TrialRow) -> list[TrialRow]:
    """Return the trials that a trial was bred or mended from, the one it has most of first."""
    numbers = [number for number in row.extra.get("parents", ()) if isinstance(number, int)]
    if not numbers and row.sampler == "mended":
        # stores of older versions: the refused proposal before it
        refused = np.flatnonzero(queries.frame(study).state("infeasible", "duplicate")[: row.number])
        numbers = refused[-1:].tolist()
    found = queries.trials(study, numbers) if numbers else {}
    return [found[number] for number in numbers if number in found]


def ancestors(queries: Queries, study: str, row: TrialRow) -> list[int]:
    """Return the first parent, its first parent, and so on."""
    line: list[int] = []
    while len(line) < GENERATIONS and (parents := parents_of(queries, study, row)):
        row = parents[0]
        line.append(row.number)
    return line


def differing(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """Return in words each choice in which two points differ; a choice that one of them has not is a dash."""
    paths = [path for path in dict.fromkeys([*here, *there]) if here.get(path, _CLOSED) != there.get(path, _CLOSED)]
    return [
        f"{path or 'macro design'}: {here.get(path, _CLOSED)} where it has {there.get(path, _CLOSED)}" for path in paths
    ]
