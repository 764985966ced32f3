"""The table under the picture: the front, all complete trials, or those in the brushed rectangle."""

from __future__ import annotations

from typing import Any

import numpy as np

from nas.dashboard.address import link
from nas.dashboard.selection import EXTRA, brushed, divided, metrics_of, selected
from nas.dashboard.table import Column, Table
from nas.dashboard.view import View
from nas.front import description_of
from nas.front_table import unit_of

_DESCRIBED = 500
"""Rows whose networks are described; more are listed by their numbers."""


def front_table(view: View) -> Table:
    """Return the trials that the address asks for, one a row."""
    names = view.studies
    frames = [view.queries.frame(name) for name in names]
    selection = selected(view.address, frames)
    metrics = list(dict.fromkeys([o.metric for o in selection.axes if o.metric not in EXTRA] + [
        name for name in metrics_of(frames) if name not in EXTRA
    ]))
    everything = view.address.get("show") == "all" or selection.brush is not None
    found: list[tuple[str, int, list[float]]] = []
    for name, frame in zip(names, frames, strict=True):
        part = divided(frame, selection, view.queries.shown(name) | view.address.flag("hidden"))
        at = brushed(frame, selection, np.flatnonzero(part.among) if everything else part.front)
        numbers = np.column_stack([frame.values(metric)[at] for metric in metrics]) if len(at) else np.zeros((0, 1))
        found += [(name, number, row) for number, row in zip(at.tolist(), numbers.tolist(), strict=True)]
    _sort(view, metrics, found, selection.y)
    words = _descriptions(view, found)
    columns = [Column("trial"), *(Column(name, unit_of(name) or "number") for name in metrics), Column("network", long=True)]
    rows = [[f"{name}:{number}", *values, words.get((name, number), "")] for name, number, values in found]
    return Table("front", columns, rows, [link("network", name, number) for name, number, _ in found])


def _sort(view: View, metrics: list[str], found: list[Any], best: Any) -> None:
    by = view.address.chosen("sort", metrics, best.metric)
    if by not in metrics:
        return
    at = metrics.index(by)
    sign = -1.0 if view.queries.frame(view.studies[0]).objective(by).better == "max" else 1.0
    found.sort(key=lambda row: (np.isnan(row[2][at]), sign * row[2][at], row[1]))


def _descriptions(view: View, found: list[Any]) -> dict[tuple[str, int], str]:
    """Return the words for the rows of this page of the table, and of the others where they are few."""
    start = int(view.address.number("page") or 0) * 25
    wanted = found if len(found) <= _DESCRIBED else found[start : start + 25]
    words: dict[tuple[str, int], str] = {}
    for name in dict.fromkeys(row[0] for row in wanted):
        rows = view.queries.trials(name, [row[1] for row in wanted if row[0] == name])
        words |= {(name, number): description_of(row) for number, row in rows.items()}
    return words
