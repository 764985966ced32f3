"""Rungs at 1, 1/r, 1/r^2, ... of the epochs: the stops of successive halving (arXiv:1810.05934, sec. 3)."""

from __future__ import annotations

from nas.rung_rule import Rung
from space.errors import NasError


def checked_reduction(reduction: int) -> int:
    """Return the reduction factor. Raises NasError where it reduces nothing."""
    if reduction < 2:
        raise NasError(f"fidelity: reduction {reduction}, allowed: 2 or more")
    return reduction


def geometric_rungs(epochs: int, reduction: int) -> tuple[Rung, ...]:
    """Return the stops of a training of so many epochs: the end, and 1/reduction of each stop's epochs before it.

    Stops are whole epochs, rounded down, and at least one; a training shorter than `reduction` epochs has only its end.
    """
    stops = [epochs]
    while (stop := stops[-1] // reduction) >= 1:
        stops.append(stop)
    return tuple(Rung(stop / epochs) for stop in reversed(stops))
