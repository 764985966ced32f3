"""The limit on latency while a search runs: what is predicted to break it by far is not measured, let alone trained."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from nas.latency_model import LatencyModel
from nas.objective import Limit
from nas.settings import SearchSettings
from space import Architecture, SpaceError
from trials.block_latency import BlockTable
from trials.evaluators.latency import Latency
from trials.rows import TrialRow

PREDICTED = "predicted_ms"
"""Key in a refused trial's `extra`."""
MOST = 200
"""Measured networks that the prediction learns from at most, the latest."""


@dataclass(frozen=True)
class TooSlow:
    """Why a point is refused unmeasured."""

    predicted_ms: float
    reason: str


class LatencyLimit:
    """Predicts latencies and learns from those that are measured in the search."""

    def __init__(self, limits: Sequence[Limit], model: LatencyModel) -> None:
        """Hold points to the upper bounds among the limits."""
        self._bound = min(limit.bound for limit in limits)
        self._limit = next(limit for limit in limits if limit.bound == self._bound)
        self._model = model

    @classmethod
    def of(cls, settings: SearchSettings, resolution: int) -> LatencyLimit | None:
        """Return the limit of a search by its settings; None where it has none, or where parts cannot be timed aside.

        Parts are timed in the process that proposes, while workers train: on a CPU thread of its own that is done by
        the thread's own time, on a GPU that all share it cannot be.
        """
        limits = [limit for limit in settings.limits if limit.metric == "latency_ms" and limit.side == "<="]
        timers = [each for each in settings.evaluators if isinstance(each, Latency)]
        if not limits or not timers or settings.device != "cpu" or settings.threads != 1:
            return None
        return cls(limits, LatencyModel(BlockTable(batch=timers[0].batch_size), resolution))

    def too_slow(self, arch: Architecture) -> TooSlow | None:
        """Return why a point breaks the limit beyond the error of predictions, None where it may hold."""
        try:
            predicted = self._model.predict(arch)
        except SpaceError:
            return None
        margin = self._model.margin
        if predicted <= self._bound * (1 + margin):
            return None
        reason = f"latency_ms predicted {predicted:.4g}, by more than {margin:.0%} over {self._limit}"
        return TooSlow(predicted, reason)

    def learn(self, arch: Architecture, measured_ms: float) -> None:
        """Take in what a network was measured to take."""
        with contextlib.suppress(SpaceError):
            self._model.tell(arch, measured_ms)

    def take_in(self, rows: Sequence[TrialRow]) -> None:
        """Take in the stored trials that were measured."""
        for row in [row for row in rows if "latency_ms" in row.readings][-MOST:]:
            self.learn(Architecture.model_validate_json(row.arch_json), row.readings["latency_ms"])
