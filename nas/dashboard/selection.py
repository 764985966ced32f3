"""Which trials the front page shows, and how they divide into front, dominated, stopped and those without a place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.dashboard.address import Address
from nas.dashboard.frames import Frame, Numbers
from nas.dashboard.fronts import front_of
from nas.front_growth import finite
from nas.objective import Objective
from space.errors import NasError

Mask = NDArray[np.bool_]
EXTRA = ("trial", "epochs")
"""Axes that every study has besides its metrics."""


@dataclass(frozen=True)
class Selection:
    """What an address asks to see."""

    x: Objective
    y: Objective
    z: Objective | None
    log_x: bool
    log_y: bool
    limits: Mapping[str, tuple[float | None, float | None]]
    brush: tuple[float, float, float, float] | None
    zoom: tuple[float, float, float, float] | None
    """x from and to, y from and to, of what is looked at."""
    picked: tuple[str, int] | None

    @property
    def axes(self) -> tuple[Objective, ...]:
        """The objectives of the picture."""
        return (self.x, self.y) if self.z is None else (self.x, self.y, self.z)


@dataclass(frozen=True)
class Division:
    """The trials of a study as positions, by what the picture makes of them."""

    front: NDArray[np.int64]
    dominated: NDArray[np.int64]
    stopped: NDArray[np.int64]
    infeasible: NDArray[np.int64]
    failed: NDArray[np.int64]
    among: Mask
    """Complete trials that have a place, are within the limits and not hidden."""


def metrics_of(frames: Sequence[Frame]) -> list[str]:
    """Return the metrics that can be axes: objectives first, then the rest of what some study has a value of."""
    found = [objective.metric for frame in frames for objective in frame.objectives]
    found += [name for frame in frames for name, values in frame.metrics.items() if np.isfinite(values).any()]
    return list(dict.fromkeys([*found, *EXTRA]))


def selected(address: Address, frames: Sequence[Frame]) -> Selection:
    """Read the selection from an address. Raises NasError for a field that makes no sense, naming it."""
    metrics, first = metrics_of(frames), frames[0]
    objectives = [objective.metric for objective in first.objectives]
    learnt = next((name for name in ("accuracy", "loss") if name in objectives), objectives[0])
    other = next((name for name in objectives if name != learnt), "trial")
    x = address.chosen("x", metrics, other)
    y = address.chosen("y", metrics, learnt)
    z = address.chosen("z", metrics, "")
    log_x, log_y = _log(address, "logx", [frame.values(x) for frame in frames], x), _log(address, "logy", [], y)
    zoom = _corners(address, "zoom")
    if zoom and ((log_x and zoom[0] <= 0) or (log_y and zoom[2] <= 0)):
        raise NasError(f"address: zoom={address.get('zoom')!r}, allowed: numbers above 0 on a logarithmic axis")
    return Selection(
        first.objective(x),
        first.objective(y),
        first.objective(z) if z and z not in (x, y) else None,
        log_x,
        log_y,
        _limits(address, metrics),
        _corners(address, "brush"),
        zoom,
        picked(address.get("pick")),
    )


def _log(address: Address, field: str, values: Sequence[Numbers], metric: str) -> bool:
    """Return whether an axis is logarithmic: as asked for, else where costs spread over more than a factor of 5."""
    if address.get(field):
        return address.flag(field)
    known = np.concatenate([v[np.isfinite(v)] for v in values]) if values else np.zeros(0)
    return bool(len(known) and metric not in EXTRA and known.min() > 0 and known.max() / known.min() > 5)


def _limits(address: Address, metrics: Sequence[str]) -> dict[str, tuple[float | None, float | None]]:
    found = {name: (address.number(f"least.{name}"), address.number(f"most.{name}")) for name in metrics}
    return {name: pair for name, pair in found.items() if pair != (None, None)}


def _corners(address: Address, field: str) -> tuple[float, float, float, float] | None:
    text = address.get(field)
    if not text:
        return None
    try:
        x0, x1, y0, y1 = (float(part) for part in text.split(","))
        if not np.isfinite([x0, x1, y0, y1]).all():
            raise ValueError(text)
    except ValueError:
        raise NasError(f"address: {field}={text!r}, allowed: four numbers, x from and to, y from and to") from None
    return min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)


def picked(text: str) -> tuple[str, int] | None:
    """Read `STUDY:NUMBER`, None where it is empty. Raises NasError for anything else."""
    if not text:
        return None
    study, colon, number = text.rpartition(":")
    if not colon or not number.isdecimal() or len(number) > 9:
        raise NasError(f"address: trial {text!r}, allowed: STUDY:NUMBER")
    return study, int(number)


def divided(frame: Frame, selection: Selection, shown: Mask) -> Division:
    """Divide the trials of a study."""
    columns = [frame.values(objective.metric) for objective in selection.axes]
    within = shown & _inside(frame, selection.limits)
    placed = finite(*columns)
    if selection.log_x:
        placed &= columns[0] > 0
    if selection.log_y:
        placed &= columns[1] > 0
    among = within & placed & frame.state("complete")
    best = front_of(columns, [objective.better for objective in selection.axes], among)
    rest = among.copy()
    rest[best] = False
    x_known = within & np.isfinite(columns[0]) & ((columns[0] > 0) | (not selection.log_x))
    return Division(
        best,
        np.flatnonzero(rest),
        np.flatnonzero(within & placed & frame.state("stopped")),
        np.flatnonzero(x_known & frame.state("infeasible")),
        np.flatnonzero(x_known & frame.state("failed")),
        among,
    )


def _inside(frame: Frame, limits: Mapping[str, tuple[float | None, float | None]]) -> Mask:
    mask = np.ones(len(frame), dtype=bool)
    for name, (low, high) in limits.items():
        values = frame.values(name)
        with np.errstate(invalid="ignore"):
            # a limit judges what is known: a trial without the value stays, as in the search itself
            mask &= ~((values < low) if low is not None else np.zeros(len(frame), dtype=bool))
            mask &= ~((values > high) if high is not None else np.zeros(len(frame), dtype=bool))
    return mask


def brushed(frame: Frame, selection: Selection, among: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return those of the positions that lie in the brushed rectangle; all where nothing is brushed."""
    return among if selection.brush is None else within(frame, selection, selection.brush, among)


def within(
    frame: Frame, selection: Selection, corners: tuple[float, float, float, float], among: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return those of the positions that lie in a rectangle: x from and to, y from and to."""
    x0, x1, y0, y1 = corners
    x, y = frame.values(selection.x.metric)[among], frame.values(selection.y.metric)[among]
    return among[(x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)]
