"""The front of a study, read from its stored trials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas.objective import Objective, vector
from nas.pareto import Direction, dominates, front
from trials.rows import TrialRow


@dataclass(frozen=True)
class FrontPoint:
    """A trial that no other trial of its study beats in every objective."""

    trial: int
    """Number of the trial in its study."""
    architecture: str
    """Id of the architecture, 16 hex digits."""
    values: Mapping[str, float]
    """Every measured metric of the trial by name, with params and macs of the full-size network."""
    params: int
    macs: int
    description: str

    def as_json(self) -> dict[str, object]:
        """Return the point as JSON-able values, the form of `nas front --json`."""
        return {
            "trial": self.trial,
            "architecture": self.architecture,
            "values": dict(self.values),
            "params": self.params,
            "macs": self.macs,
            "description": self.description,
        }


def values_of(row: TrialRow) -> dict[str, float]:
    """Return every known number of a trial: its measurements so far, and the counts of its architecture."""
    counts = {"params": row.params, "macs": row.macs, "activations": row.extra.get("activations")}
    return {name: float(count) for name, count in counts.items() if count is not None} | row.readings


def description_of(row: TrialRow) -> str:
    """Return the line that says what the network of a trial is: the stored one, so that PyTorch stays out of it.

    Trials stored before descriptions were, and those of other programs, are described anew.
    """
    if isinstance(stored := row.extra.get("description"), str):
        return stored
    from space import Architecture, describe

    return describe(Architecture.model_validate_json(row.arch_json))


def front_rows(rows: Iterable[TrialRow], objectives: Sequence[Objective]) -> list[TrialRow]:
    """Return the complete trials on the front, best in the first objective first.

    Only `complete` trials count: a trial stopped early has the accuracy of a lesser training. A complete one with a
    reason broke a limit when it was measured again.
    """
    fine = (row for row in rows if row.state == "complete" and row.reason is None)
    done = [(row, vector(objectives, values_of(row))) for row in fine]
    kept = [(row, point) for row, point in done if point is not None]
    if not kept:
        return []
    best = front(np.array([point for _, point in kept]), [objective.better for objective in objectives])
    sign = -1.0 if objectives[0].better == "max" else 1.0
    chosen = sorted((kept[index] for index in best), key=lambda pair: (sign * pair[1][0], pair[0].number))
    return [row for row, _ in chosen]


def front_points(rows: Iterable[TrialRow], objectives: Sequence[Objective]) -> list[FrontPoint]:
    """Return the front of the given trials, best in the first objective first."""
    return [point_of(row, values_of(row)) for row in front_rows(rows, objectives)]


def point_of(row: TrialRow, values: Mapping[str, float]) -> FrontPoint:
    """Return a trial as a point of a front, with the given values."""
    return FrontPoint(
        trial=row.number,
        architecture=row.arch_id,
        values=dict(values),
        params=int(row.params or 0),
        macs=int(row.macs or 0),
        description=description_of(row),
    )


def joined(front: Sequence[FrontPoint], point: FrontPoint, objectives: Sequence[Objective]) -> list[FrontPoint] | None:
    """Return the front with one more point, or None where a point of the front dominates it."""
    directions: list[Direction] = [objective.better for objective in objectives]
    new = vector(objectives, point.values)
    old = [(each, vector(objectives, each.values)) for each in front]
    if new is None or any(values is not None and dominates(values, new, directions) for _, values in old):
        return None
    kept = [each for each, values in old if values is not None and not dominates(new, values, directions)]
    sign = -1.0 if directions[0] == "max" else 1.0
    return sorted([*kept, point], key=lambda each: (sign * each.values[objectives[0].metric], each.trial))
