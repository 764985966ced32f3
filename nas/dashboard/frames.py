"""A study as arrays, one entry a trial number, grown as the study grows.

Trials that are final are read once; what is measured afterwards is taken in by the measurement's id. A measurement that
is repeated in the same circumstances keeps its id, and its new value is seen only after a restart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.causes import STATES_WITH_CAUSE, Cause, Causes
from nas.objective import Objective, objectives_in
from space.errors import NasError, nearest
from trials.measurement import METRICS
from trials.rows import OPEN, STATES, Outline, StudyRow
from trials.store import Store

Numbers = NDArray[np.float64]
COUNTS = ("params", "macs", "activations")
_CODES = {state: code for code, state in enumerate(STATES)}


@dataclass(frozen=True)
class Frame:
    """All trials of a study in numbers; position i is trial number i, NaN stands for unknown."""

    row: StudyRow
    ids: NDArray[np.int64]
    states: NDArray[np.int8]
    """Positions in `trials.rows.STATES`."""
    epochs: NDArray[np.int64]
    metrics: Mapping[str, Numbers]
    """Every metric that some trial has: measured ones, params, macs, activations."""
    causes: Sequence[Cause]
    measured_to: int = 0
    """Id of the last measurement taken in."""
    _causes: Causes = field(default_factory=Causes)

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self.ids)

    @cached_property
    def objectives(self) -> tuple[Objective, ...]:
        """What the study looks for."""
        return objectives_in(self.row.config)

    @property
    def resolution(self) -> int:
        """Side in pixels of the images that params and MACs refer to."""
        return int(self.row.config.get("cost_resolution") or self.row.config.get("resolution") or 224)

    def state(self, *names: str) -> NDArray[np.bool_]:
        """Mark the trials in one of these states."""
        return np.isin(self.states, [_CODES[name] for name in names])

    def values(self, metric: str) -> Numbers:
        """Return a metric for every trial. Raises NasError naming the metrics there are."""
        if metric == "trial":
            return np.arange(len(self), dtype=np.float64)
        if metric == "epochs":
            return self.epochs.astype(np.float64)
        if metric not in self.metrics:
            if metric in METRICS:
                return np.full(len(self), np.nan)
            known = [*self.metrics, "trial", "epochs"]
            raise NasError(
                f"metric {metric!r}: not in study {self.row.name}, known: {', '.join(known)}{nearest(metric, known)}"
            )
        return self.metrics[metric]

    def objective(self, metric: str) -> Objective:
        """Return a metric with the direction in which it is better: the study's, the natural one, else less."""
        for objective in self.objectives:
            if objective.metric == metric:
                return objective
        better = METRICS[metric].better if metric in METRICS else "min"
        return Objective(metric=metric, better=better)


def read_frame(store: Store, row: StudyRow, known: Frame | None) -> Frame:
    """Return the frame of a study, growing the one that is known."""
    if known is None:
        empty = np.zeros(0, dtype=np.int64)
        nothing = np.zeros(0)
        known = Frame(row, empty, empty.astype(np.int8), empty, dict.fromkeys(COUNTS, nothing), ())
    open_ids = known.ids[np.isin(known.states, [_CODES[state] for state in OPEN])].tolist()
    # values first: of a trial that comes between the two queries, the next look finds both
    measured = store.values(row.id, after=known.measured_to)
    found = store.outlines(row.id, after=len(known) - 1, again=open_ids)
    if not found and not measured:
        return known
    return _grown(known, row, found, measured)


def _grown(known: Frame, row: StudyRow, found: Sequence[Outline], measured: Sequence[tuple[Any, ...]]) -> Frame:
    size = max(len(known), found[-1].number + 1 if found else 0)
    fields = dict(zip(Outline._fields, zip(*found, strict=True), strict=True)) if found else {}
    at = np.array(fields.get("number", ()), dtype=np.int64)

    def column(old: NDArray[Any], field: str, missing: Any) -> NDArray[Any]:
        new = np.full(size, missing, dtype=old.dtype)
        new[: len(old)] = old
        # None becomes NaN on the way to floats; whole numbers are never missing
        new[at] = np.array(fields.get(field, ()), dtype=old.dtype)
        return new

    ids = column(known.ids, "id", 0)
    metrics: dict[str, Numbers] = {name: column(known.metrics[name], name, np.nan) for name in COUNTS}
    for name, old in known.metrics.items():
        if name not in COUNTS:
            metrics[name] = np.concatenate([old, np.full(size - len(old), np.nan)])
    _take(metrics, ids, measured)
    states = np.full(size, _CODES["queued"], dtype=np.int8)
    states[: len(known)] = known.states
    # a complete trial with a reason broke a limit when it was measured again
    shown = ["infeasible" if each.state == "complete" and each.reason is not None else each.state for each in found]
    states[at] = [_CODES[state] for state in shown]
    for each in found:
        if each.reason is not None or each.state in STATES_WITH_CAUSE:
            known._causes.take(each.state, each.reason, each.number)
    epochs = column(known.epochs, "epochs", 0)
    last = measured[-1][0] if measured else known.measured_to
    return Frame(row, ids, states, epochs, metrics, known._causes.all(), last, known._causes)


def _take(metrics: dict[str, Numbers], ids: NDArray[np.int64], measured: Sequence[tuple[Any, ...]]) -> None:
    """Set measured values in place of the unknown; the first measurement of a metric stands."""
    groups: dict[str, tuple[list[int], list[float]]] = {}
    for _, trial_id, metric, value in measured:
        trials, values = groups.setdefault(metric, ([], []))
        trials.append(trial_id)
        values.append(value)
    for metric, (trials, values) in groups.items():
        # counts of the point itself come before those that an evaluator repeats
        old = metrics.setdefault(metric, np.full(len(ids), np.nan))
        at = np.searchsorted(ids, trials)
        inside = (at < len(ids)) & (ids[np.minimum(at, len(ids) - 1)] == trials)
        places, numbers = at[inside][::-1], np.asarray(values)[inside][::-1]
        new = np.full(len(ids), np.nan)
        new[places] = numbers
        metrics[metric] = np.where(np.isnan(old), new, old)
