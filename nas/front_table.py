"""The front as a table: one line a trial, the objectives first."""

from __future__ import annotations

from collections.abc import Sequence

from nas.front import FrontPoint
from nas.quantities import measured
from nas.tables import Column
from trials.measurement import METRICS

_IMAGES = ("train_", "validation_", "test_")
"""How metrics begin that a full training takes on each part of the data."""


def unit_of(metric: str) -> str:
    """Return the unit of a metric, on whatever images it was taken; empty for one that is not registered."""
    plain = next((metric.removeprefix(images) for images in _IMAGES if metric.startswith(images)), metric)
    return METRICS[plain].unit if plain in METRICS else ""


def shown_metrics(objectives: Sequence[str]) -> list[str]:
    """Return the metrics to show: the objectives, then the size of the network."""
    return list(dict.fromkeys([*objectives, "params", "macs"]))


def front_columns(objectives: Sequence[str]) -> list[Column]:
    """Return the columns of a front's table."""
    numbers = [Column(name, right=True) for name in shown_metrics(objectives)]
    return [Column("trial", right=True), *numbers, Column("network", long=True)]


def front_cells(point: FrontPoint, objectives: Sequence[str]) -> list[str]:
    """Return the cells of one trial's line."""
    numbers = [measured(point.values.get(name), unit_of(name)) for name in shown_metrics(objectives)]
    return [str(point.trial), *numbers, point.description]
