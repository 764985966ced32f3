"""Admission: which points may be trained. Duplicates and infeasible points are refused before any training."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from nas.fitted_space import FittedSpace
from nas.latency_limit import LatencyLimit
from nas.objective import COUNTED, Limit, ObjectiveError, violated, violation
from nas.training_size import TrainingSize
from space import Architecture, SpaceError
from trials.rows import TrialRow

DRAWS = 64
"""Draws in a row that may all have been seen before, until the space is listed or given up."""
LISTED = 4_000
"""Spaces of at most this many points are listed to the last one before a search ends as exhausted."""


@dataclass(frozen=True)
class Verdict:
    """What admission says of a point, with its cost where that can be computed."""

    state: Literal["queued", "duplicate", "infeasible"]
    reason: str | None
    params: int | None
    macs: int | None
    activations: int | None
    duplicate_of: int | None = None
    predicted_ms: float | None = None
    """The predicted latency, of a point that is refused for it."""

    @property
    def values(self) -> dict[str, float]:
        """Return the known counts by metric."""
        found = {"params": self.params, "macs": self.macs, "activations": self.activations}
        found |= {"latency_ms": self.predicted_ms}
        return {name: float(value) for name, value in found.items() if value is not None}


class Admission:
    """Judges points by the limits and by what the study has already seen."""

    def __init__(
        self, space: FittedSpace, size: TrainingSize, limits: Sequence[Limit], latency: LatencyLimit | None = None
    ) -> None:
        """Start with nothing seen; `latency` refuses points that are too slow before they are measured."""
        self.latency = latency
        self.space, self.size = space, size
        self.limits = tuple(limit for limit in limits if limit.metric in COUNTED)
        self.seen: dict[str, int] = {}
        self._macs_cap, self._least_cap = math.inf, 0.0

    def remember(self, rows: Iterable[TrialRow]) -> None:
        """Count the architectures of these trials as seen."""
        for row in rows:
            self.seen.setdefault(row.arch_id, row.number)

    def judge(self, arch: Architecture) -> Verdict:
        """Return whether the point may be trained, and why not."""
        try:
            params, macs, activations = self.size.cost(arch)
            self.size.training_cost(arch)
        except SpaceError as error:
            return Verdict("infeasible", str(error), None, None, None)
        if (first := self.seen.get(arch.id)) is not None:
            return Verdict("duplicate", f"same network as trial {first}", params, macs, activations, first)
        verdict = Verdict("queued", None, params, macs, activations)
        if reason := violated(self.limits, verdict.values):
            return Verdict("infeasible", reason, params, macs, activations)
        if self.latency is not None and (slow := self.latency.too_slow(arch)) is not None:
            return Verdict("infeasible", slow.reason, params, macs, activations, predicted_ms=slow.predicted_ms)
        return verdict

    def slower_than_allowed(self, macs: float) -> None:
        """Take note of a network that measured too slow: draws prefer less than half its MACs until one is fast enough.

        One draw in four ignores this, so that no feasible point is shut out.
        """
        self._macs_cap = min(self._macs_cap, max(macs / 2, self._least_cap))

    def fast_enough(self, macs: float) -> None:
        """Take note of a network that meets the limits of measured metrics."""
        self._macs_cap = max(self._macs_cap, 4 * macs)

    def draw(self, rng: random.Random) -> Architecture | None:
        """Draw a feasible point that the study has not seen; None where there seems to be no other."""
        for _ in range(DRAWS):
            cap = self._macs_cap if rng.random() < 0.75 else math.inf
            try:
                arch = self.space.draw(rng, partial(self.over, cap=cap))
            except SpaceError:
                if math.isinf(cap):
                    break
                # finding that no network is so small takes seconds, so the cap goes there no more
                self._least_cap = self._macs_cap = max(2 * cap, self._least_cap)
                continue
            if arch.id not in self.seen:
                return arch
        return self._any_left(rng)

    def over(self, arch: Architecture, cap: float = math.inf) -> float:
        """Return how far a point is over the limits, and over `cap` MACs: 0 inside, inf where it cannot be trained."""
        try:
            cost = self.size.cost(arch)
        except SpaceError:
            return math.inf
        values = {"params": float(cost.params), "macs": float(cost.macs), "activations": float(cost.activations)}
        if (over := violation(self.limits, values) + max(0.0, cost.macs / cap - 1)) > 0:
            return over
        try:
            self.size.training_cost(arch)
        except SpaceError:
            return math.inf
        return 0.0

    def _any_left(self, rng: random.Random) -> Architecture | None:
        left = [arch for arch in self._listed() if arch.id not in self.seen and self.over(arch) <= 0]
        return rng.choice(left) if left else None

    def _listed(self) -> Iterable[Architecture]:
        """Return all points of a small space, none of a large one."""
        points = self.space.space.size().points
        return self.space.points() if points is not None and points <= LISTED else ()

    def check_possible(self, seed: int) -> None:
        """Make sure that some point is feasible. Raises ObjectiveError naming the limits and the closest found."""
        least = math.inf
        for arch in self._listed():
            least = min(least, self.over(arch))
            if least <= 0:
                return
        closest = f"the closest is over by {least:.1%}"
        if math.isinf(least):
            try:
                self.space.draw(random.Random(seed), self.over)
            except SpaceError as error:
                closest = str(error).rpartition("; ")[2]
            else:
                return
        limits = f"limits {', '.join(map(str, self.limits))}" if self.limits else f"{self.size.resolution} px"
        raise ObjectiveError(f"{limits}: no network of {self.space.space.name} meets them; {closest}")
