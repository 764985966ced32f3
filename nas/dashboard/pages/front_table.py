"""The table under the picture: the front, all complete trials, or those in the brushed rectangle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nas.dashboard.address import link
from nas.dashboard.frames import Frame, Numbers
from nas.dashboard.selection import EXTRA, Division, Selection, brushed, divided, metrics_of, selected
from nas.dashboard.table import Column, Table
from nas.dashboard.view import View
from nas.front import description_of
from nas.front_table import unit_of

_MOST_COLUMNS = 6
"""Metrics that a page of the table shows; its files have all."""
_MOST_DESCRIBED = 2000
"""Rows of a file up to which networks are described; more are listed by their numbers."""


def front_table(view: View) -> Table:
    """Return the trials that the address asks for, one a row."""
    return _table(view, 0, None)


def front_page(view: View, rows: int) -> Table:
    """Return the rows of the page of the table that the address names."""
    return _table(view, max(0, int(view.address.number("page") or 0)) * rows, rows)


def _table(view: View, start: int, rows: int | None) -> Table:
    names = view.studies
    frames = [view.queries.frame(name) for name in names]
    selection = selected(view.address, frames)
    axes = [objective.metric for objective in selection.axes]
    metrics = [name for name in dict.fromkeys([*axes, *metrics_of(frames)]) if name not in EXTRA]
    everything = view.address.get("show") == "all" or selection.brush is not None
    studies, numbers = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    values = np.zeros((0, len(metrics)))
    for index, frame in enumerate(frames):
        part = division(view, frame, selection)
        at = brushed(frame, selection, np.flatnonzero(part.among) if everything else part.front)
        studies = np.concatenate([studies, np.full(len(at), index)])
        numbers = np.concatenate([numbers, at])
        values = np.concatenate([values, np.column_stack([frame.values(metric)[at] for metric in metrics])])
    order = _order(view, metrics, values, numbers, frames[0], selection)
    if start >= len(order):
        start = 0
    window = order[start : None if rows is None else start + rows]
    found = [(names[studies[row]], int(numbers[row])) for row in window]
    words = _descriptions(view, found) if len(found) <= _MOST_DESCRIBED else {}
    kept = list(range(len(metrics))) if rows is None else _telling(values[window], len(axes))
    columns = [Column("trial"), *(Column(metrics[at], unit_of(metrics[at]) or "number") for at in kept)]
    made = [
        [f"{name}:{number}", *values[row, kept].tolist(), words.get((name, number), "")]
        for row, (name, number) in zip(window, found, strict=True)
    ]
    links = [link("network", name, number) for name, number in found]
    return Table("front", [*columns, Column("network", long=True)], made, links, len(order), start)


def _telling(values: Numbers, first: int) -> list[int]:
    """Return the columns that a page shows: the `first`, then those with the most values, as many as are readable."""
    known = np.isfinite(values).sum(axis=0)
    others = sorted(range(first, values.shape[1]), key=lambda at: (-known[at], at))
    return [*range(first), *sorted(others[: _MOST_COLUMNS - first])]


def _order(
    view: View, metrics: list[str], values: Numbers, numbers: NDArray[np.int64], first: Frame, selection: Selection
) -> NDArray[np.int64]:
    by = view.address.chosen("sort", metrics, selection.y.metric)
    if by not in metrics or not len(values):
        return np.argsort(numbers, kind="stable")
    sign = -1.0 if first.objective(by).better == "max" else 1.0
    return np.lexsort((numbers, sign * values[:, metrics.index(by)]))


def division(view: View, frame: Frame, selection: Selection) -> Division:
    """Return how the trials of a study divide; the picture and the table ask for the same."""
    hidden = view.address.flag("hidden")
    limits = tuple(sorted(selection.limits.items()))
    key = ("division", frame.row.name, selection.axes, selection.log_x, selection.log_y, limits, hidden)
    return view.queries.kept(key, lambda: divided(frame, selection, view.queries.shown(frame.row.name) | hidden))


def _descriptions(view: View, found: list[tuple[str, int]]) -> dict[tuple[str, int], str]:
    words: dict[tuple[str, int], str] = {}
    for name in dict.fromkeys(name for name, _ in found):
        rows = view.queries.trials(name, [number for study, number in found if study == name])
        words |= {(name, number): description_of(row) for number, row in rows.items()}
    return words
